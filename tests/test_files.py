"""Files are whole or not there."""

import math
import os

import pytest

from hsac.errors import InputError
from hsac.files import atomic, canonical, digest, file_sha256, read_json, write_bytes, write_json


def test_round_trip_and_canonical_bytes(tmp_path):
    path = tmp_path / "deep" / "er" / "a.json"
    write_json(path, {"b": [1, 2.5, None], "a": "Poincaré"})
    assert path.read_bytes() == '{"a":"Poincaré","b":[1,2.5,null]}\n'.encode()
    assert read_json(path) == {"a": "Poincaré", "b": [1, 2.5, None]}
    assert list(path.parent.iterdir()) == [path]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with atomic(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary.parent == path.parent
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("value", [math.nan, math.inf, [1, -math.inf], {"a": math.nan}])
def test_numbers_that_are_not_json_are_refused_and_nothing_is_written(tmp_path, value):
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, value)
    assert read_json(path) == 1
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(value)


@pytest.mark.parametrize("content", [b"", b'{"a": [1, 2', b"\xff\xfe\x00", b"[1] trailing"])
def test_a_truncated_or_damaged_file(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files(tmp_path):
    path = tmp_path / "none.json"
    for read in (read_json, file_sha256):
        with pytest.raises(InputError, match=r"none\.json"):
            read(path)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_json(tmp_path / "file" / "a.json", 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot write"):
        write_json(tmp_path / "a.json", 1)
    tmp_path.chmod(0o700)


def test_digest():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest(None)) == 16
    assert canonical({"b": 1, "a": 2}) == '{"a":2,"b":1}'


def test_file_sha256(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
