"""Labels that people gave."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hsac.data.noise import Arrays, classes_of
from hsac.errors import InputError
from hsac.parts import nearest, require


@dataclass(frozen=True)
class Human:
    """Labels that people gave, a column of a dataset of labels.

    ``labels`` names the dataset, ``column`` its column; row i belongs to the i-th image that is not
    of the test part. Raises InputError for a column that the dataset does not have or that is of
    other classes, and where the dataset's ``clean_label`` is not the label of each image: the
    images are then in another order. Source: Wei et al., Learning with Noisy Labels Revisited: A
    Study Using Real-World Human Annotations, ICLR 2022.
    """

    exact: ClassVar[bool] = False
    labels: str
    column: str

    def __post_init__(self) -> None:
        for name in ("labels", "column"):
            value = getattr(self, name)
            require(isinstance(value, str), name, value, "a name")

    @property
    def words(self) -> str:
        return (
            f"training and validation labels as people gave them, column {self.column} of"
            f" {self.labels}"
        )

    def corrupt(
        self,
        arrays: Arrays,
        rows: np.ndarray,
        stream: np.random.Generator,
        common: np.random.Generator,
    ) -> np.ndarray:
        """Labels int64 (n,) that ``rows`` are given."""
        columns = {
            name.removeprefix("labels/"): given
            for name, given in arrays.items()
            if name.startswith("labels/")
        }
        pool = np.flatnonzero(arrays["split"] != 2)
        self._check_order(columns, arrays["label"][pool])
        if self.column not in columns:
            raise InputError(
                f"column: found {self.column!r}; of {self.labels} {nearest(self.column, columns)}"
            )
        found, wanted = len(np.unique(columns[self.column])), classes_of(arrays)
        if found != wanted:
            raise InputError(
                f"column: found {self.column!r} with {found} classes; allowed is one with {wanted}"
            )
        return columns[self.column][np.searchsorted(pool, rows)].astype(np.int64)

    def _check_order(self, columns: Arrays, label: np.ndarray) -> None:
        clean = columns.get("clean_label", np.empty(0))
        if len(clean) != len(label):
            raise InputError(
                f"labels: found {self.labels} with {len(clean)} clean labels; allowed is one with"
                f" {len(label)}, as many as the dataset's training images"
            )
        wrong = int((clean != label).sum())
        if wrong:
            raise InputError(
                f"labels: clean_label of {self.labels} differs from the dataset's own labels in"
                f" {wrong} of {len(label)} rows, so the images are in another order, or the labels"
                " of another dataset; fetch the images from a source that keeps the official order"
            )
