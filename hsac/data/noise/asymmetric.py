"""Noise that takes some classes for one that looks like them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hsac.data.noise import Arrays, check_rate, some
from hsac.errors import InputError
from hsac.parts import nearest, require

# the published map of CIFAR-10's classes
CIFAR10 = {"truck": "automobile", "bird": "airplane", "cat": "dog", "dog": "cat", "deer": "horse"}


@dataclass(frozen=True)
class Asymmetric:
    """Labels of some classes replaced by the class that each is mapped to.

    Of the n labels of mapped classes round(rate * n), drawn at random, are wrong. The other classes
    are clean. Source: Patrini et al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017.

    Attributes:
        rate: Share of wrong labels among those of mapped classes, from 0 to 1.
        map: For each mapped class the one it is taken for, by name. None takes the map of CIFAR-10:
            truck by automobile, bird by airplane, deer by horse, cat and dog by one another.
    """

    # The rate is that of the mapped classes, not of all.
    exact: ClassVar[bool] = False
    rate: float = 0.4
    map: dict[str, str] | None = None

    def __post_init__(self) -> None:
        """Check the parameters."""
        check_rate(self.rate)
        for source, target in (self.map or {}).items():
            ok = isinstance(source, str) and isinstance(target, str) and source != target
            require(ok, "map", {source: target}, "the name of a class and that of another")

    @property
    def words(self) -> str:
        """What becomes of the labels, in a few words."""
        pairs = [f"{source} by {target}" for source, target in (self.map or CIFAR10).items()]
        share = f"{self.rate:g} of the training and of the validation labels of some classes"
        return f"{share} replaced: {', '.join(pairs)}"

    def corrupt(
        self,
        arrays: Arrays,
        rows: np.ndarray,
        stream: np.random.Generator,
        common: np.random.Generator,
    ) -> np.ndarray:
        """Return the labels that rows are given.

        Args:
            arrays: The dataset's arrays.
            rows: Rows (n,) to label.
            stream: Draws of these rows alone.
            common: Draws that begin the same for every part of one variant.

        Returns:
            Labels int64 (n,).

        Raises:
            InputError: For a class that the dataset does not have, and for a dataset other than
                CIFAR-10 without a map.
        """
        target = self._targets([str(name) for name in arrays["classes"]])
        given = arrays["label"][rows]
        mapped = np.flatnonzero(target[given] != given)
        places = mapped[some(self.rate, len(mapped), stream)]
        given[places] = target[given[places]]
        return given

    def _targets(self, classes: list[str]) -> np.ndarray:
        """Return the class (C,) that each class is taken for."""
        target = np.arange(len(classes))
        for pair in (self.map or CIFAR10).items():
            for name in pair:
                self._check_class(name, classes)
            target[classes.index(pair[0])] = classes.index(pair[1])
        return target

    def _check_class(self, name: str, classes: list[str]) -> None:
        if name in classes:
            return
        if not self.map:
            raise InputError(
                f"map: found nothing, and the dataset has no class {name!r} of CIFAR-10's map;"
                " allowed is a mapping from names of classes to names of classes"
            )
        allowed = nearest(name, classes)
        raise InputError(f"map: found {name!r}, which is no class of the dataset; {allowed}")
