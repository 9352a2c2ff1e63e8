"""Recipes: known totals, rates, determinism, disjoint parts, and what is refused."""

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsac.data import build_variant, load_variant, variants, write_variant
from hsac.data.variants import (
    _inputs,
    _parts,
    episodes,
    label_noise,
    long_tail,
    node_split,
    plain,
    public_split,
)
from hsac.errors import InputError
from hsac.files import digest


def images(
    classes: int = 6, groups: int = 10, copies: int = 3, test: int = 4
) -> dict[str, np.ndarray]:
    """A set without pixels: per class, groups of copies to train on and single test rows."""
    per_class = groups * copies + test
    n = classes * per_class
    within = np.tile(np.arange(per_class), classes)
    label = np.repeat(np.arange(classes), per_class)
    split = np.where(within < groups * copies, 0, 2).astype(np.int8)
    group = label * per_class + np.where(split == 0, within // copies, within)
    return {
        "label": label,
        "split": split,
        "group": group,
        "image": np.zeros((n, 1, 1), np.uint8),
        "classes": np.array([f"c{c}" for c in range(classes)]),
    }


def few_shot(classes: int = 24, each: int = 8) -> dict[str, np.ndarray]:
    label = np.repeat(np.arange(classes), each)
    split = (label % 3).astype(np.int8)
    return {"label": label, "split": split, "group": np.arange(len(label))}


def cifar(classes: int) -> dict[str, np.ndarray]:
    """Make labels like CIFAR's: 50,000 to train on, 10,000 to test on, all classes as often."""
    shuffled = np.random.default_rng(0).permutation
    label = np.concatenate([shuffled(np.arange(n) % classes) for n in (50000, 10000)])
    split = np.where(np.arange(60000) < 50000, 0, 2).astype(np.int8)
    return {"label": label, "split": split, "group": np.arange(60000)}


@pytest.mark.parametrize(
    ("classes", "totals"),
    [(10, {10: 20431, 50: 13996, 100: 12406}), (100, {10: 19573, 50: 12608, 100: 10847})],
)
def test_published_tail_has_its_totals(classes: int, totals: dict[int, int]) -> None:
    """The published recipe has the published totals."""
    data = cifar(classes)
    for factor, total in totals.items():
        made = long_tail.build(data, factor=factor, carve="subset", validation=0.1)
        kept = np.concatenate([made.indices[part] for part in ("train", "validation")])
        assert made.counts["total"] == len(kept) == total
        assert np.bincount(data["label"][kept]).tolist() == made.counts["per_class"]
        assert made.counts["per_class"] == long_tail.class_counts(50000 // classes, factor, classes)
        assert set(np.bincount(data["label"][made.indices["test"]])) == {10000 // classes}
        assert f"subset of {total} validates" in made.words


def test_shot_groups_are_the_published_ones() -> None:
    """CIFAR-100 has 35, 35 and 30 classes, and CIFAR-10 none with few rows."""
    counts = long_tail.build(cifar(100), factor=100, carve="subset").counts
    assert [len(counts[name]) for name in ("many", "medium", "few")] == [35, 35, 30]
    assert counts["many"] + counts["medium"] + counts["few"] == list(range(100))
    assert [len(counts[name]) for name in ("head", "middle", "tail")] == [34, 33, 33]
    assert "few" not in long_tail.build(cifar(10), factor=100, carve="subset").counts


def test_groups_are_strict() -> None:
    assert long_tail.shot_groups([101, 100, 20, 19]) == {"many": [0], "medium": [1, 2], "few": [3]}


def test_step_profile() -> None:
    assert long_tail.class_counts(5000, 100, 10, "step") == [5000] * 5 + [50] * 5
    counts = long_tail.build(cifar(10), factor=100, profile="step", carve="subset").counts
    assert counts["total"] == 25250
    assert counts["medium"] == [5, 6, 7, 8, 9]


@settings(deadline=None)
@given(
    classes=st.integers(2, 6),
    groups=st.integers(4, 12),
    copies=st.integers(1, 3),
    factor=st.floats(1, 12),
    profile=st.sampled_from(long_tail.PROFILES),
    validation=st.floats(0.01, 0.99),
    draw=st.integers(0, 50),
)
def test_published_tail_validates_on_its_subset(
    classes: int,
    groups: int,
    copies: int,
    factor: float,
    profile: str,
    validation: float,
    draw: int,
) -> None:
    """The published recipe cuts validation from its subset."""
    data = images(classes, groups, copies)
    same = {"factor": factor, "profile": profile, "carve": "subset", "draw": draw}
    try:
        made = long_tail.build(data, validation=validation, **same)
    except InputError:  # a class of one row, or of copies of one
        sizes = long_tail.class_counts(groups * copies, factor, classes, profile)
        assert min(sizes) <= copies
        return
    _parts.check_disjoint(made, data)
    rows, label = made.indices, data["label"]
    kept = np.concatenate([rows["train"], rows["validation"]])
    assert np.bincount(label[kept]).tolist() == long_tail.class_counts(
        groups * copies, factor, classes, profile
    )
    for part in rows.values():
        assert np.array_equal(np.unique(label[part]), np.arange(classes))
    other = long_tail.build(data, validation=0.5, **same).indices
    assert np.array_equal(
        np.sort(kept), np.sort(np.concatenate([other["train"], other["validation"]]))
    )


def test_published_tail_validates_every_class() -> None:
    """The published recipe takes its share of each class."""
    data = cifar(100)
    made = long_tail.build(data, factor=100, carve="subset", validation=0.1)
    sizes = np.array(made.counts["per_class"])
    held = np.bincount(data["label"][made.indices["validation"]])
    assert held.tolist() == [max(1, round(0.1 * n)) for n in sizes.tolist()]
    assert sizes.min() == 5


def test_another_draw_takes_other_rows() -> None:
    """Another draw of the same tail takes other rows."""
    one, other = (
        long_tail.build(cifar(10), factor=100, carve="subset", draw=draw) for draw in (0, 1)
    )
    assert one.counts == other.counts
    assert not np.array_equal(one.indices["train"], other.indices["train"])


def test_carving_is_quick_on_50000_rows() -> None:
    data = cifar(100)
    before = time.process_time()
    plain.build(data, validation=0.1)
    assert time.process_time() - before < 2


@given(n_max=st.integers(1, 5000), factor=st.floats(1, 500), classes=st.integers(2, 100))
def test_class_counts_fall_by_the_factor(n_max: int, factor: float, classes: int) -> None:
    """A long tail falls from n_max to its share."""
    sizes = long_tail.class_counts(n_max, factor, classes)
    assert sizes[0] == n_max
    assert sizes == sorted(sizes, reverse=True)
    assert n_max / factor - 1 - 1e-6 <= sizes[-1] <= n_max / factor + 1e-6


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_long_tail_rows_follow_the_counts(profile: str) -> None:
    """Long-tail rows follow the counts and leave the other parts balanced."""
    data = images()
    made = long_tail.build(data, factor=8, profile=profile)
    rows, label = made.indices, data["label"]
    sizes = long_tail.class_counts(24, 8, 6, profile)
    assert np.bincount(label[rows["train"]]).tolist() == made.counts["per_class"] == sizes
    assert set(np.bincount(label[rows["validation"]])) == {6}
    assert set(np.bincount(label[rows["test"]])) == {4}
    assert made.counts["head"] + made.counts["middle"] + made.counts["tail"] == list(range(6))


def test_steeper_tail_is_a_subset() -> None:
    """A steeper tail is a subset, on the same validation part."""
    mild, steep = (long_tail.build(images(), factor=f).indices for f in (2, 8))
    assert np.isin(steep["train"], mild["train"]).all()
    assert np.array_equal(steep["validation"], mild["validation"])


def test_noise_touches_training_and_validation_only() -> None:
    data = images()
    made = label_noise.build(data, kind="pair", rate=0.5)
    assert set(made.labels) == {"train", "validation"}
    for part, labels in made.labels.items():
        clean = data["label"][made.indices[part]]
        assert (labels != clean).sum() == made.counts["wrong"][part] == round(0.5 * len(clean))
    assert np.array_equal(made.indices["validation"], plain.build(data).indices["validation"])


@settings(deadline=None)
@given(
    classes=st.integers(2, 5),
    groups=st.integers(2, 9),
    copies=st.integers(1, 4),
    validation=st.floats(0.01, 0.99),
    draw=st.integers(0, 50),
)
def test_parts_share_no_row_or_group(
    classes: int, groups: int, copies: int, validation: float, draw: int
) -> None:
    """Parts are disjoint in rows and groups."""
    data = images(classes, groups, copies)
    made = plain.build(data, validation=validation, draw=draw)
    _parts.check_disjoint(made, data)
    rows = made.indices
    assert np.array_equal(
        np.sort(np.concatenate(list(rows.values()))), np.arange(len(data["label"]))
    )
    assert all(np.isin(np.arange(classes), data["label"][index]).all() for index in rows.values())


def content(indices: dict[str, np.ndarray]) -> _parts.VariantContent:
    return _parts.VariantContent("", {}, indices)


def test_an_overlap_is_refused() -> None:
    data = images()
    overlapping = {"train": np.array([0]), "validation": np.array([1]), "test": np.array([30])}
    with pytest.raises(InputError, match="group 0 is in both train and validation"):
        _parts.check_disjoint(content(overlapping), data)
    with pytest.raises(InputError, match="row 0 is in both"):
        _parts.check_disjoint(content({**overlapping, "test": np.array([0])}), data)


def test_largest_caps_each_class() -> None:
    data = images()
    made = plain.build(data, largest=5)
    assert set(np.bincount(data["label"][made.indices["train"]])) == {5}


def test_node_split_is_stratified() -> None:
    y = (np.arange(1000) % 4 == 0).astype(np.int64)
    rows = node_split.build({"y": y}, train=0.3, validation=0.1).indices
    assert [len(index) for index in rows.values()] == [300, 100, 600]
    assert [y[index].mean() for index in rows.values()] == [0.25] * 3
    assert len(np.unique(np.concatenate(list(rows.values())))) == 1000


def graph(unused: int = 40) -> dict[str, np.ndarray]:
    """A hundred nodes of four classes with six features and a split of their own."""
    split = np.repeat(np.array([0, 1, 2, -1], dtype=np.int8), [20, 10, 70 - unused, unused])
    return {"x": np.zeros((100, 6), np.float32), "y": np.arange(100) % 4, "split": split}


def test_public_split_is_the_graphs_own() -> None:
    data = graph()
    made = public_split.build(data)
    assert made.counts == {"train": 20, "validation": 10, "test": 30, "classes": 4, "unused": 40}
    for code, part in enumerate(("train", "validation", "test")):
        assert np.array_equal(made.indices[part], np.flatnonzero(data["split"] == code))
    assert "40 are in no part" in made.words
    assert "columns" not in made.to_dict()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"split": None}, "found a graph without a split of its own; allowed is node_split"),
        ({"y": None}, "found an image set; allowed are graphs"),
        (
            {"split": np.zeros(100, np.int8)},
            "found a split of the graph's own without validation nodes",
        ),
    ],
)
def test_missing_public_split_is_refused(change: dict[str, Any], line: str) -> None:
    """A public split that is not there is refused."""
    data = {name: array for name, array in (graph() | change).items() if array is not None}
    with pytest.raises(InputError, match=re.escape(line)):
        public_split.build(data)


