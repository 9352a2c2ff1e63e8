"""Files are whole or not there."""

import math
import os
import time

import pytest

from hsac.errors import InputError
from hsac.files import (
    alone,
    atomic,
    canonical,
    digest,
    file_sha256,
    read_json,
    settle,
    together,
    write_bytes,
    write_json,
)


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


def killed(folder, replacement: int) -> None:
    """Write two files together in a process that is gone at the nth renaming, as after kill -9."""
    replace, done = os.replace, []

    def dying(*names):
        if len(done) == replacement:
            os._exit(9)
        done.append(names)
        replace(*names)

    process = os.fork()
    if process == 0:
        os.replace = dying
        with together(folder, "pair") as staged:
            write_bytes(staged / "a", b"new")
            write_bytes(staged / "b", b"new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == (9 if replacement < 5 else 0)


@pytest.mark.parametrize("replacement", range(6))  # two files, the folder, two files, and none
def test_files_written_together_come_all_or_not_at_all_whenever_the_process_is_killed(
    tmp_path, replacement
):
    for name in "ab":
        write_bytes(tmp_path / name, b"old")
    killed(tmp_path, replacement)
    settle(tmp_path, "pair")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == (
        dict.fromkeys("ab", b"new" if replacement > 2 else b"old")
    )


def test_an_exception_leaves_nothing_of_what_was_to_come_together(tmp_path):
    def fail():
        with together(tmp_path, "pair") as staged:
            write_bytes(staged / "a", b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_bytes_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("replace"), replace(*names)))
    write_bytes(tmp_path / "a", b"x")
    assert calls == ["fsync", "replace"]


def test_a_killed_process_is_not_waited_for_and_a_living_one_is(tmp_path):
    inside, go = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        with alone(tmp_path, "x"):
            os.write(inside[1], b".")
            os.read(go[0], 1)
            write_bytes(tmp_path / "left", b"")
        os._exit(0)
    os.read(inside[0], 1)
    os.write(go[1], b".")
    with alone(tmp_path, "x"):
        assert (tmp_path / "left").exists()
    os.waitpid(process, 0)
    process = os.fork()
    if process == 0:
        with alone(tmp_path, "x"):
            os.write(inside[1], b".")
            time.sleep(30)
        os._exit(0)
    os.read(inside[0], 1)
    os.kill(process, 9)
    with alone(tmp_path, "x"):
        os.waitpid(process, 0)
