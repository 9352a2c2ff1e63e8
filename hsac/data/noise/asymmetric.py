"""Noise that takes some classes for one that looks like them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hsac.data.noise import Arrays, check_rate, some
from hsac.errors import InputError
from hsac.parts import nearest, require

CIFAR10 = {"truck": "automobile", "bird": "airplane", "cat": "dog", "dog": "cat", "deer": "horse"}
"""The published map of CIFAR-10's classes."""


@dataclass(frozen=True)
class Asymmetric:
    """Labels of some classes replaced by the class that each is mapped to.

    ``map`` names for each such class the one it is taken for; by default it is that of CIFAR-10:
    truck by automobile, bird by airplane, deer by horse, cat and dog by one another. Of the n
    labels of mapped classes round(rate * n), drawn at random, are wrong; the other classes are
    clean. Raises InputError for a rate outside [0, 1], a class that the dataset does not have, one
    mapped to itself, and a dataset other than CIFAR-10 without a map. Source: Patrini et al.,
    Making Deep Neural Networks Robust to Label Noise, CVPR 2017.
    """

    exact: ClassVar[bool] = False
    rate: float = 0.4
    map: dict[str, str] | None = None

    def __post_init__(self) -> None:
        check_rate(self.rate)
        for source, target in (self.map or {}).items():
            named = isinstance(source, str) and isinstance(target, str)
            require(
                named and source != target,
                "map",
                {source: target},
                "the name of a class and that of another",
            )

    @property
    def words(self) -> str:
        pairs = ", ".join(
            f"{source} by {target}" for source, target in (self.map or CIFAR10).items()
        )
        return (
            f"{self.rate:g} of the training and of the validation labels of some classes replaced:"
            f" {pairs}"
        )

    def corrupt(
        self,
        arrays: Arrays,
        rows: np.ndarray,
        stream: np.random.Generator,
        common: np.random.Generator,
    ) -> np.ndarray:
        """Labels int64 (n,) that ``rows`` are given."""
        target = self._targets([str(name) for name in arrays["classes"]])
        given = arrays["label"][rows]
        mapped = np.flatnonzero(target[given] != given)
        places = mapped[some(self.rate, len(mapped), stream)]
        given[places] = target[given[places]]
        return given

    def _targets(self, classes: list[str]) -> np.ndarray:
        """The class (C,) that each class is taken for."""
        target = np.arange(len(classes))
        for pair in (self.map or CIFAR10).items():
            for name in pair:
                if name in classes:
                    continue
                if not self.map:
                    raise InputError(
                        f"map: found nothing, and the dataset has no class {name!r} of CIFAR-10's"
                        " map; allowed is a mapping from names of classes to names of classes"
                    )
                raise InputError(
                    f"map: found {name!r}, which is no class of the dataset;"
                    f" {nearest(name, classes)}"
                )
            target[classes.index(pair[0])] = classes.index(pair[1])
        return target
