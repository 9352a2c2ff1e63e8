"""Variants of the shipped scales on disk: disjoint parts, and the bytes that results rest on."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies import CONFIG, keys_of

from hsac.data import build_variant, catalogue, fetch, store, write_variant
from hsac.data.variants import inputs
from hsac.errors import InputError
from hsac.study import load

EMBEDDED = [
    name
    for name in catalogue.names()
    if all(not form.files for form in catalogue.entry(name).forms)
]


FIELDS = {
    *("schema", "dataset", "name", "recipe", "words", "counts", "hash"),
    *("data_sha256", "labels_sha256", "split_sha256"),
    *("columns", "indices", "labels", "episodes", "shot", "query"),
}


def shipped(embedded: bool) -> list[Any]:
    """Dataset and variant of every experiment of the shipped scales, each once."""
    found = {}
    for scale in load.SCALES:
        for experiment in load.load(scale, folder=CONFIG).experiments.values():
            found[f"{experiment.dataset}-{experiment.variant_id()}"] = experiment
    return [
        pytest.param(one.dataset, one.variant.dump(), id=name, marks=slow(one.dataset))
        for name, one in sorted(found.items())
        if (one.dataset in EMBEDDED) is embedded
    ]


def slow(dataset: str) -> list[pytest.MarkDecorator]:
    """Rendering takes seconds."""
    return [pytest.mark.slow] if catalogue.entry(dataset).rendered else []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def stored(
    dataset: str, variant: dict[str, Any], folder: Path, mirror: Path | None = None
) -> dict[str, Any]:
    """The variant's file, read as plain JSON."""
    recipe = {key: value for key, value in variant.items() if key != "name"}
    for name in (dataset, *inputs(recipe)[0]):
        if mirror is not None and not any(
            holds(mirror, form) for form in catalogue.entry(name).forms
        ):
            pytest.skip(f"the mirror has no {name}")
        fetch(name, folder, mirror)
    path = folder / "variant.json"
    write_variant(build_variant(dataset, variant["name"], recipe, folder), path)
    return json.loads(path.read_text())


def holds(mirror: Path, form: catalogue.Form) -> bool:
    return all((mirror / file.path).is_file() for file in form.files)


def check_parts(made: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """No row and no group of near copies is in two parts; for episodes no class."""
    parts = {
        part: set(np.ravel(rows).tolist())
        for part, rows in (made.get("indices") or made["episodes"]).items()
    }
    meta = {"meta"} if made["recipe"].get("meta") else set()
    assert set(parts) == {"train", "validation", "test"} | meta
    assert all(parts.values())
    names = ["group"] if "group" in arrays else []
    names += ["label"] if "episodes" in made else []
    for one, other in combinations(parts.values(), 2):
        assert not one & other
        for name in names:
            shared = np.intersect1d(arrays[name][list(one)], arrays[name][list(other)])
            assert not shared.size
    assert set(made) <= FIELDS


@pytest.mark.parametrize(("dataset", "variant"), shipped(embedded=True))
def test_parts_of_embedded_sets_are_disjoint(
    dataset: str, variant: dict[str, Any], folder: Path
) -> None:
    check_parts(stored(dataset, variant, folder), store.load_arrays(dataset, folder)[0])


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "variant"), shipped(embedded=False))
def test_parts_of_mirrored_sets_are_disjoint(
    dataset: str, variant: dict[str, Any], folder: Path, mirror: Path
) -> None:
    check_parts(stored(dataset, variant, folder, mirror), store.load_arrays(dataset, folder)[0])


@pytest.mark.parametrize(
    ("dataset", "classes", "nodes"),
    [("cora", 7, 2708), ("citeseer", 6, 3327), ("pubmed", 3, 19717)],
)
def test_public_splits_are_the_published_ones(
    dataset: str, classes: int, nodes: int, folder: Path, mirror: Path
) -> None:
    made = stored(dataset, {"name": "public", "recipe": "public_split"}, folder, mirror)
    check_parts(made, store.load_arrays(dataset, folder)[0])
    sizes = {"train": 20 * classes, "validation": 500, "test": 1000}
    assert made["counts"] == {**sizes, "classes": classes, "unused": nodes - sum(sizes.values())}


