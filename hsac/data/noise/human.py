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

    Row i of the labels belongs to the i-th image that is not of the test part. Source: Wei et al.,
    Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations, ICLR 2022.

    Attributes:
        labels: The dataset of labels.
        column: Its column.
    """

    # There is no rate: people err as often as they do.
    exact: ClassVar[bool] = False
    labels: str
    column: str

    def __post_init__(self) -> None:
        """Check the parameters."""
        for name in ("labels", "column"):
            value = getattr(self, name)
            require(isinstance(value, str), name, value, "a name")

    @property
    def words(self) -> str:
        """What becomes of the labels, in a few words."""
        column = f"column {self.column} of {self.labels}"
        return f"training and validation labels as people gave them, {column}"

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
            InputError: For a column that the dataset of labels does not have or that is of other
                classes. Also where its ``clean_label`` is not the label of each image: the images
                are then in another order.
        """
        columns = {}
        for name, given in arrays.items():
            if name.startswith("labels/"):
                columns[name.removeprefix("labels/")] = given
        pool = np.flatnonzero(arrays["split"] != 2)
        self._check_order(columns, arrays["label"][pool])
        if self.column not in columns:
            raise InputError(
                f"column: found {self.column!r}; of {self.labels} {nearest(self.column, columns)}"
            )
        # CIFAR-100N also has labels of 20 superclasses, which no image has for its label. By the
        # largest label, as there may be a class that nobody saw.
        found, wanted = int(columns[self.column].max()) + 1, classes_of(arrays)
        if found != wanted:
            raise InputError(
                f"column: found {self.column!r} with {found} classes; allowed is one with {wanted}"
            )
        # The pool is ascending, so the place of a row in it is its row of the labels.
        return columns[self.column][np.searchsorted(pool, rows)].astype(np.int64)

    def _check_order(self, columns: Arrays, label: np.ndarray) -> None:
        # The labels name no images, so their order can only be told from the clean ones.
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
