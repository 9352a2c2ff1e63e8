"""Fetching files: mirror, downloads, network, interruptions, wrong content, two processes."""

import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from file_server import Served
from toy_source import PATH, npz, toy, upstream

from hsac.data import catalogue, obtain, store
from hsac.errors import InputError
from hsac.files import file_sha256

HUB = "/datasets/org/toy/resolve/main/plain/toy.npz"
GOOD = npz(upstream())
NOWHERE = "http://127.0.0.1:9/toy.npz"


def manifest(root: Path) -> dict:
    return json.loads((root / "raw" / "toy" / "manifest.json").read_text())


def left(root: Path) -> list[str]:
    """Files below the downloads and the rejected."""
    folders = (root / "downloads", root / "rejected")
    return sorted(
        p.relative_to(root).as_posix() for f in folders for p in f.rglob("*") if p.is_file()
    )


def test_plain_file_is_asked_for_once(served, use, tmp_path):
    """A plain file arrives and is not asked for again."""
    served.files["/toy.npz"] = GOOD
    use(toy(f"{served.url}/toy.npz"))
    store.fetch("toy", tmp_path)
    assert left(tmp_path) == [f"downloads/{PATH}"]
    assert manifest(tmp_path)["matches_catalogue"] is None
    shutil.rmtree(tmp_path / "raw")
    store.fetch("toy", tmp_path)
    assert len(served.gets()) == 1


def test_hub_file_keeps_its_path(served, use, tmp_path):
    """A hub file arrives under the hub's own path."""
    served.files[HUB] = GOOD
    use(toy("hub:plain/toy.npz"))
    store.fetch("toy", tmp_path)
    assert (tmp_path / "downloads" / PATH).read_bytes() == GOOD
    np.testing.assert_array_equal(store.load_images("toy", tmp_path).image, upstream()["image"])


def test_second_address_serves_for_the_first(served, use, tmp_path):
    """The second address serves when the first does not."""
    served.files["/b"] = GOOD
    use(toy("hub:plain/toy.npz", f"{served.url}/a", NOWHERE, f"{served.url}/b"))
    store.fetch("toy", tmp_path)
    assert [path for method, path, _ in served.asked if method == "GET"] == ["/a", "/b"]


def test_broken_transfer_goes_on(served, use, tmp_path):
    """A transfer that breaks off goes on where it was."""
    served.files["/toy"], served.breaks["/toy"] = GOOD, [700]
    use(toy(f"{served.url}/toy"))
    store.fetch("toy", tmp_path)
    assert served.gets() == [None, "bytes=700-"]


@pytest.mark.parametrize("changed", [False, True])
def test_interrupted_fetch_is_resumed(changed, served, use, tmp_path):
    """An interrupted fetch is resumed, or started again where the file has changed."""
    served.files["/toy"] = npz(upstream(1)) if changed else GOOD
    served.breaks["/toy"] = [500, 100, 100]
    entry = use(toy(f"{served.url}/toy"))
    with pytest.raises(InputError, match="broke off 3 times"):
        store.fetch("toy", tmp_path)
    assert not (tmp_path / "downloads" / PATH).exists()
    assert not (tmp_path / "raw" / "toy").exists()
    served.files["/toy"] = GOOD
    store.fetch("toy", tmp_path)
    assert served.gets()[3:] == ["bytes=700-"]
    assert file_sha256(tmp_path / "downloads" / PATH) == file_sha256_of(GOOD, tmp_path)
    assert left(tmp_path) == [f"downloads/{PATH}"]
    assert entry.arrays == manifest(tmp_path)["upstream"]


def file_sha256_of(data: bytes, folder: Path) -> str:
    (folder / "expected").write_bytes(data)
    return file_sha256(folder / "expected")


def test_broken_hub_transfer_arrives_complete(served, use, tmp_path):
    """A hub transfer that breaks off arrives complete."""
    served.files[HUB], served.breaks[HUB] = GOOD, [700]
    use(toy("hub:plain/toy.npz"))
    store.fetch("toy", tmp_path)
    assert (tmp_path / "downloads" / PATH).read_bytes() == GOOD


def test_wrong_hash_is_refused_unopened(served, use, tmp_path, monkeypatch):
    """A wrong file hash is refused before the file is opened."""
    served.files["/toy"] = npz(upstream(1))
    entry = use(toy(f"{served.url}/toy", sha256=file_sha256_of(GOOD, tmp_path)))
    monkeypatch.setattr(catalogue.Form, "make", lambda *_: pytest.fail("opened"))
    with pytest.raises(InputError, match="wrong content: not SHA-256") as caught:
        store.fetch("toy", tmp_path)
    assert "\n" not in str(caught.value)
    bad, reason = left(tmp_path)
    assert bad.startswith(f"rejected/{PATH}.")
    assert reason == f"{bad}.reason"
    assert entry.forms[0].files[0].sha256 in (tmp_path / reason).read_text()


