"""Kinds of label noise: their rates, where wrong labels go, and what is refused."""

import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsac import parts
from hsac.data import variants
from hsac.data.noise import asymmetric
from hsac.data.noise.instance import Instance
from hsac.data.variants import _parts, label_noise
from hsac.errors import InputError

KIND = label_noise.FAMILY
RATED = [name for name in parts.names(KIND) if "rate" in parts.parameters(KIND, name)]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
MAP = {"0": "1", "2": "0"}


def some_images(
    n: int = 600, classes: int = 7, seed: int = 0, shape: tuple[int, ...] = (4, 4)
) -> dict[str, np.ndarray]:
    """Images of noise, every sixth a test image; labels in turn."""
    image = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    return {
        "image": image,
        "label": np.arange(n) // 6 % classes,
        "split": np.where(np.arange(n) % 6 == 5, 2, 0).astype(np.int8),
        "group": np.arange(n),
        "classes": np.array([str(c) for c in range(classes)]),
    }


def corrupted(
    kind: str, data: dict[str, np.ndarray], draw: int = 3, **parameters: Any
) -> np.ndarray:
    """Labels of all images."""
    if kind == "asymmetric":
        parameters = {"map": MAP} | parameters
    streams = (_parts.generator(draw, purpose) for purpose in ("stream", "common"))
    noise = parts.build(KIND, kind, parameters, kind)
    return noise.corrupt(data, np.arange(len(data["label"])), *streams)


@pytest.mark.parametrize("kind", RATED)
def test_rates_and_directions(kind: str) -> None:
    data = some_images(n=42000, classes=10)
    label = data["label"]
    noisy = corrupted(kind, data, rate=0.4)
    wrong = noisy != label
    steps = np.bincount((noisy - label)[wrong] % 10, minlength=10)
    if kind in ("symmetric_exclusive", "pair", "flip_two"):
        assert wrong.sum() == 16800
    else:  # five standard deviations are at most 0.012
        rate = {"symmetric_inclusive": 0.36, "asymmetric": 0.08, "instance": 0.4}[kind]
        assert abs(wrong.mean() - rate) < 0.012
    if kind == "pair":
        assert steps[1] == wrong.sum()
    elif kind not in ("asymmetric", "flip_two"):
        assert steps[1:].min() > 0.6 * wrong.sum() / 9