@pytest.mark.parametrize("build", [node_split.build, public_split.build])
def test_feature_columns_can_be_left_out(build: Callable[..., Any]) -> None:
    made, whole = build(graph(), without=[3, 1]), build(graph())
    assert made.columns == [0, 2, 4, 5]
    assert "without feature columns 3, 1" in made.words
    for part, rows in whole.indices.items():
        assert np.array_equal(made.indices[part], rows)
    for bad in ([6], [-1], [1, 1], [0, 1, 2, 3, 4, 5], [True], 3, 0, ["1"], None):
        with pytest.raises(
            InputError, match=r"without: found .*allowed is a list of different feature columns"
        ):
            build(graph(), without=bad)


def few(**other: Any) -> dict[str, Any]:
    return {"way": 5, "shot": 2, "query": 4, "train": 9, "validation": 4, "test": 6, **other}


def test_episodes_have_distinct_rows() -> None:
    """Episodes are ways of distinct rows from their part."""
    data = few_shot()
    made = episodes.build(data, **few())
    assert {part: e.shape for part, e in made.episodes.items()} == {
        "train": (9, 5, 6),
        "validation": (4, 5, 6),
        "test": (6, 5, 6),
    }
    _parts.check_disjoint(made, data)
    for code, part in enumerate(("train", "validation", "test")):
        rows = made.episodes[part]
        assert (data["split"][rows] == code).all()
        labels = data["label"][rows]
        assert (labels == labels[..., :1]).all()
        for episode in rows:
            assert len(np.unique(episode)) == 30
            assert len(np.unique(data["label"][episode[:, 0]])) == 5
    assert len(np.unique(made.episodes["train"].reshape(9, -1), axis=0)) == 9