def test_full_disk_keeps_what_came(served, use, tmp_path):
    """The line names the file, and the same command goes on where there was room."""
    served.files["/toy"] = GOOD
    use(toy(f"{served.url}/toy"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (450, before[1]))
    try:
        with pytest.raises(InputError, match=r"^cannot write .*toy\.npz\.part: File too large"):
            store.fetch("toy", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "downloads" / PATH).exists()
    store.fetch("toy", tmp_path)
    assert served.gets() == [None, "bytes=450-"]
    assert left(tmp_path) == [f"downloads/{PATH}"]


@pytest.mark.parametrize(
    "place",
    ["downloads", "downloads/.incoming", "downloads/.incoming/org/toy/plain", "downloads/org/toy"],
)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_folder_that_cannot_be_made(place, code, served, use, tmp_path, monkeypatch):
    """A disk without room for one more folder gives a line, and the same command goes on."""
    served.files["/toy"] = GOOD
    use(toy(f"{served.url}/toy"))
    make = os.mkdir

    def full(path, *arguments, **named):
        if Path(path) == tmp_path / place:
            raise OSError(code, os.strerror(code), str(path))
        make(path, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", full)
        line = re.escape(f"cannot write {tmp_path / place}: {os.strerror(code)}")
        with pytest.raises(InputError, match=f"^{line}$"):
            store.fetch("toy", tmp_path)
    assert not (tmp_path / "downloads" / PATH).exists()
    store.fetch("toy", tmp_path)
    assert left(tmp_path) == [f"downloads/{PATH}"]


def test_bad_file_that_cannot_move(served, use, tmp_path):
    """Where nothing can be set aside, a line says so and the file stays."""
    (tmp_path / "rejected").write_text("in the way")
    target = tmp_path / "downloads" / PATH
    target.parent.mkdir(parents=True)
    target.write_bytes(POINTER)
    use(toy(f"{served.url}/toy"))
    with pytest.raises(InputError, match=f"^cannot write {tmp_path / 'rejected'}.*: "):
        store.fetch("toy", tmp_path)
    assert target.read_bytes() == POINTER


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left"), MemoryError()])
def test_full_machine_rejects_no_file(fault, served, use, tmp_path, monkeypatch):
    """An intact file is not taken for a damaged one because there was no room to decode it."""
    served.files["/toy"] = GOOD
    use(toy(f"{served.url}/toy"))

    def full(*_):
        raise fault

    monkeypatch.setattr(catalogue.Form, "make", full)
    with pytest.raises(InputError, match=r"No space left|memory is full"):
        store.fetch("toy", tmp_path)
    assert left(tmp_path) == [f"downloads/{PATH}"]


def test_wrong_file_by_hand_is_replaced(served, use, tmp_path):
    """A wrong file put there by hand is set aside and fetched."""
    served.files["/toy"] = GOOD
    use(toy(f"{served.url}/toy", sha256=file_sha256_of(GOOD, tmp_path)))
    (tmp_path / "downloads" / PATH).parent.mkdir(parents=True)
    (tmp_path / "downloads" / PATH).write_bytes(b"no")
    store.fetch("toy", tmp_path)
    assert [Path(name).parts[0] for name in left(tmp_path)] == ["downloads", "rejected", "rejected"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npz(upstream(1)), "train/image decode to another content"),
        (GOOD[:600], "cannot be decoded"),
    ],
)
def test_downloads_of_other_content_are_rejected(data, words, served, use, tmp_path):
    """Downloads with other content are set aside."""
    served.files["/toy"] = data
    use(toy(f"{served.url}/toy"))
    with pytest.raises(InputError, match=words):
        store.fetch("toy", tmp_path)
    assert not (tmp_path / "raw" / "toy").exists()
    assert words in next((tmp_path / "rejected").rglob("*.reason")).read_text()
    served.files["/toy"] = GOOD
    store.fetch("toy", tmp_path)


def test_reordered_rows_are_taken(served, use, tmp_path, caplog):
    """Rows in another order are taken, with a word in log and manifest."""
    arrays = {name: array[::-1] for name, array in upstream().items()}
    served.files["/toy"] = npz(arrays)
    use(toy(f"{served.url}/toy", sha256=None))
    store.fetch("toy", tmp_path)
    assert manifest(tmp_path)["order"] == "other"
    assert "in another order" in caplog.text


