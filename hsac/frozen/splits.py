"""The problem of each seed: rows of frozen features to train, validate and test a head on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hsac.data import variants
from hsac.data.variants._parts import Rows, VariantContent, check_disjoint, generator
from hsac.frozen.features import Arrays
from hsac.study.frozen import Problem
from hsac.study.frozen_checks import recipe_of

TEST_DRAW = 0  # the draw of the test rows, one for all seeds


@dataclass(frozen=True)
class HeadData:
    """Rows of R problems.

    Attributes:
        x: Features float64 (R, n, F). Rows that only pad are 0.
        label: Labels int64 (R, n), as given: under noise some are wrong. Of padding 0.
        weight: float64 (R, n), sums to 1 in each problem. Of padding 0.
    """

    x: Tensor
    label: Tensor
    weight: Tensor

    def take(self, runs: Tensor) -> "HeadData":
        """Return some of the problems.

        Args:
            runs: Their places, int64.
        """
        return HeadData(self.x[runs], self.label[runs], self.weight[runs])


@dataclass(frozen=True)
class Splits:
    """The parts of R problems.

    Attributes:
        seeds: The seed of each problem (R,). Several episodes have the same.
        classes: Number of classes K.
        train: Rows that heads are solved on.
        validation: Rows that choose.
        test: Rows that judge.
    """

    seeds: tuple[int, ...]
    classes: int
    train: HeadData
    validation: HeadData
    test: HeadData


@dataclass(frozen=True)
class _Part:
    """One part of one problem: its backbone, its rows (n,), their labels and weights."""

    backbone: int
    rows: np.ndarray
    label: np.ndarray
    weight: np.ndarray


def problem_splits(arrays: Arrays, problem: Problem) -> tuple[Splits, Splits | None]:
    """Draw the problem of every seed.

    Seed s draws by `draw` s of the problem's recipe, on the features of backbone s mod B.

    Args:
        arrays: Arrays of stored features: ``x`` (B, N, F), ``label``, ``split``, ``group``,
            ``classes``.
        problem: The problem.

    Returns:
        The splits, one problem a seed, and None. Few-shot: one problem an episode, first those of
        the validation classes, where readings are taken, then those of the test classes, where they
        are judged. ``train`` is an episode's support there, ``validation`` and ``test`` its query.

    Raises:
        InputError: The features cannot be cut so.
    """
    recipe = recipe_of(problem)
    build, given = variants.check_recipe(recipe, "variant")
    drawn = []
    for seed in range(problem.seeds):
        made = build(arrays, draw=seed, **given)
        check_disjoint(made, arrays)
        drawn.append(made)
    if problem.setting == "few_shot":
        return _episodes(arrays, drawn, "validation"), _episodes(arrays, drawn, "test")
    return _ordinary(arrays, drawn, problem), None


def _ordinary(arrays: Arrays, drawn: list[VariantContent], problem: Problem) -> Splits:
    """Return one problem a seed."""
    found: dict[str, list[_Part]] = {"train": [], "validation": [], "test": []}
    test = _test_rows(arrays, problem.test)
    for seed, made in enumerate(drawn):
        assert made.indices is not None
        rows = {**made.indices, "test": test}
        for part, parts in found.items():
            parts.append(_part(arrays, made, part, rows, seed))
        # Under a long tail what is taken of validation weighs the classes alike.
        if problem.setting == "long_tailed":
            held_out = found["validation"].pop()
            found["validation"].append(_alike(held_out))
    seeds = tuple(range(len(drawn)))
    data = {part: _stacked(arrays["x"], parts) for part, parts in found.items()}
    return Splits(seeds, len(arrays["classes"]), **data)


def _test_rows(arrays: Arrays, most: int) -> np.ndarray:
    """Return the test rows of all seeds, a draw of at most so many."""
    rows = np.flatnonzero(arrays["split"] == 2)
    if len(rows) <= most:
        return rows
    return np.sort(generator(TEST_DRAW, "frozen test").permutation(rows)[:most])


def _part(arrays: Arrays, made: VariantContent, part: str, rows: Rows, seed: int) -> _Part:
    """Return a part of a seed's problem, every row with the same weight."""
    index = rows[part]
    own: Mapping[str, np.ndarray] = made.labels or {}
    label = own.get(part, arrays["label"][index])
    backbone = seed % len(arrays["x"])
    return _Part(backbone, index, label, np.full(len(index), 1 / len(index)))


def _alike(part: _Part) -> _Part:
    """Weigh the classes of a part alike."""
    counts = np.bincount(part.label)
    weight = 1 / (counts[part.label] * (counts > 0).sum())
    return _Part(part.backbone, part.rows, part.label, weight)


def _episodes(arrays: Arrays, drawn: list[VariantContent], part: str) -> Splits:
    """Return one problem an episode of a part, each with labels 0 ... way - 1."""
    supports: list[_Part] = []
    queries: list[_Part] = []
    seeds, way = [], 0
    for seed, made in enumerate(drawn):
        assert made.episodes is not None
        assert made.shot is not None
        for episode in made.episodes[part]:
            way, size = episode.shape
            seeds.append(seed)
            sides = ((supports, 0, made.shot), (queries, made.shot, size))
            for side, first, last in sides:
                rows = episode[:, first:last].ravel()
                label = np.repeat(np.arange(way), last - first)
                weight = np.full(len(rows), 1 / len(rows))
                side.append(_Part(seed % len(arrays["x"]), rows, label, weight))
    support, query = _stacked(arrays["x"], supports), _stacked(arrays["x"], queries)
    return Splits(tuple(seeds), way, support, query, query)


def _stacked(x: np.ndarray, parts: list[_Part]) -> HeadData:
    """Lay the parts of R problems out as tensors, padded to the longest."""
    longest = max(len(part.rows) for part in parts)
    first = parts[0]
    if all(_same(part, first) for part in parts):
        # One copy in memory for all seeds.
        shape = (len(parts), longest)
        features = torch.from_numpy(x[first.backbone, first.rows].astype(np.float64))
        label = torch.from_numpy(first.label.astype(np.int64))
        weight = torch.from_numpy(first.weight)
        return HeadData(features.expand(*shape, -1), label.expand(shape), weight.expand(shape))
    features = torch.zeros(len(parts), longest, x.shape[-1], dtype=torch.float64)
    label = torch.zeros(len(parts), longest, dtype=torch.int64)
    weight = torch.zeros(len(parts), longest, dtype=torch.float64)
    for i, part in enumerate(parts):
        n = len(part.rows)
        features[i, :n] = torch.from_numpy(x[part.backbone, part.rows].astype(np.float64))
        label[i, :n] = torch.from_numpy(part.label)
        weight[i, :n] = torch.from_numpy(part.weight)
    return HeadData(features, label, weight)


def _same(one: _Part, other: _Part) -> bool:
    """Tell whether two parts have the same rows of the same backbone."""
    same_rows = one.backbone == other.backbone and np.array_equal(one.rows, other.rows)
    return same_rows and np.array_equal(one.label, other.label)