def test_episodes_leave_the_global_generators_alone() -> None:
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    first = episodes.build(few_shot(), **few())
    random.random()
    second = episodes.build(few_shot(), **few())
    random.setstate(before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])
    for part in ("train", "validation", "test"):
        assert np.array_equal(first.episodes[part], second.episodes[part])
    other = episodes.build(few_shot(), **few(draw=1))
    assert not np.array_equal(first.episodes["test"], other.episodes["test"])


def test_omniglots_hardest_task_can_be_drawn() -> None:
    """20 classes, 5 shots and 15 queries are all 20 images of each class."""
    made = episodes.build(few_shot(75, 20), **few(way=20, shot=5, query=15, test=40))
    rows = made.episodes["test"].reshape(40, -1)
    assert all(len(np.unique(episode)) == 400 for episode in rows)


def write_lists(path: Path, **lists: Any) -> Path:
    path.write_text(
        json.dumps(
            {"train": ["a0", "a1"], "validation": ["a2", "a3"], "test": ["a4", "a6"]} | lists
        )
    )
    return path


def named(classes: int = 8) -> dict[str, np.ndarray]:
    data = few_shot(classes, 10)
    return data | {"classes": np.array([f"a{c}" for c in range(classes)])}


def build_named(
    monkeypatch: pytest.MonkeyPatch, data: dict[str, np.ndarray], recipe: dict[str, Any]
) -> dict[str, Any]:
    """The variant of a dataset that holds these arrays."""
    monkeypatch.setattr(variants.store, "load_arrays", lambda *_: (data, "0" * 64))
    return build_variant("named", "v", recipe, Path())


