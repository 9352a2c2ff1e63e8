"""Fetching files: mirror, downloads, network; interruptions, wrong content, two processes at once."""

import json
import os
import shutil
import subprocess
import sys
import time
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


def test_a_plain_file_arrives_and_is_not_asked_for_again(served, use, tmp_path):
    served.files["/toy.npz"] = GOOD
    use(toy(f"{served.url}/toy.npz"))
    store.fetch("toy", tmp_path)
    assert left(tmp_path) == [f"downloads/{PATH}"]
    assert manifest(tmp_path)["matches_catalogue"] is None
    shutil.rmtree(tmp_path / "raw")
    store.fetch("toy", tmp_path)
    assert len(served.gets()) == 1


def test_a_hub_file_arrives_under_the_hubs_own_path(served, use, tmp_path):
    served.files[HUB] = GOOD
    use(toy("hub:plain/toy.npz"))
    store.fetch("toy", tmp_path)
    assert (tmp_path / "downloads" / PATH).read_bytes() == GOOD
    np.testing.assert_array_equal(store.load_images("toy", tmp_path).image, upstream()["image"])


def test_the_second_address_serves_when_the_first_does_not(served, use, tmp_path):
    served.files["/b"] = GOOD
    use(toy("hub:plain/toy.npz", f"{served.url}/a", NOWHERE, f"{served.url}/b"))
    store.fetch("toy", tmp_path)
    assert [path for method, path, _ in served.asked if method == "GET"] == ["/a", "/b"]


def test_a_transfer_that_breaks_off_goes_on_where_it_was(served, use, tmp_path):
    served.files["/toy"], served.breaks["/toy"] = GOOD, [700]
    use(toy(f"{served.url}/toy"))
    store.fetch("toy", tmp_path)
    assert served.gets() == [None, "bytes=700-"]


@pytest.mark.parametrize("changed", [False, True])
def test_an_interrupted_fetch_is_resumed_or_started_again(changed, served, use, tmp_path):
    served.files["/toy"], served.breaks["/toy"] = (
        npz(upstream(1)) if changed else GOOD,
        [
            500,
            100,
            100,
        ],
    )
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


def test_a_hub_transfer_that_breaks_off_arrives_whole(served, use, tmp_path):
    served.files[HUB], served.breaks[HUB] = GOOD, [700]
    use(toy("hub:plain/toy.npz"))
    store.fetch("toy", tmp_path)
    assert (tmp_path / "downloads" / PATH).read_bytes() == GOOD


def test_a_wrong_file_hash_is_refused_before_the_file_is_opened(served, use, tmp_path, monkeypatch):
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


def test_a_wrong_file_put_by_hand_is_set_aside_and_fetched(served, use, tmp_path):
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
def test_downloads_with_other_content_are_set_aside(data, words, served, use, tmp_path):
    served.files["/toy"] = data
    use(toy(f"{served.url}/toy"))
    with pytest.raises(InputError, match=words):
        store.fetch("toy", tmp_path)
    assert not (tmp_path / "raw" / "toy").exists()
    assert words in next((tmp_path / "rejected").rglob("*.reason")).read_text()
    served.files["/toy"] = GOOD
    store.fetch("toy", tmp_path)


def test_rows_in_another_order_are_taken_with_a_word(served, use, tmp_path, caplog):
    arrays = {name: array[::-1] for name, array in upstream().items()}
    served.files["/toy"] = npz(arrays)
    use(toy(f"{served.url}/toy", sha256=None))
    store.fetch("toy", tmp_path)
    assert manifest(tmp_path)["order"] == "other"
    assert "in another order" in caplog.text


def test_the_error_without_network_and_mirror_names_the_ways_out(served, use, tmp_path):
    use(toy("hub:plain/toy.npz", NOWHERE, by_hand="Ask the\n author."))
    served.asked.clear()
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        store.fetch("toy", tmp_path)
    assert time.monotonic() - began < 5
    said = str(caught.value)
    for words in (
        "dataset toy",
        f"{served.url}{HUB} (status 404)",
        f"{NOWHERE} (no connection)",
        "HSAC_MIRROR",
    ):
        assert words in said
    for words in ("`mirror:`", PATH, str(tmp_path / "downloads"), "Ask the author."):
        assert words in said
    assert "\n" not in said


