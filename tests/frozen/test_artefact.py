"""Stored features are what was made; a changed or cut file is one line."""

import json
import os

import numpy as np
import pytest
from sets import features, images

from hsac.errors import InputError
from hsac.frozen import artefact
from hsac.frozen.features import build

RECIPE = features(recipe="principal_components", components=3)


@pytest.fixture
def path(tmp_path):
    made = artefact.stored(build(images(), RECIPE, "f"), RECIPE, "data", {"seed0": "weights"})
    artefact.write(made, tmp_path / "f.npz")
    return tmp_path / "f.npz"


def test_reads_what_was_written(path):
    made = build(images(), RECIPE, "f")
    found = artefact.read(path)
    for name in artefact.ARRAYS:
        np.testing.assert_array_equal(found.arrays[name], getattr(made, name))
    manifest = found.manifest
    assert manifest["recipe"] == {"recipe": "principal_components", "components": 3}
    assert (manifest["dataset"], manifest["data_sha256"]) == ("digits", "data")
    assert manifest["sources"] == {"seed0": "weights"}
    counts = {"backbones": 1, "features": 3, "rows": 160, "test": 40, "classes": 4}
    assert manifest["counts"] == counts


def test_bytes_repeat(path, tmp_path):
    again = artefact.stored(build(images(), RECIPE, "f"), RECIPE, "data", {"seed0": "weights"})
    artefact.write(again, tmp_path / "g.npz")
    for ending in (".npz", ".json"):
        assert path.with_suffix(ending).read_bytes() == (tmp_path / f"g{ending}").read_bytes()


def test_a_cut_file_is_named(path):
    for size in (0, 10, path.stat().st_size // 2, path.stat().st_size - 1):
        os.truncate(path, size)
        with pytest.raises(InputError, match=f"^{path} .*make it again$"):
            artefact.read(path)


def test_a_changed_number_is_named(path):
    found = artefact.read(path).arrays
    found["x"][0, 0, 0] += 1
    with open(path, "wb") as stream:
        np.savez(stream, **found)
    with pytest.raises(InputError, match=f"^{path} was changed"):
        artefact.read(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda manifest: manifest | {"data_sha256": "other"}, "was changed"),
        (lambda manifest: {"hash": manifest["hash"]}, "is no manifest"),
        (lambda manifest: [manifest], "is no manifest"),
    ],
)
def test_a_changed_manifest_is_named(path, change, words):
    beside = artefact.manifest_of(path)
    beside.write_text(json.dumps(change(json.loads(beside.read_text()))))
    with pytest.raises(InputError, match=f"^{beside} {words}"):
        artefact.read(path)


def test_a_missing_file_is_named(path):
    path.unlink()
    with pytest.raises(InputError, match=f"^{path} is missing"):
        artefact.read(path)
    artefact.manifest_of(path).unlink()
    with pytest.raises(InputError, match=str(artefact.manifest_of(path))):
        artefact.read(path)
