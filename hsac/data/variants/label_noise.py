"""Wrong labels in training and validation; the test part stays clean."""

from typing import Any

import numpy as np

from hsac.data.variants._parts import Arrays, capped, counts, cut, generator, number
from hsac.registry import require

KINDS = {
    "symmetric_inclusive": "replaced by a uniform draw from all classes, their own included",
    "symmetric_exclusive": "replaced by a uniform draw from the other classes",
    "pair": "replaced by the next class",
}


def corrupt(label: np.ndarray, kind: str, rate: float, classes: int, stream: np.random.Generator) -> np.ndarray:
    """Labels int64 (n,) of which round(rate * n), drawn at random, are replaced.

    ``symmetric_inclusive``: by a uniform draw from all C classes, so rate * (C - 1) / C are wrong on average;
    ``symmetric_exclusive``: from the other C - 1, so rate are wrong; ``pair``: class i by i + 1 (mod C), so rate are
    wrong. Source: Patrini et al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017; Han et al.,
    Co-teaching, NeurIPS 2018 (pair).
    """
    given = label.copy()
    rows = stream.permutation(len(label))[: round(rate * len(label))]
    if kind == "symmetric_inclusive":
        given[rows] = stream.integers(classes, size=len(rows))
    elif kind == "symmetric_exclusive":
        given[rows] = (given[rows] + stream.integers(1, classes, size=len(rows))) % classes
    else:
        given[rows] = (given[rows] + 1) % classes
    return given


def build(
    arrays: Arrays,
    *,
    kind: str,
    rate: float = 0.4,
    validation: float = 0.2,
    largest: int | None = None,
    draw: int = 0,
) -> dict[str, Any]:
    """Cut validation as ``plain`` does, then ``corrupt`` the labels of training and validation.

    Returns words, counts (with wrong, the labels that differ from the truth), indices, and labels as given for train
    and validation. Raises InputError for an unknown kind, a rate outside [0, 1], a share outside (0, 1) or a cap
    below 1.
    """
    require(kind in KINDS, "kind", kind, ", ".join(KINDS))
    require(number(rate) and 0 <= rate <= 1, "rate", rate, "a number from 0 to 1")
    rows = capped(arrays, cut(arrays, validation, draw), largest, draw)
    label, classes = arrays["label"], len(np.unique(arrays["label"]))
    given = {
        part: corrupt(label[rows[part]], kind, rate, classes, generator(draw, f"noise {part}"))
        for part in ("train", "validation")
    }
    wrong = {part: int((labels != label[rows[part]]).sum()) for part, labels in given.items()}
    return {
        "words": f"{rate:g} of the training and of the validation labels {KINDS[kind]}; test clean; "
        f"{validation:g} of each class's training groups validate{_cap(largest)} (draw {draw})",
        "counts": {**counts(arrays, rows), "wrong": wrong},
        "indices": rows,
        "labels": given,
    }


def _cap(largest: int | None) -> str:
    return "" if largest is None else f"; at most {largest} training images a class"
