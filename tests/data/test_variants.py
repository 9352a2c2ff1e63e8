"""Recipes: known totals, rates, determinism, disjoint parts, and what is refused."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsac.data import build_variant, load_variant, variants, write_variant
from hsac.data.variants import _parts, episodes, label_noise, long_tail, node_split, plain
from hsac.errors import InputError


def images(classes: int = 6, groups: int = 10, copies: int = 3, test: int = 4) -> dict[str, np.ndarray]:
    """A set without pixels: per class, groups of copies to train on and single test rows."""
    per_class = groups * copies + test
    n = classes * per_class
    within = np.tile(np.arange(per_class), classes)
    label = np.repeat(np.arange(classes), per_class)
    split = np.where(within < groups * copies, 0, 2).astype(np.int8)
    group = label * per_class + np.where(split == 0, within // copies, within)
    return {"label": label, "split": split, "group": group, "image": np.zeros((n, 1, 1), np.uint8)}


def few_shot(classes: int = 24, each: int = 8) -> dict[str, np.ndarray]:
    label = np.repeat(np.arange(classes), each)
    split = (label % 3).astype(np.int8)
    return {"label": label, "split": split, "group": np.arange(len(label))}


@pytest.mark.parametrize(
    ("classes", "n_max", "totals"),
    [(10, 5000, {10: 20431, 50: 13996, 100: 12406}), (100, 500, {10: 19573, 50: 12608, 100: 10847})],
)
def test_long_tail_totals_of_cifar(classes: int, n_max: int, totals: dict[int, int]) -> None:
    assert {f: sum(long_tail.class_counts(n_max, f, classes)) for f in totals} == totals


def test_cifar100_has_35_35_30_classes() -> None:
    sizes = np.array(long_tail.class_counts(500, 100, 100))
    assert [(sizes > 100).sum(), ((sizes <= 100) & (sizes >= 20)).sum(), (sizes < 20).sum()] == [35, 35, 30]


def test_step_profile() -> None:
    assert long_tail.class_counts(5000, 100, 10, "step") == [5000] * 5 + [50] * 5


@given(n_max=st.integers(1, 5000), factor=st.floats(1, 500), classes=st.integers(2, 100))
def test_long_tail_falls_from_n_max_to_its_share(n_max: int, factor: float, classes: int) -> None:
    sizes = long_tail.class_counts(n_max, factor, classes)
    assert sizes[0] == n_max
    assert sizes == sorted(sizes, reverse=True)
    assert n_max / factor - 1 - 1e-6 <= sizes[-1] <= n_max / factor + 1e-6


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_long_tail_rows_follow_the_counts_and_leave_the_rest_balanced(profile: str) -> None:
    data = images()
    made = long_tail.build(data, factor=8, profile=profile)
    rows, label = made["indices"], data["label"]
    sizes = long_tail.class_counts(24, 8, 6, profile)
    assert np.bincount(label[rows["train"]]).tolist() == made["counts"]["per_class"] == sizes
    assert set(np.bincount(label[rows["validation"]])) == {6}
    assert set(np.bincount(label[rows["test"]])) == {4}
    assert made["counts"]["head"] + made["counts"]["middle"] + made["counts"]["tail"] == list(range(6))


def test_a_steeper_tail_is_a_subset_on_the_same_validation() -> None:
    mild, steep = (long_tail.build(images(), factor=f)["indices"] for f in (2, 8))
    assert np.isin(steep["train"], mild["train"]).all()
    assert np.array_equal(steep["validation"], mild["validation"])


def test_noise_touches_training_and_validation_only() -> None:
    data = images()
    made = label_noise.build(data, kind="pair", rate=0.5)
    assert set(made["labels"]) == {"train", "validation"}
    for part, labels in made["labels"].items():
        clean = data["label"][made["indices"][part]]
        assert (labels != clean).sum() == made["counts"]["wrong"][part] == round(0.5 * len(clean))
    assert np.array_equal(made["indices"]["validation"], plain.build(data)["indices"]["validation"])


@settings(deadline=None)
@given(
    classes=st.integers(2, 5),
    groups=st.integers(2, 9),
    copies=st.integers(1, 4),
    validation=st.floats(0.01, 0.99),
    draw=st.integers(0, 50),
)
def test_parts_are_disjoint_in_rows_and_groups(
    classes: int, groups: int, copies: int, validation: float, draw: int
) -> None:
    data = images(classes, groups, copies)
    made = plain.build(data, validation=validation, draw=draw)
    _parts.check_disjoint(made, data)
    rows = made["indices"]
    assert np.array_equal(np.sort(np.concatenate(list(rows.values()))), np.arange(len(data["label"])))
    assert all(np.isin(np.arange(classes), data["label"][index]).all() for index in rows.values())


def test_an_overlap_is_refused() -> None:
    data = images()
    overlapping = {"train": np.array([0]), "validation": np.array([1]), "test": np.array([30])}
    with pytest.raises(InputError, match="group 0 is in both train and validation"):
        _parts.check_disjoint({"indices": overlapping}, data)
    with pytest.raises(InputError, match="row 0 is in both"):
        _parts.check_disjoint({"indices": {**overlapping, "test": np.array([0])}}, data)


def test_largest_caps_each_class() -> None:
    data = images()
    made = plain.build(data, largest=5)
    assert set(np.bincount(data["label"][made["indices"]["train"]])) == {5}


def test_node_split_is_stratified() -> None:
    y = (np.arange(1000) % 4 == 0).astype(np.int64)
    rows = node_split.build({"y": y}, train=0.3, validation=0.1)["indices"]
    assert [len(index) for index in rows.values()] == [300, 100, 600]
    assert [y[index].mean() for index in rows.values()] == [0.25] * 3
    assert len(np.unique(np.concatenate(list(rows.values())))) == 1000


def few(**other: Any) -> dict[str, Any]:
    return {"way": 5, "shot": 2, "query": 4, "train": 9, "validation": 4, "test": 6, **other}


def test_episodes_are_ways_of_distinct_rows_from_their_part() -> None:
    data = few_shot()
    made = episodes.build(data, **few())
    assert {part: e.shape for part, e in made["episodes"].items()} == {
        "train": (9, 5, 6),
        "validation": (4, 5, 6),
        "test": (6, 5, 6),
    }
    _parts.check_disjoint(made, data)
    for code, part in enumerate(("train", "validation", "test")):
        rows = made["episodes"][part]
        assert (data["split"][rows] == code).all()
        labels = data["label"][rows]
        assert (labels == labels[..., :1]).all()
        for episode in rows:
            assert len(np.unique(episode)) == 30
            assert len(np.unique(data["label"][episode[:, 0]])) == 5
    assert len(np.unique(made["episodes"]["train"].reshape(9, -1), axis=0)) == 9


def test_episodes_leave_the_global_generators_alone() -> None:
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    first = episodes.build(few_shot(), **few())
    random.random()
    second = episodes.build(few_shot(), **few())
    random.setstate(before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])
    for part in ("train", "validation", "test"):
        assert np.array_equal(first["episodes"][part], second["episodes"][part])
    other = episodes.build(few_shot(), **few(draw=1))
    assert not np.array_equal(first["episodes"]["test"], other["episodes"]["test"])


def test_learn2learn_imports_in_silence() -> None:
    code = "from hsac.data._learn2learn import learn2learn; learn2learn().data.Taskset"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


BAD: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (plain.build, {"validation": 0}, "validation: found 0"),
    (plain.build, {"validation": 1}, "validation: found 1"),
    (plain.build, {"validation": "a"}, "validation: found 'a'"),
    (plain.build, {"draw": -1}, "draw: found -1"),
    (plain.build, {"draw": True}, "draw: found True"),
    (plain.build, {"largest": 0}, "largest: found 0"),
    (long_tail.build, {"factor": 0.5}, "factor: found 0.5"),
    (long_tail.build, {"factor": 25}, "factor: found 25, which leaves a class empty"),
    (long_tail.build, {"factor": 2, "profile": "exq"}, "profile: found 'exq'"),
    (label_noise.build, {"kind": "pair", "rate": 1.1}, "rate: found 1.1"),
    (label_noise.build, {"kind": "pair", "rate": -0.1}, "rate: found -0.1"),
    (label_noise.build, {"kind": "pear"}, "kind: found 'pear'"),
    (node_split.build, {}, "found an image set; allowed are graphs"),
    (node_split.build, {"train": 0.6, "validation": 0.4}, "less than 1"),
]


@pytest.mark.parametrize(("build", "parameters", "line"), BAD)
def test_what_cannot_be_is_refused(build: Callable[..., Any], parameters: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)):
        build(images(), **parameters)


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ({"way": 9}, "way: found 9; allowed is up to 8"),
        ({"query": 7}, "shot + query: found 9; allowed is up to 8"),
        ({"shot": 0}, "shot: found 0"),
        ({"test": 1.5}, "test: found 1.5"),
    ],
)
def test_episodes_that_cannot_be_are_refused(other: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)):
        episodes.build(few_shot(), **few(**other))


def test_a_set_split_by_class_is_for_episodes() -> None:
    with pytest.raises(InputError, match="allowed is recipe episodes"):
        plain.build(few_shot())


def test_recipes_are_the_files() -> None:
    assert variants.names() == ("episodes", "label_noise", "long_tail", "node_split", "plain", "public_split")


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        ({"recipe": "longtail"}, "did you mean 'long_tail'"),
        ({}, "recipe: found None"),
        ({"recipe": "plain", "validaton": 0.2}, "did you mean 'validation'"),
        ({"recipe": "long_tail"}, "factor: found nothing"),
    ],
)
def test_recipe_names_and_parameters_are_checked(recipe: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        variants.check_recipe(recipe)


def test_a_variant_comes_back_and_is_the_same_twice(root: Path, tmp_path: Path) -> None:
    recipe = {"recipe": "label_noise", "kind": "symmetric_exclusive", "rate": 0.4}
    paths = [write_variant(build_variant("digits", "sym40", recipe, root), tmp_path / f"{i}.json") for i in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    made, read = build_variant("digits", "sym40", recipe, root), load_variant(paths[0])
    assert read["hash"] == made["hash"]
    assert read["recipe"] == recipe
    for field in ("indices", "labels"):
        for part, rows in read[field].items():
            assert rows.dtype == np.int64
            assert rows.tolist() == made[field][part]


def test_a_graph_variant(root: Path) -> None:
    made = build_variant("disease", "split", {"recipe": "node_split"}, root)
    assert made["counts"] == {"train": 313, "validation": 104, "test": 627, "classes": 2}


def test_missing_cut_edited_or_foreign_variant_files_are_named(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    with pytest.raises(InputError, match=r"v\.json"):
        load_variant(path)
    variant = build_variant("digits", "plain", {"recipe": "plain"}, root)
    write_variant(variant, path)
    assert load_variant(path, variant["data_sha256"])["hash"] == variant["hash"]
    with pytest.raises(InputError, match="cut from other data"):
        load_variant(path, "0" * 64)
    text = path.read_text()
    path.write_text(text[:-30])
    with pytest.raises(InputError, match=r"v\.json"):
        load_variant(path)
    path.write_text(json.dumps({**variant, "name": "other"}))
    with pytest.raises(InputError, match="was changed"):
        load_variant(path)


def test_errors_name_the_variant(root: Path) -> None:
    with pytest.raises(InputError, match="variant IF900 of digits: factor: found 900"):
        build_variant("digits", "IF900", {"recipe": "long_tail", "factor": 900}, root)