def test_episodes_follow_class_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Episodes follow a file of class lists."""
    path, data = write_lists(tmp_path / "classes.json"), named()
    recipe = {"recipe": "episodes", **few(way=2), "split": str(path)}
    made = build_named(monkeypatch, data, recipe)
    for part, classes in (("train", {0, 1}), ("validation", {2, 3}), ("test", {4, 6})):
        rows = np.array(made["episodes"][part])
        assert set(data["label"][rows].ravel().tolist()) == classes
    assert str(path) in made["words"]
    path.write_text(path.read_text() + "\n")
    assert build_named(monkeypatch, data, recipe) == made
    write_lists(path, test=["a4", "a7"])
    other = build_named(monkeypatch, data, recipe)
    assert other["split_sha256"] != made["split_sha256"]
    assert other["hash"] != made["hash"]


@pytest.mark.parametrize(
    ("lists", "line"),
    [
        ({"test": ["a4", "b7"]}, "split: found class 'b7' in"),
        ({"test": ["a4", "a0"]}, "split: found class 'a0' in both train and test in"),
        ({"test": ["a4", "a4"]}, "split: found class 'a4' twice in test in"),
        ({"test": []}, "split: found '[]' under test in"),
        ({"test": [4, 5]}, "split: found '[4, 5]' under test in"),
        ({"val": []}, "split: found 'train', 'validation', 'test', 'val' in"),
        ({"train": ["a0"]}, "way: found 2; allowed is up to 1, the classes of the train part"),
    ],
)
def test_unfit_class_lists_are_refused(
    lists: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Class lists that do not fit the dataset are refused."""
    path = write_lists(tmp_path / "classes.json", **lists)
    with pytest.raises(InputError, match=re.escape(line)) as caught:
        build_named(monkeypatch, named(), {"recipe": "episodes", **few(way=2), "split": str(path)})
    assert "\n" not in str(caught.value)