def test_a_dead_hub_is_given_up_at_once(served, use, tmp_path, monkeypatch):
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
def test_a_byte_flipped_in_a_mirror_is_caught_and_the_file_stays(sums, served, use, tmp_path):
    bad = bytearray(GOOD)
    bad[GOOD.index(upstream()["image"].tobytes()) + 3] ^= 1
    mirror = mirrored(tmp_path / "mirror", bytes(bad), sums)
    use(toy(f"{served.url}/toy"))
    with pytest.raises(InputError, match=str(mirror / PATH)):
        store.fetch("toy", tmp_path / "data", mirror)
    assert (mirror / PATH).read_bytes() == bytes(bad)
    assert not (tmp_path / "data" / "raw" / "toy").exists()


def test_what_a_mirror_has_of_a_form_is_taken_from_there(served, tmp_path):
    served.files["/b"] = b"second"
    entry = toy()
    first, second = catalogue.File(PATH), catalogue.File("org/toy/b", (f"{served.url}/b",))
    form, folder = obtain.obtain(
        catalogue.Entry(
            **{**vars(entry), "forms": (catalogue.Form("toy:build", {}, (first, second)),)}
        ),
        tmp_path / "data",
        mirrored(tmp_path / "mirror"),
    )
    assert obtain.holds(folder, form)
    assert folder == tmp_path / "data" / "downloads"


def test_a_mirror_that_is_no_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HSAC_MIRROR", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"HSAC_MIRROR: found '.*nowhere'; allowed is a folder"):
        obtain.mirror_root()
    monkeypatch.setenv("HSAC_MIRROR", "")
    assert obtain.mirror_root() is None


def fetching(served: Served, root: Path) -> subprocess.Popen:
    """Another process that fetches the toy."""
    code = (
        "from pathlib import Path; from hsac.data import catalogue, download, store; from"
        f" toy_source import toy\ndownload.CHUNK = 100; entry = toy({served.url + '/toy'!r});"
        f" catalogue._entries = lambda: dict(toy=entry)\nstore.fetch('toy', Path({str(root)!r}))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_fetch_the_same_dataset_once(served, tmp_path):
    served.files["/toy"], served.pause = GOOD, 1.0
    for process in [fetching(served, tmp_path) for _ in range(2)]:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert len(served.gets()) == 1
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["toy"]
    assert left(tmp_path) == [f"downloads/{PATH}"]


def test_a_killed_fetch_is_taken_up(served, use, tmp_path):
    served.files["/toy"], served.pause = GOOD, 30.0
    process, part = (
        fetching(served, tmp_path),
        tmp_path / "downloads" / ".incoming" / f"{PATH}.part",
    )
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


def test_the_hub_is_reached_after_the_datasets_library_was_used(served, use, tmp_path):
    pytest.importorskip("datasets").Dataset.from_dict({"a": [1]})
    served.files[HUB] = GOOD
    use(toy("hub:plain/toy.npz"))
    store.fetch("toy", tmp_path)
    assert "HF_HUB_OFFLINE" not in os.environ


def test_a_folder_put_by_hand_is_a_file_of_a_form(tmp_path):
    folder = tmp_path / "downloads" / "set" / "images"
    folder.mkdir(parents=True)
    for name in "ab":
        (folder / name).write_text(name)
    form = catalogue.Form("toy:build", {}, (catalogue.File("set/images"),))
    entry = catalogue.Entry(**{**vars(toy()), "forms": (form,)})
    assert obtain.obtain(entry, tmp_path, None) == (form, tmp_path / "downloads")
    obtain.write_sums(tmp_path / "downloads", {"set/images/a": "0" * 64})
    (problem,) = obtain.problems(form, tmp_path / "downloads")
    assert str(folder / "a") in problem
    obtain.refuse(entry, form, tmp_path / "downloads", tmp_path, "no")
    assert (folder / "b").exists()
