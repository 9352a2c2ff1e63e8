"""Raw data on disk: what comes back, what is caught."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hsac.data import catalogue, fetch, load_graph, load_images, store
from hsac.data.sources import digits
from hsac.errors import InputError


@pytest.fixture
def own(root: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(root / "raw", tmp_path / "raw")
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_images_come_back_as_made(root: Path) -> None:
    images, made = load_images("digits", root), digits.build()
    for name in ("image", "label", "split", "group"):
        got = getattr(images, name)
        assert got.dtype == made[name].dtype
        np.testing.assert_array_equal(got, made[name])
    assert images.classes == tuple("0123456789")
    assert images.sha256 == catalogue.entry("digits").sha256


def test_graph_has_both_directions(root: Path) -> None:
    graph = load_graph("disease", root)
    assert graph.x.dtype == torch.float32
    assert graph.edge_index.shape == (2, 2 * 1043)
    assert graph.is_undirected()
    assert graph.sha256 == catalogue.entry("disease").sha256


@pytest.mark.parametrize("name", ["digits", "disease"])
def test_two_fetches_write_the_same_bytes(name: str, root: Path, tmp_path: Path) -> None:
    assert files(fetch(name, tmp_path)) == files(root / "raw" / name)


def test_fetch_replaces_damaged_folders_only(own: Path) -> None:
    """Fetch leaves an intact folder alone and replaces a damaged one."""
    path = own / "raw" / "disease" / "arrays.npz"
    before, good = path.stat().st_mtime_ns, path.read_bytes()
    fetch("disease", own)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(good[:100])
    fetch("disease", own)
    assert path.read_bytes() == good
    assert {p.name for p in (own / "raw").iterdir()} == {"digits", "disease"}


@pytest.mark.parametrize("name", ["digits", "disease"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damage_is_named(name: str, damage: str, own: Path) -> None:
    """Damage is named with what to do."""
    folder = own / "raw" / name
    path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            data[: len(data) // 2] if damage == "cut" else data[:-9] + b"x" + data[-8:]
        )
    with pytest.raises(InputError, match=r"delete the folder .* and fetch again") as caught:
        load_images(name, own) if name == "digits" else load_graph(name, own)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_manifest_is_one_line(own: Path) -> None:
    path = own / "raw" / "digits" / "manifest.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(InputError, match=r"manifest\.json"):
        load_images("digits", own)


def test_missing_data_and_wrong_kind(tmp_path: Path, root: Path) -> None:
    with pytest.raises(InputError, match="fetch dataset digits"):
        load_images("digits", tmp_path)
    with pytest.raises(InputError, match="of kind graph; allowed is one of kind images"):
        load_images("disease", root)
    with pytest.raises(InputError, match="did you mean 'digits'"):
        fetch("digit", tmp_path)


def test_other_content_is_refused_unless_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = replace(catalogue.entry("disease"), sha256="0" * 64)
    monkeypatch.setattr(store, "entry", lambda name: entry)
    with pytest.raises(InputError, match="content hash"):
        fetch("disease", tmp_path)
    assert not (tmp_path / "raw" / "disease").exists()


def test_other_rendering_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A rendered set that differs from the catalogue is recorded as such."""
    entry = replace(catalogue.entry("disease"), sha256="0" * 64, rendered=True)
    monkeypatch.setattr(store, "entry", lambda name: entry)
    manifest = json.loads((fetch("disease", tmp_path) / "manifest.json").read_text())
    assert manifest["matches_catalogue"] is False
    assert "pillow" in manifest["versions"]
    assert "differ from the catalogue" in caplog.text


def test_the_catalogue_is_light() -> None:
    code = (
        "import sys, hsac.data.catalogue as c; c.names(); print([m for m in ('torch', 'datasets')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