def transitions(label: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """Shares (C, C) of the rows of class i that are given label j."""
    joint = np.zeros((label.max() + 1, noisy.max() + 1))
    np.add.at(joint, (label, noisy), 1)
    return joint / joint.sum(1, keepdims=True)


def test_inclusive_noise_is_uniform_mixing() -> None:
    """Its transition matrix is rate / C + (1 - rate) I: 0.46 on the diagonal, else 0.06."""
    data = some_images(n=60000, classes=10)
    found = transitions(data["label"], corrupted("symmetric_inclusive", data, rate=0.6))
    # Five standard deviations of a share among the 6000 rows of a class.
    assert np.abs(found - (0.06 + 0.4 * np.eye(10))).max() < 5 * (0.46 * 0.54 / 6000) ** 0.5


def test_flip_two_shares_two_classes() -> None:
    """Each row of the matrix is 0.6 on the diagonal and 0.2 at two places, one table for all."""
    data = some_images(n=60000, classes=10)
    found = transitions(data["label"], corrupted("flip_two", data, rate=0.4))
    others = np.sort(found - np.diag(found.diagonal()), axis=1)
    close = 5 * (0.6 * 0.4 / 6000) ** 0.5
    assert np.abs(found.diagonal() - 0.6).max() < close
    assert np.abs(others[:, -2:] - 0.2).max() < close
    assert not others[:, :-2].any()
    made = label_noise.build(data, kind="flip_two", rate=0.4)
    both = [
        transitions(data["label"][made.indices[part]], given) > 0
        for part, given in made.labels.items()
    ]
    assert np.array_equal(*both)


def test_flip_two_needs_three_classes() -> None:
    with pytest.raises(InputError, match="kind: found flip_two on a dataset of 2 classes"):
        corrupted("flip_two", some_images(classes=2))


@pytest.mark.parametrize("kind", ["pair", "symmetric_exclusive", "symmetric_inclusive", "instance"])
def test_class_without_rows_can_be_drawn(kind: str) -> None:
    """The classes are those of the dataset: here one in the middle has no row."""
    data = some_images(n=4200)
    data["label"][data["label"] == 3] = 2
    noisy = corrupted(kind, data, rate=0.9)
    # Counted by their labels the classes would be six, and none of them the last.
    assert {3, 6} <= set(noisy[noisy != data["label"]].tolist())


def test_asymmetric_noise_follows_its_map() -> None:
    data = some_images(n=6000, classes=10)
    noisy = corrupted("asymmetric", data, rate=0.25)
    found = {(int(a), int(b)) for a, b in zip(data["label"], noisy, strict=True) if a != b}
    assert found == {(0, 1), (2, 0)}
    assert (noisy != data["label"]).sum() == round(0.25 * np.isin(data["label"], [0, 2]).sum())


def test_default_map_is_the_published_one() -> None:
    """The map of CIFAR-10 is the published one and the default."""
    data = some_images(n=6000, classes=10) | {"classes": np.array(CIFAR10)}
    noisy = parts.build(KIND, "asymmetric", {"rate": 1}, "x").corrupt(
        data, np.arange(6000), *(_parts.generator(0, word) for word in "ab")
    )
    wrong = noisy != data["label"]
    both = zip(data["label"][wrong].tolist(), noisy[wrong].tolist(), strict=True)
    pairs = {CIFAR10[a]: CIFAR10[b] for a, b in both}
    assert pairs == asymmetric.CIFAR10
    assert pairs == {
        "truck": "automobile",
        "bird": "airplane",
        "deer": "horse",
        "cat": "dog",
        "dog": "cat",
    }


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ({}, "map: found nothing, and the dataset has no class 'truck' of CIFAR-10's map"),
        (
            {"map": {"0": "9"}},
            "map: found '9', which is no class of the dataset; allowed are 0, 1, 2, 3, 4, 5, 6",
        ),
        ({"map": {"0": "0"}}, "map: found {'0': '0'}"),
        ({"map": {"0": 1}}, "map: found {'0': 1}"),
    ],
)
def test_unfit_map_is_refused(parameters: dict[str, Any], line: str) -> None:
    """A map that does not fit the classes is refused."""
    with pytest.raises(InputError, match=re.escape(line)):
        label_noise.build(some_images(), kind="asymmetric", **parameters)


@settings(deadline=None)
@given(
    kind=st.sampled_from(RATED),
    rate=st.floats(0, 1),
    n=st.integers(7, 60),
    classes=st.integers(3, 7),
    draw=st.integers(0, 99),
)
def test_wrong_labels_keep_to_the_rate(
    kind: str, rate: float, n: int, classes: int, draw: int
) -> None:
    """Wrong labels are of other classes, at the rate at most."""
    data = some_images(6 * n, classes)
    if kind == "instance":
        rate = 0.1 + 0.8 * rate
    label, before = data["label"].copy(), {name: array.copy() for name, array in data.items()}
    noisy = corrupted(kind, data, draw, rate=rate)
    assert noisy.dtype == np.int64
    assert ((noisy >= 0) & (noisy < classes)).all()
    assert np.array_equal(noisy, corrupted(kind, data, draw, rate=rate))
    assert all(np.array_equal(data[name], array) for name, array in before.items())
    wrong = (noisy != label).sum()
    mapped = np.isin(label, [0, 2]).sum() if kind == "asymmetric" else len(label)
    if kind in ("symmetric_exclusive", "pair", "asymmetric", "flip_two"):
        assert wrong == round(rate * mapped)
    elif kind == "symmetric_inclusive":
        assert wrong <= round(rate * mapped)


