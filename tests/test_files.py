"""Files are whole or not there."""

import errno
import math
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from hsac.errors import InputError
from hsac.files import (
    all_or_none,
    atomic,
    canonical,
    digest,
    exclusive,
    file_sha256,
    home_expanded,
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


@pytest.fixture
def pipe(tmp_path):
    """A named pipe, and what a reader of it has got."""
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    reader.start()
    return path, got, reader


def test_pipe_is_written_through(pipe):
    path, got, reader = pipe
    write_bytes(path, b"new")
    reader.join(10)
    assert got == [b"new"]
    assert stat.S_ISFIFO(path.lstat().st_mode)


def test_device_is_written_through(tmp_path):
    """A stand-in for /dev/null stays a device, also where devices cannot be opened."""
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        pytest.skip("no devices can be made here")
    with suppress(InputError):
        write_bytes(path, b"new")
    assert stat.S_ISCHR(path.lstat().st_mode)
    assert list(tmp_path.iterdir()) == [path]


def test_socket_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(InputError, match=f"cannot write {path}"):
            write_bytes(path, b"new")
    assert stat.S_ISSOCK(path.lstat().st_mode)


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_open_descriptor_is_appended_to(tmp_path, name):
    """As with `>> log`: what the file holds already stays, and it is the same file."""
    log = tmp_path / "log"
    log.write_bytes(b"before ")
    with open(log, "ab") as stream:
        write_bytes(name.format(stream.fileno()), b"new")
    assert log.read_bytes() == b"before new"
    assert list(tmp_path.iterdir()) == [log]


def test_standard_output_is_written_to(tmp_path):
    code = "from hsac.files import write_json; write_json('/dev/stdout', 1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.stdout, done.stderr) == (b"1\n", b"")


def test_links_are_followed(tmp_path):
    """The target is replaced, also one that is not there yet, and the links stay."""
    (tmp_path / "deep").mkdir()
    target, link, second = tmp_path / "deep/a", tmp_path / "link", tmp_path / "second"
    link.symlink_to("deep/a")
    second.symlink_to(link)
    for content in (b"new", b"newer"):
        write_bytes(second, content)
        assert target.read_bytes() == content
    assert link.is_symlink()
    assert second.is_symlink()
    assert list((tmp_path / "deep").iterdir()) == [target]


@pytest.mark.parametrize(
    ("target", "words"), [("link", "symbolic links"), ("away/a", "whose folder is missing")]
)
def test_link_to_nowhere_is_refused(tmp_path, target, words):
    """Of a loop and of a folder that is away, for instance a disk, nothing is made."""
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(InputError, match=f"cannot write {link}: .*{words}"):
        write_bytes(link, b"new")
    assert list(tmp_path.iterdir()) == [link]


def test_folder_is_no_file(tmp_path):
    """It is refused before the work, not after it."""
    begun = []

    def write():
        with atomic(tmp_path):
            begun.append(True)

    with pytest.raises(InputError, match="Is a directory"):
        write()
    assert not begun


def test_mode_of_a_file_stays(tmp_path):
    path = tmp_path / "a"
    for mode in (0o600, 0o664, 0o755):
        write_bytes(path, b"old")
        path.chmod(mode)
        write_bytes(path, b"new")
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_protected_file_stays(tmp_path, monkeypatch):
    """A file without the right to write is refused, which a rename would not ask for."""
    path = tmp_path / "a"
    write_bytes(path, b"old")
    path.chmod(0o444)
    # root may write everything
    monkeypatch.setattr(os, "access", lambda of, mode: bool(of.stat().st_mode & 0o222))
    with pytest.raises(InputError, match="Permission denied"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"


def test_hard_links_keep_the_old(tmp_path):
    """A backup made of hard links is no part of what is replaced."""
    path, backup = tmp_path / "a", tmp_path / "backup"
    write_bytes(path, b"old")
    os.link(path, backup)
    write_bytes(path, b"new")
    assert backup.read_bytes() == b"old"


@pytest.mark.parametrize("writer", [atomic, lambda path: all_or_none(path.parent, "a")])
def test_error_names_the_file_read(tmp_path, writer):
    """An error of another file inside the block is not blamed on what is written."""
    path, missing = tmp_path / "a", tmp_path / "missing"
    write_bytes(path, b"old")

    def write():
        with writer(path) as temporary:
            shutil.copyfile(missing, temporary)

    with pytest.raises(InputError, match=f"^{missing}: No such file") as caught:
        write()
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def small_files():
    """A limit of the size of files, at which writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_loses_nothing(tmp_path, small_files):
    """The old file stays, no half one is left, and the line names the file."""
    path = tmp_path / "a"
    write_bytes(path, b"old")
    with pytest.raises(InputError, match=f"^cannot write {path}: File too large$"):
        write_bytes(path, b"x" * 2000)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_blames_the_target(tmp_path):
    """`shutil.copyfile` names the file that it reads when the disk is full."""
    path, source = tmp_path / "a", tmp_path / "source"

    def write():
        with atomic(path) as temporary:
            raise OSError(errno.ENOSPC, "No space left on device", source, None, temporary)

    with pytest.raises(InputError, match=f"^cannot write {path}: No space"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL])
def test_owners_may_be_foreign(tmp_path, monkeypatch, code):
    """EINVAL: in a container that maps users, some owners have no number."""

    def refuse(*given):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "chown", refuse)
    for content in (b"old", b"new"):
        write_bytes(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == b"new"


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


def test_home_stands_for_the_tilde(monkeypatch, tmp_path):
    """As in a shell, which does not see what a file of variables holds."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home_expanded("~/data", "KEY") == tmp_path / "data"
    assert home_expanded("a/~", "KEY") == Path("a/~")
    with pytest.raises(InputError, match=r"^KEY: found '~nobody-here/x', the home of nobody here"):
        home_expanded("~nobody-here/x", "KEY")
