"""Files are whole or not there."""

import math
import os
import time

import pytest

from hsac.errors import InputError
from hsac.files import (
    all_or_none,
    atomic,
    canonical,
    digest,
    exclusive,
    file_sha256,
    read_json,
    recover,
    workflow_of,
    write_bytes,
    write_json,
)


def test_json_round_trips_in_canonical_bytes(tmp_path):
    path = tmp_path / "deep" / "er" / "a.json"
    write_json(path, {"b": [1, 2.5, None], "a": "Poincaré"})
    assert path.read_bytes() == '{"a":"Poincaré","b":[1,2.5,null]}\n'.encode()
    assert read_json(path) == {"a": "Poincaré", "b": [1, 2.5, None]}
    assert list(path.parent.iterdir()) == [path]


def test_exception_leaves_the_old_file(tmp_path):
    """Nothing else is left beside it."""
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


def test_old_file_stands_until_replaced(tmp_path):
    """A reader finds the old file until the new one is complete."""
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with atomic(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary.parent == path.parent
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("value", [math.nan, math.inf, [1, -math.inf], {"a": math.nan}])
def test_json_refuses_nan_and_infinity(tmp_path, value):
    """Nothing is written then, and there is no digest."""
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, value)
    assert read_json(path) == 1
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest(value)


@pytest.mark.parametrize("content", [b"", b'{"a": [1, 2', b"\xff\xfe\x00", b"[1] trailing"])
def test_damaged_json_is_an_error_line(tmp_path, content):
    """A truncated or damaged file is named in one line."""
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path):
    path = tmp_path / "none.json"
    for read in (read_json, file_sha256):
        with pytest.raises(InputError, match=r"none\.json"):
            read(path)


def test_file_in_place_of_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_json(tmp_path / "file" / "a.json", 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_folder_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot write"):
        write_json(tmp_path / "a.json", 1)
    tmp_path.chmod(0o700)


def test_digest_ignores_the_keys_order():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert len(digest(None)) == 16
    assert canonical({"b": 1, "a": 2}) == '{"a":2,"b":1}'


def test_file_sha256_is_the_known_one(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def killed(folder, replacement: int) -> None:
    """Write two files together in a process that is killed at the nth renaming."""
    replace, done = os.replace, []

    def dying(*names):
        if len(done) == replacement:
            os._exit(9)
        done.append(names)
        replace(*names)

    process = os.fork()
    if process == 0:
        os.replace = dying
        with all_or_none(folder, "pair") as staged:
            write_bytes(staged / "a", b"new")
            write_bytes(staged / "b", b"new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == (9 if replacement < 5 else 0)


@pytest.mark.parametrize("replacement", range(6))  # two files, the folder, two files, and none
def test_killed_writer_leaves_all_or_none(tmp_path, replacement):
    """Files written together come all or not at all, whenever the process is killed."""
    for name in "ab":
        write_bytes(tmp_path / name, b"old")
    killed(tmp_path, replacement)
    recover(tmp_path, "pair")
    expected = b"new" if replacement > 2 else b"old"
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"a": expected, "b": expected}


def test_exception_leaves_none_of_several(tmp_path):
    """Nothing is left of files that were to come together."""

    def fail():
        with all_or_none(tmp_path, "pair") as staged:
            write_bytes(staged / "a", b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_bytes_reach_disk_before_names(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("replace"), replace(*names)))
    write_bytes(tmp_path / "a", b"x")
    assert calls == ["fsync", "replace"]


def test_lock_ends_with_its_process(tmp_path):
    """A living process is waited for, a killed one is not."""
    inside, go = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        with exclusive(tmp_path, "x"):
            os.write(inside[1], b".")
            os.read(go[0], 1)
            write_bytes(tmp_path / "left", b"")
        os._exit(0)
    os.read(inside[0], 1)
    os.write(go[1], b".")
    with exclusive(tmp_path, "x"):
        assert (tmp_path / "left").exists()
    os.waitpid(process, 0)
    process = os.fork()
    if process == 0:
        with exclusive(tmp_path, "x"):
            os.write(inside[1], b".")
            time.sleep(30)
        os._exit(0)
    os.read(inside[0], 1)
    os.kill(process, 9)
    with exclusive(tmp_path, "x"):
        os.waitpid(process, 0)


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("results/smoke/runs.parquet", "`snakemake --config scale=smoke`"),
        ("results/default/tables/a.csv", "`snakemake`"),
        ("results/my tiny/claims.json", "`snakemake --config scale='my tiny'`"),
        ("elsewhere/claims.json", "`snakemake`"),
    ],
)
def test_command_names_the_scale(tmp_path, path, command):
    """A command in a message makes this file again when it is pasted."""
    assert workflow_of(tmp_path / path) == command