def test_error_says_what_to_do(served, use, tmp_path):
    """The error without network and mirror names the addresses tried and what to do."""
    use(toy("hub:plain/toy.npz", NOWHERE, by_hand="Ask the\n author."))
    served.asked.clear()
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        store.fetch("toy", tmp_path)
    assert time.monotonic() - began < 5
    said = str(caught.value)
    tried = (f"{served.url}{HUB} (status 404)", f"{NOWHERE} (no connection)")
    places = ("HSAC_MIRROR", "`mirror:`", PATH, str(tmp_path / "downloads"))
    for words in ("dataset toy: could not be obtained", *tried, *places, "Ask the author."):
        assert words in said
    assert "\n" not in said


def test_dead_hub_is_given_up(served, use, tmp_path, monkeypatch):
    """A dead hub is given up at once."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    use(toy("hub:plain/toy.npz"))
    began = time.monotonic()
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/datasets/org/toy"):
        store.fetch("toy", tmp_path)
    assert time.monotonic() - began < 5


def mirrored(folder: Path, data: bytes = GOOD, sums: bool = True) -> Path:
    (folder / PATH).parent.mkdir(parents=True)
    (folder / PATH).write_bytes(GOOD)
    if sums:
        obtain.write_sums(folder, {PATH: file_sha256(folder / PATH)})
    (folder / PATH).write_bytes(data)
    return folder


def test_the_mirror_comes_first(served, use, tmp_path, monkeypatch):
    served.files["/toy"] = GOOD
    use(toy(f"{served.url}/toy"))
    monkeypatch.setenv("HSAC_MIRROR", str(mirrored(tmp_path / "mirror")))
    store.fetch("toy", tmp_path / "data")
    assert served.asked == []
    assert left(tmp_path / "data") == []


@pytest.mark.parametrize("sums", [True, False])
def test_flipped_byte_in_mirror_is_caught(sums, served, use, tmp_path):
    """A byte flipped in a mirror is caught, and the file stays."""
    bad = bytearray(GOOD)
    bad[GOOD.index(upstream()["image"].tobytes()) + 3] ^= 1
    mirror = mirrored(tmp_path / "mirror", bytes(bad), sums)
    use(toy(f"{served.url}/toy"))
    with pytest.raises(InputError, match=str(mirror / PATH)):
        store.fetch("toy", tmp_path / "data", mirror)
    assert (mirror / PATH).read_bytes() == bytes(bad)
    assert not (tmp_path / "data" / "raw" / "toy").exists()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
PAGE = b"\n <!DOCTYPE html>\n<html><body>Sign in</body></html>"
STAND_INS = [
    (
        POINTER,
        "begins with 'version https://git-lfs…': a Git LFS pointer, not the file; run `git lfs",
    ),
    (PAGE, "begins with '<!doctype': an HTML page, not the file; download it anew"),
]


@pytest.mark.parametrize(("data", "words"), STAND_INS)
@pytest.mark.parametrize("listed", [True, False])
def test_stand_in_of_a_mirror(data, words, listed, served, use, tmp_path):
    """A pointer or page in a mirror is told, even where SHA256SUMS lists its own hash."""
    mirror = mirrored(tmp_path / "mirror", data, sums=False)
    if listed:
        obtain.write_sums(mirror, {PATH: file_sha256(mirror / PATH)})
    use(toy(f"{served.url}/toy"))
    line = re.escape(f"dataset toy: {mirror / PATH} {words}")
    with pytest.raises(InputError, match=line):
        store.fetch("toy", tmp_path / "data", mirror)
    assert (mirror / PATH).read_bytes() == data


@pytest.mark.parametrize(("data", "words"), STAND_INS)
def test_stand_in_is_no_download(data, words, served, use, tmp_path):
    """It is set aside, be it from an address or put there by hand, and the next try is free."""
    served.files["/toy"] = data
    use(toy(f"{served.url}/toy"))
    with pytest.raises(InputError, match=re.escape(f"tried {served.url}/toy ({words}")):
        store.fetch("toy", tmp_path)
    target = tmp_path / "downloads" / PATH
    assert not target.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    use(toy())
    with pytest.raises(InputError, match=re.escape(f"tried {target} ({words}")):
        store.fetch("toy", tmp_path)
    target.write_bytes(data)
    served.files["/toy"] = GOOD
    use(toy(f"{served.url}/toy"))
    store.fetch("toy", tmp_path)


def test_stand_in_in_a_folder(tmp_path):
    """One among the files of a folder that was put there by hand is named and stays."""
    folder = tmp_path / "downloads" / "set" / "images"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(GOOD)
    (folder / "b.png").write_bytes(POINTER)
    form = catalogue.Form("toy:build", {}, (catalogue.File("set/images"),))
    entry = replace(toy(), forms=(form,))
    with pytest.raises(InputError, match=re.escape(f"{folder / 'b.png'} begins with 'version")):
        obtain.obtain(entry, tmp_path, None)
    (folder / "b.png").rename(folder / "b.html")
    (folder / "b.html").write_bytes(PAGE)
    assert obtain.obtain(entry, tmp_path, None)[0] == form


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (POINTER, "begins with 'version https://git-lfs…'"),
        (f"SHA256 (a) = {'0' * 64}\n".encode(), "line 1: found 'SHA256 (a) = 0"),
        (f"# sums\n\n{'0' * 64}\n".encode(), "line 3: found '0000"),
        (f"{'0' * 64}  a\n".encode("utf-16"), "found UTF-16; allowed is UTF-8"),
        (f"{'0' * 64}  ä\n".encode("latin-1"), "found the byte 0xe4 in line 1"),
    ],
)
def test_unreadable_sums_are_refused(data, words, tmp_path):
    """No line is passed over, which would leave a file unchecked."""
    (tmp_path / "SHA256SUMS").write_bytes(data)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'SHA256SUMS'}: {words}")):
        obtain.read_sums(tmp_path)


def test_mirror_may_hold_half_a_form(served, tmp_path):
    """What a mirror has of a form is taken from there, the rest is fetched."""
    served.files["/b"] = b"second"
    entry = toy()
    first, second = catalogue.File(PATH), catalogue.File("org/toy/b", (f"{served.url}/b",))
    both = replace(entry, forms=(catalogue.Form("toy:build", {}, (first, second)),))
    mirror = mirrored(tmp_path / "mirror")
    form, folder = obtain.obtain(both, tmp_path / "data", mirror)
    assert obtain.holds(folder, form)
    assert folder == tmp_path / "data" / "downloads"


def test_missing_mirror_is_named(monkeypatch, tmp_path):
    """A mirror that is no folder is named."""
    monkeypatch.setenv("HSAC_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"HSAC_MIRROR: found '.*nowhere'; allowed is a folder"):
        obtain.mirror_root()
    monkeypatch.setenv("HSAC_MIRROR", "")
    assert obtain.mirror_root() is None


def fetching(served: Served, root: Path) -> subprocess.Popen:
    """Start another process that fetches the toy."""
    code = f"""