def test_instance_noise_depends_on_the_image() -> None:
    """Mislabelled copies of one image go the way of its projection, and its rate is its own."""
    data = some_images(n=3000, classes=5, shape=(28, 28))
    data["image"][:1500], data["image"][1500:] = data["image"][0], data["image"][-1]
    data["label"][:-60] = 0
    noisy = corrupted("instance", data, draw=0, rate=0.5)
    goals = [np.bincount(rows[rows != 0], minlength=5) for rows in (noisy[:1500], noisy[1500:-60])]
    assert [goal.max() / goal.sum() > 0.9 for goal in goals] == [True, True]
    assert goals[0].argmax() != goals[1].argmax()  # of this draw
    rates = Instance(0.5)._rates(100_000, _parts.generator(0, "rates")) / 1e6
    assert rates.min() >= 0
    assert rates.max() <= 1
    assert abs(rates.mean() - 0.5) < 0.002
    assert abs(rates.std() - 0.1) < 0.002


def test_instance_noise_is_one_function() -> None:
    """The same image, mislabelled in both parts, gets the same wrong label nearly always."""
    data = some_images(n=3000, classes=5, shape=(28, 28))
    data["image"][:], data["label"][:-60] = data["image"][0], 0
    for draw in range(4):
        labels = label_noise.build(data, kind="instance", rate=0.5, draw=draw).labels
        goals = [np.bincount(given[given != 0], minlength=5) for given in labels.values()]
        assert goals[0].argmax() == goals[1].argmax()


def test_instance_products_are_exact_whole_numbers() -> None:
    """In whole numbers the order of a sum does not matter, so no machine can differ in it."""
    data = some_images(shape=(5, 5, 3))
    data["image"][:100] = 255
    order = np.random.default_rng(1).permutation(75)
    weights = np.rint(np.random.default_rng(0).standard_normal((75, 7)) * 256)
    pixels = data["image"].reshape(-1, 75) - 127.0
    assert np.array_equal(pixels @ weights, pixels[:, order] @ weights[order])