@pytest.mark.parametrize("without", [[], [3]])
def test_airport_can_drop_its_label_column(without: list[int], folder: Path, mirror: Path) -> None:
    """Airport is split with and without the column that names the class."""
    made = stored(
        "airport", {"name": "v", "recipe": "node_split", "without": without}, folder, mirror
    )
    arrays = store.load_arrays("airport", folder)[0]
    check_parts(made, arrays)
    assert made.get("columns") == ([0, 1, 2] if without else None)
    share = [np.bincount(arrays["y"][rows]) / len(rows) for rows in made["indices"].values()]
    np.testing.assert_allclose(share[1:], share[:1] * 2, atol=0.01)


RATES = {
    "aggre_label": 901,
    "random_label1": 1723,
    "random_label2": 1812,
    "random_label3": 1764,
    "worse_label": 4021,
}


@pytest.mark.parametrize(("column", "rate"), RATES.items())
def test_human_labels_err_as_published(
    column: str, rate: int, folder: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Human labels are wrong as often as published."""
    fetch("cifar10n", folder, mirror)
    people, sha256 = store.load_arrays("cifar10n", folder)
    label = np.concatenate([people["clean_label"].astype(np.int64), np.arange(10000) % 10])
    pixelless = {
        "label": label,
        "split": np.where(np.arange(60000) < 50000, 0, 2).astype(np.int8),
        "group": np.arange(60000),
        "classes": np.arange(10).astype(str),
    }
    sets = {"cifar10": (pixelless, "0" * 64), "cifar10n": (people, sha256)}
    monkeypatch.setattr(store, "load_arrays", lambda name, *_: sets[name])
    human = {"recipe": "label_noise", "kind": "human", "labels": "cifar10n"}
    recipe = {**human, "column": column, "validation": 0.1}
    counts = build_variant("cifar10", "v", recipe, folder)["counts"]
    assert (counts["train"], counts["validation"]) == (45000, 5000)
    assert round(sum(counts["wrong"].values()) / 5) == rate
    assert counts["wrong_share"] == rate / 10000


@pytest.mark.slow
def test_real_cifar10_fits_the_publications(folder: Path, mirror: Path) -> None:
    """Human labels and the published tail fit the real CIFAR-10."""
    human = {
        "recipe": "label_noise",
        "kind": "human",
        "labels": "cifar10n",
        "column": "worse_label",
    }
    made = stored("cifar10", {"name": "worse", **human}, folder, mirror)
    check_parts(made, store.load_arrays("cifar10", folder)[0])
    assert made["counts"]["wrong_share"] == 0.4021
    assert made["labels_sha256"] == store.load_arrays("cifar10n", folder)[1]
    tail = {"name": "IF100", "recipe": "long_tail", "factor": 100, "carve": "subset"}
    assert stored("cifar10", tail, folder, mirror)["counts"]["total"] == 12406
    foreign = {"name": "v", **human, "labels": "cifar100n", "column": "noisy_label"}
    line = "clean_label of cifar100n differs from the dataset's own labels in 49515 of"
    with pytest.raises(InputError, match=line):
        stored("cifar10", foreign, folder, mirror)


OF_REFERENCE = {
    "digits": "07a2a92f1501995e",
    "digits_plane": "07a2a92f1501995e",
    "disease": "5091f72de6fc59b5",
    "glyphs_long_tailed": "8159dcbac1cbd427",
    "glyphs_noisy": "17b26a6e75a8dadc",
    "glyphs_few_shot": "8cb9ba024e8ece86",
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=slow(n.partition("_")[0])) for n in OF_REFERENCE]
)
def test_default_scale_keeps_its_bytes(name: str, folder: Path) -> None:
    """The default scale keeps the bytes that its results were made with."""
    experiment = keys_of("default", "experiments", name)
    made = stored(experiment["dataset"], experiment["variant"], folder)
    if made["data_sha256"] != catalogue.entry(experiment["dataset"]).sha256:
        pytest.skip(
            "the characters are rendered differently by the fonts and the Pillow of this machine"
        )
    assert made["hash"] == OF_REFERENCE[name]