def test_missing_class_lists_are_named(tmp_path: Path) -> None:
    """A part without a list and a file that is missing are named."""
    path = tmp_path / "classes.json"
    path.write_text('{"train": ["a"]}')
    for split, line in (
        (str(path), "found 'train' in"),
        ("none.json", "found 'none.json'"),
        (3, "found 3"),
    ):
        with pytest.raises(InputError, match=rf"v\.split: {re.escape(line)}"):
            variants.check_recipe({"recipe": "episodes", **few(), "split": split}, "v")


def test_class_lists_may_have_a_mark(tmp_path: Path) -> None:
    """Editors write one, and none of the advice on files of hsac's own is for a user's file."""
    path = tmp_path / "classes.json"
    text = '{"train": ["ä"], "validation": ["b"], "test": ["c"]}'
    recipe = {"recipe": "episodes", **few(), "split": str(path)}
    path.write_bytes(text.encode("utf-8-sig"))
    variants.check_recipe(recipe, "v")
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"classes\.json: found the byte 0xe4 .* allowed is UTF-8"):
        variants.check_recipe(recipe, "v")
    path.write_text(text.replace("{", '{"train": ["d"], '))
    with pytest.raises(InputError, match=r"classes\.json: found the key 'train' twice"):
        variants.check_recipe(recipe, "v")