def test_other_kernels_make_the_same_labels() -> None:
    """Kernels for another processor sum floats in another order; the labels must not show it."""
    code = """
import numpy as np
from hsac.data.variants import label_noise
draw = np.random.Generator(np.random.PCG64(5))
image = draw.integers(0, 256, (1200, 16, 16, 3), dtype=np.uint8)
label, split = np.arange(1200) // 6 % 20, np.where(np.arange(1200) % 6 == 5, 2, 0)
data = {"image": image, "label": label, "split": split, "group": np.arange(1200)}
data["classes"] = np.arange(20).astype(str)
print(label_noise.build(data, kind="instance").labels["train"].tolist())
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
        ).stdout
        for env in (dict(os.environ), {**os.environ, "OPENBLAS_CORETYPE": "Prescott"})
    ]
    assert len(said[0]) > 1000
    assert said[0] == said[1]


def test_class_that_nobody_saw_is_allowed() -> None:
    """Labels may leave a class out, but not name one that the dataset does not have."""
    data = human(some_images())
    column = data["labels/worse_label"]
    column[column == 3] = 2
    noise = parts.build(KIND, "human", {}, "x", labels="people", column="worse_label")
    streams = [_parts.generator(0, word) for word in "ab"]
    pool = np.flatnonzero(data["split"] != 2)
    assert np.array_equal(noise.corrupt(data, pool, *streams), column)
    column[column == 5] = 8
    with pytest.raises(InputError, match="with 9 classes; allowed is one with 7"):
        noise.corrupt(data, pool, *streams)


def human(data: dict[str, np.ndarray], wrong: int = 30) -> dict[str, np.ndarray]:
    """Add columns of human labels, the first `wrong` of `worse_label` not the true ones."""
    clean = data["label"][data["split"] != 2].astype(np.uint8)
    worse = clean.copy()
    worse[:wrong] = (worse[:wrong] + 1) % 7
    coarse = clean // 2
    return data | {
        "labels/clean_label": clean,
        "labels/worse_label": worse,
        "labels/coarse_label": coarse,
    }


def test_human_labels_are_the_columns() -> None:
    """Human labels are those of the column."""
    data = human(some_images())
    made = label_noise.build(
        data, kind="human", labels="cifar10n", column="worse_label", validation=0.1
    )
    pool = np.flatnonzero(data["split"] != 2)
    for part, labels in made.labels.items():
        assert labels.dtype == np.int64
        assert np.array_equal(
            labels, data["labels/worse_label"][np.searchsorted(pool, made.indices[part])]
        )
    assert sum(made.counts["wrong"].values()) == 30
    assert made.counts["wrong_share"] == 0.06
    assert "column worse_label of cifar10n" in made.words


@settings(deadline=None)
@given(labels=st.lists(st.integers(0, 6), min_size=500, max_size=500), draw=st.integers(0, 99))
def test_whatever_people_said_is_given(labels: list[int], draw: int) -> None:
    labels[:7] = range(7)
    data = human(some_images()) | {"labels/worse_label": np.array(labels, np.uint8)}
    data["split"] = np.random.default_rng(draw).permutation(data["split"])  # training rows anywhere
    pool = np.flatnonzero(data["split"] != 2)
    data["labels/clean_label"] = data["label"][pool].astype(np.uint8)
    made = parts.build(KIND, "human", {}, "x", labels="people", column="worse_label")
    streams = [_parts.generator(draw, word) for word in "ab"]
    assert made.corrupt(data, pool, *streams).tolist() == labels
    assert made.corrupt(data, pool[::-3], *streams).tolist() == labels[::-3]


@pytest.mark.parametrize(
    ("change", "column", "line"),
    [
        (
            {},
            "worst_label",
            (
                "column: found 'worst_label'; of cifar10n allowed are clean_label, coarse_label,"
                " worse_label"
            ),
        ),
        ({}, "coarse_label", "column: found 'coarse_label' with 4 classes; allowed is one with 7"),
        (
            {"labels/clean_label": np.zeros(500, np.uint8)},
            "worse_label",
            "rows, so the images are in another order",
        ),
        (
            {"labels/clean_label": np.zeros(7, np.uint8)},
            "worse_label",
            "with 7 clean labels; allowed is one with 500",
        ),
    ],
)
def test_unfit_human_labels_are_refused(change: dict[str, Any], column: str, line: str) -> None:
    """Human labels that do not fit the dataset are refused."""
    with pytest.raises(InputError, match=re.escape(line)):
        label_noise.build(
            human(some_images()) | change, kind="human", labels="cifar10n", column=column
        )


@pytest.mark.parametrize(
    ("recipe", "line"),
    [
        (
            {"kind": "pear"},
            "v.kind: found 'pear'; noise kinds allowed are asymmetric, flip_two, human",
        ),
        ({}, "v.kind: found nothing; recipe label_noise needs it"),
        (
            {"kind": "pair", "rat": 0.1},
            (
                "v.rat: found an unknown parameter; recipe label_noise of kind pair allowed are"
                " draw, kind,"
            ),
        ),
        ({"kind": "pair", "map": {}}, "v.map: found an unknown parameter"),
        (
            {"kind": "human", "labels": "cifar10n", "column": "worse_label", "rate": 0.4},
            "v.rate: found an unknown",
        ),
        (
            {"kind": "human", "labels": "cifar10n"},
            "v.column: found nothing; recipe label_noise of kind human needs it",
        ),
        (
            {"kind": "human", "labels": "digits", "column": "worse_label"},
            "v.labels: found 'digits'",
        ),
    ],
)
def test_parameters_of_kinds_are_checked(recipe: dict[str, Any], line: str) -> None:
    """The parameters of a kind are checked beside the recipe's."""
    with pytest.raises(InputError, match=re.escape(line)):
        variants.check_recipe({"recipe": "label_noise", **recipe}, "v")


@pytest.mark.parametrize("kind", RATED)
def test_rates_are_checked(kind: str) -> None:
    for rate in (-0.1, 1.1, float("nan"), "a", True):
        with pytest.raises(InputError, match=r"label_noise\.rate: found"):
            label_noise.build(some_images(), kind=kind, rate=rate)