from pathlib import Path
from hsac.data import catalogue, download, store
from toy_source import toy
download.CHUNK = 100
entry = toy({served.url + "/toy"!r})
catalogue._entries = lambda: dict(toy=entry)
store.fetch("toy", Path({str(root)!r}))
"""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_fetch_once(served, tmp_path):
    """Two processes that fetch the same dataset fetch it once."""
    served.files["/toy"], served.pause = GOOD, 1.0
    for process in [fetching(served, tmp_path) for _ in range(2)]:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert len(served.gets()) == 1
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["toy"]
    assert left(tmp_path) == [f"downloads/{PATH}"]


def test_a_killed_fetch_is_taken_up(served, use, tmp_path):
    served.files["/toy"], served.pause = GOOD, 30.0
    process = fetching(served, tmp_path)
    part = tmp_path / "downloads" / ".incoming" / f"{PATH}.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=30)
    there, served.pause = part.stat().st_size, 0.0
    assert 0 < there < len(GOOD)
    use(toy(f"{served.url}/toy"))
    store.fetch("toy", tmp_path)
    assert served.gets() == [None, f"bytes={there}-"]
    assert (tmp_path / "downloads" / PATH).read_bytes() == GOOD


def test_datasets_library_leaves_hub_reachable(served, use, tmp_path):
    """The hub is reached after the datasets library was used."""
    pytest.importorskip("datasets").Dataset.from_dict({"a": [1]})
    served.files[HUB] = GOOD
    use(toy("hub:plain/toy.npz"))
    store.fetch("toy", tmp_path)
    assert "HF_HUB_OFFLINE" not in os.environ


def test_folder_by_hand_is_a_file(tmp_path):
    """A folder put there by hand is a file of a form."""
    folder = tmp_path / "downloads" / "set" / "images"
    folder.mkdir(parents=True)
    for name in "ab":
        (folder / name).write_text(name)
    form = catalogue.Form("toy:build", {}, (catalogue.File("set/images"),))
    entry = replace(toy(), forms=(form,))
    assert obtain.obtain(entry, tmp_path, None) == (form, tmp_path / "downloads")
    obtain.write_sums(tmp_path / "downloads", {"set/images/a": "0" * 64})
    (problem,) = obtain.problems(form, tmp_path / "downloads")
    assert str(folder / "a") in problem
    obtain.refuse(entry, form, tmp_path / "downloads", tmp_path, "no")
    assert (folder / "b").exists()