def test_hash_of_human_labels_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of people are read, and their hash is kept."""
    data = images()
    clean = data["label"][data["split"] != 2].astype(np.uint8)
    sets = {
        "named": (data, "0" * 64),
        "people": ({"clean_label": clean, "worse": (clean + 1) % 6}, "1" * 64),
    }
    monkeypatch.setattr(variants.store, "load_arrays", lambda name, *_: sets[name])
    monkeypatch.setattr(_inputs, "check_inputs", lambda *_: None)
    monkeypatch.setattr(variants, "check_inputs", lambda *_: None)
    recipe = {"recipe": "label_noise", "kind": "human", "labels": "people", "column": "worse"}
    made = build_variant("named", "v", recipe, Path())
    assert made["labels_sha256"] == "1" * 64
    assert made["counts"]["wrong_share"] == 1
    assert variants.inputs(recipe) == (["people"], [])


PINNED = {
    "plain": (lambda: plain.build(images(), largest=5), "e4a9e01e7efd30c9"),
    "tail": (lambda: long_tail.build(images(), factor=8), "955a20bb7c6e35db"),
    "step": (lambda: long_tail.build(images(), factor=8, profile="step"), "4cd0e7d073b919d2"),
    "subset": (lambda: long_tail.build(images(), factor=8, carve="subset"), "33b9aa6ae2dca9c3"),
    "symmetric_inclusive": (lambda: noisy("symmetric_inclusive"), "9c31b4b0aec3aa98"),
    "symmetric_exclusive": (lambda: noisy("symmetric_exclusive"), "40324abbe36639f8"),
    "pair": (lambda: noisy("pair"), "982a4e2d424d50f1"),
    "asymmetric": (lambda: noisy("asymmetric", map={"c0": "c1"}), "e27cff1adddcd470"),
    "instance": (lambda: noisy("instance"), "2b13455cd7e2f2b1"),
    "nodes": (
        lambda: node_split.build({"y": (np.arange(1000) % 4 == 0).astype(np.int64)}),
        "c6c536714489562b",
    ),
    "public": (lambda: public_split.build(graph(), without=[3]), "14207d4e27efa375"),
    "episodes": (lambda: episodes.build(few_shot(), **few()), "ec05be8ce3a0171c"),
}


def noisy(kind: str, **parameters: Any) -> _parts.VariantContent:
    """Labels of images that are the same everywhere."""
    data = images()
    pixels = np.arange(data["image"].size * 16) * 37 % 256
    data["image"] = pixels.astype(np.uint8).reshape(-1, 4, 4)
    return label_noise.build(data, kind=kind, rate=0.4, draw=2, **parameters)


@pytest.mark.parametrize("name", PINNED)
def test_every_machine_makes_these_bytes(name: str) -> None:
    """A draw that changed anywhere shows here.

    Results that were published with the old one are then of other data.
    """
    build, stated = PINNED[name]
    assert digest(variants._plain(build().to_dict())) == stated


def test_learn2learn_imports_in_silence() -> None:
    code = "from hsac._learn2learn import learn2learn; learn2learn().data.Taskset"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


BAD: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (plain.build, {"validation": 0}, "validation: found 0"),
    (plain.build, {"validation": 1}, "validation: found 1"),
    (plain.build, {"validation": "a"}, "validation: found 'a'"),
    (plain.build, {"draw": -1}, "draw: found -1"),
    (plain.build, {"draw": True}, "draw: found True"),
    (plain.build, {"largest": 0}, "largest: found 0"),
    (plain.build, {"meta": -1}, "meta: found -1; allowed is an integer from 0"),
    (plain.build, {"meta": True}, "meta: found True; allowed is an integer from 0"),
    (plain.build, {"meta": 8}, "meta: found 8, which takes all training rows of class 0 ('c0')"),
    (long_tail.build, {"factor": 0.5}, "factor: found 0.5"),
    (long_tail.build, {"factor": 25}, "factor: found 25, which leaves a class empty"),
    (long_tail.build, {"factor": 2, "profile": "exq"}, "profile: found 'exq'"),
    (long_tail.build, {"factor": 2, "carve": "test"}, "carve: found 'test'"),
    (
        long_tail.build,
        {"factor": 16, "carve": "subset"},
        "factor: found 16, which leaves class 5 ('c5') a single row",
    ),
    (
        long_tail.build,
        {"factor": 31, "carve": "subset"},
        "factor: found 31, which leaves a class empty",
    ),
    (label_noise.build, {"kind": "pear"}, "kind: found 'pear'"),
    (node_split.build, {}, "found an image set; allowed are graphs"),
    (node_split.build, {"train": 0.6, "validation": 0.4}, "less than 1"),
]


@pytest.mark.parametrize(("build", "parameters", "line"), BAD)
def test_what_cannot_be_is_refused(
    build: Callable[..., Any], parameters: dict[str, Any], line: str
) -> None:
    with pytest.raises(InputError, match=re.escape(line)):
        build(images(), **parameters)


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ({"way": 9}, "way: found 9; allowed is up to 8"),
        (
            {"query": 7},
            "shot + query: found 9; allowed is up to 8, the rows of train class 0",
        ),
        ({"shot": 0}, "shot: found 0"),
        ({"test": 1.5}, "test: found 1.5"),
    ],
)
def test_episodes_that_cannot_be_are_refused(other: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)):
        episodes.build(few_shot(), **few(**other))


def test_sets_split_by_class_need_episodes() -> None:
    """A set that is split by class is for episodes."""
    with pytest.raises(
        InputError, match=r"whose class 2 is not trained on; allowed is .* episodes"
    ):
        plain.build(few_shot())
    data = images()
    data["split"][data["label"] == 4] = 0
    with pytest.raises(InputError, match=re.escape("class 4 ('c4') has no test rows")):
        plain.build(data)


def test_public_split_trains_on_every_class() -> None:
    data = graph() | {"classes": np.array(["a", "b", "c", "d"])}
    data["split"][(data["y"] == 3) & (data["split"] == 0)] = -1
    words = "found a split of the graph's own without train nodes of class 3 ('d')"
    with pytest.raises(InputError, match=re.escape(words)):
        public_split.build(data)


def test_class_of_one_group_is_named() -> None:
    """A class that cannot be cut in two is named by number and name."""
    data = images()
    data["group"][data["label"] == 3] = 0
    with pytest.raises(InputError, match=re.escape("class 3 ('c3') with a single group of rows")):
        plain.build(data)
    few_nodes = {"y": np.array([0] * 50 + [1] * 2), "classes": np.array(["many", "two"])}
    with pytest.raises(InputError, match=re.escape("class 1 ('two'): found 2 nodes, too few")):
        node_split.build(few_nodes)


WITH_META: dict[str, Callable[..., _parts.VariantContent]] = {
    "plain": lambda data, **given: plain.build(data, largest=9, **given),
    "pool": lambda data, **given: long_tail.build(data, factor=3, **given),
    "subset": lambda data, **given: long_tail.build(data, factor=2, carve="subset", **given),
    "noise": lambda data, **given: label_noise.build(data, kind="pair", rate=0.5, **given),
}


@pytest.mark.parametrize("name", WITH_META)
@pytest.mark.parametrize("copies", [1, 3])
def test_meta_set_is_balanced_and_apart(name: str, copies: int) -> None:
    """It has as many rows of every class, no near copies, true labels, and no part in another."""
    data = images(copies=copies)
    made, without = (WITH_META[name](data, **given) for given in ({"meta": 3}, {}))
    rows = made.indices
    _parts.check_disjoint(made, data)
    assert np.bincount(data["label"][rows["meta"]]).tolist() == [3] * 6
    assert len(np.unique(data["group"][rows["meta"]])) == 18
    assert "meta" not in (made.labels or {})
    assert made.counts["meta"] == 18
    assert "; a meta set of 3 images a class with true labels" in made.words
    # Validation is cut first, but under `subset`, where it is cut from what is left to train on.
    for part in ("test",) if name == "subset" else ("test", "validation"):
        assert np.array_equal(rows[part], without.indices[part])
    assert variants._plain(WITH_META[name](data, meta=0).to_dict()) == variants._plain(
        without.to_dict()
    )


def test_meta_set_does_not_follow_imbalance() -> None:
    """It is cut before thinning and noise, so that every factor and rate has the same."""
    data = images(copies=1, groups=40)
    tails = [long_tail.build(data, factor=f, meta=4).indices["meta"] for f in (1, 5, 20)]
    noisy = [
        label_noise.build(data, kind="pair", rate=r, meta=4).indices["meta"] for r in (0.1, 0.9)
    ]
    for others in (tails, noisy):
        assert all(np.array_equal(others[0], other) for other in others[1:])


@pytest.mark.parametrize(
    ("classes", "totals"), [(10, {20: 17023, 200: 11203}), (100, {20: 15907, 200: 9502})]
)
def test_milder_and_steeper_tails_have_totals(classes: int, totals: dict[int, int]) -> None:
    """A class has floor(head / factor^(i / (classes - 1))) rows, by whole numbers alone."""
    data = cifar(classes)
    for factor, total in totals.items():
        for carve in long_tail.CARVES:
            counts = long_tail.build(data, factor=factor, carve=carve, validation=0.1).counts
            head = counts["per_class"][0]
            for i, size in enumerate(counts["per_class"]):
                power = factor**i
                assert size ** (classes - 1) * power <= head ** (classes - 1)
                assert (size + 1) ** (classes - 1) * power > head ** (classes - 1)
        assert counts["total"] == total


def test_meta_set_shrinks_the_head() -> None:
    """As in the recipe of Shu et al., whose CIFAR-10 has 5000 - 10 images in the head."""
    made = long_tail.build(cifar(10), factor=50, carve="subset", meta=10)
    assert made.counts["per_class"] == long_tail.class_counts(4990, 50, 10)


def test_recipes_are_the_files() -> None:
    assert variants.names() == (
        "episodes",
        "label_noise",
        "long_tail",
        "node_split",
        "plain",
        "public_split",
    )


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


def test_variants_come_back_the_same(root: Path, tmp_path: Path) -> None:
    """A variant comes back as written and is the same twice."""
    recipe = {"recipe": "label_noise", "kind": "symmetric_exclusive", "rate": 0.4}
    paths = [
        write_variant(build_variant("digits", "sym40", recipe, root), tmp_path / f"{i}.json")
        for i in range(2)
    ]
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


def test_bad_variant_files_are_named(root: Path, tmp_path: Path) -> None:
    """Missing, cut, edited and foreign variant files are named."""
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
