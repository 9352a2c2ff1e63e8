"""What the recipes share: their result, named draws, the validation cut, and the disjoint parts."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsac.errors import InputError
from hsac.parts import require

Arrays = dict[str, np.ndarray]
Rows = dict[str, np.ndarray]
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class VariantContent:
    """What a recipe makes of a dataset.

    Attributes:
        words: The variant, for people.
        counts: Sizes, for people.
        indices: Rows int64 (n,) of each part.
        labels: Labels int64 (n,) of the rows of a part, where they are not the dataset's own.
        columns: Feature columns that the model sees, where it does not see all.
        episodes: Rows int64 (E, way, shot + query) of each part, in place of ``indices``.
        shot: Support rows of a class of an episode, which come first.
        query: Query rows of a class of an episode.
    """

    words: str
    counts: Mapping[str, Any]
    indices: Rows | None = None
    labels: Rows | None = None
    columns: list[int] | None = None
    episodes: Rows | None = None
    shot: int | None = None
    query: int | None = None

    @property
    def rows(self) -> Rows:
        """The rows of each part, in whatever shape."""
        return {**(self.indices or {}), **(self.episodes or {})}

    def to_dict(self) -> dict[str, Any]:
        """Return what is written of the content.

        Returns:
            The fields that there are, by name.
        """
        return {name: value for name, value in vars(self).items() if value is not None}


def generator(draw: int, purpose: str) -> np.random.Generator:
    """Return the stream of one purpose under one draw.

    A parameter that changes one choice so leaves the others.

    Args:
        draw: Number of the draw.
        purpose: What the stream decides.

    Returns:
        A new generator, the same on every machine.

    Raises:
        InputError: For a draw that is no integer from 0.
    """
    require(is_integer(draw) and draw >= 0, "draw", draw, "an integer from 0")
    # Not hash(), which differs between runs of Python.
    words = np.frombuffer(hashlib.sha256(f"{purpose} {draw}".encode()).digest(), dtype="<u4")
    # Not default_rng, whose kind of generator numpy may change.
    return np.random.Generator(np.random.PCG64([int(word) for word in words]))


def is_integer(value: Any) -> bool:
    """Check that a parameter is an integer.

    Args:
        value: The parameter as given.

    Returns:
        False for true and false, too.
    """
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Check that a parameter is a number.

    Args:
        value: The parameter as given.

    Returns:
        False for true and false, too.
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def class_words(arrays: Arrays, number: int) -> str:
    """Name a class in an error line.

    Args:
        arrays: The dataset's arrays.
        number: The class.

    Returns:
        Its number, and its name where the dataset has names.
    """
    name = f" ({str(arrays['classes'][number])!r})" if "classes" in arrays else ""
    return f"class {number}{name}"


def pools(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of an image set on both sides of its test split.

    Args:
        arrays: The dataset's arrays.

    Returns:
        Rows to train and validate on, and rows of the test part.

    Raises:
        InputError: For a graph, and for a set whose parts do not all hold every class.
    """
    # A graph may have a split, but has no labels of this name.
    if "split" not in arrays or "label" not in arrays:
        raise InputError(
            "recipe: found a graph; allowed are image sets (for graphs use node_split or"
            " public_split)"
        )
    # The validation part of the dataset, if any, is pooled with training and cut anew.
    label, is_test = arrays["label"], arrays["split"] == 2
    pool, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    for rows, found in ((pool, "is not trained on"), (test, "has no test rows")):
        lacking = np.setdiff1d(label, label[rows])
        if lacking.size:
            words = class_words(arrays, lacking[0])
            raise InputError(
                f"recipe: found a dataset whose {words} {found}; allowed is recipe episodes, which"
                " takes the classes of each part apart"
            )
    return pool, test


def held_out(
    arrays: Arrays, rows: np.ndarray, validation: float, draw: int, balanced: bool = False
) -> np.ndarray:
    """Draw the rows that validate: of each class a share of its groups.

    Args:
        arrays: The dataset's arrays.
        rows: Rows (n,) to draw from.
        validation: The share, rounded to whole groups, at least one and not all.
        draw: Number of the draw.
        balanced: Take the share of the class with the fewest groups from every class.

    Returns:
        Which of the rows (n,) validate.

    Raises:
        InputError: For a share outside (0, 1) and for a class that cannot be cut in two.
    """
    ok = is_number(validation) and 0 < validation < 1
    require(ok, "validation", validation, "a number between 0 and 1")
    label, group = arrays["label"][rows], arrays["group"][rows]
    # Groups, not rows: near copies on both sides would let validation reward memory.
    groups = {c: np.unique(group[label == c]) for c in np.unique(label)}
    smallest = min(groups, key=lambda c: len(groups[c]))
    fewest = len(groups[smallest])
    if fewest < 2:
        words = class_words(arrays, smallest)
        raise InputError(
            f"validation: found {words} with a single group of rows; it cannot be cut in two"
        )
    stream = generator(draw, "validation")
    chosen = []
    for ids in groups.values():
        size = round(validation * (fewest if balanced else len(ids)))
        # At least one group on either side.
        chosen.append(stream.permutation(ids)[: min(max(1, size), len(ids) - 1)])
    return np.isin(group, np.concatenate(chosen))


def split_rows(arrays: Arrays, validation: float, draw: int, balanced: bool = False) -> Rows:
    """Split the rows of an image set into train, validation and test, before any thinning.

    The test part is the dataset's, validation is what `held_out` draws from the others.

    Args:
        arrays: The dataset's arrays.
        validation: Share of each class's groups that validate.
        draw: Number of the draw.
        balanced: Give every class the same number of validation and of test rows, those of the
            class with the fewest.

    Returns:
        Rows of each part, ascending.

    Raises:
        InputError: For a share outside (0, 1) and for a dataset without the parts.
    """
    pool, test = pools(arrays)
    inside = held_out(arrays, pool, validation, draw, balanced)
    kept = pool[inside]
    if balanced:
        kept, test = balance(arrays, kept, draw), balance(arrays, test, draw)
    return {"train": pool[~inside], "validation": kept, "test": test}


def balance(arrays: Arrays, rows: np.ndarray, draw: int) -> np.ndarray:
    """Thin rows so that every class has as many as the smallest.

    Args:
        arrays: The dataset's arrays.
        rows: Rows to choose from.
        draw: Number of the draw.

    Returns:
        The rows that are left, ascending.
    """
    label = arrays["label"]
    return trim(label, rows, smallest_class(label, rows), generator(draw, "balance"))


def smallest_class(label: np.ndarray, rows: np.ndarray) -> int:
    """Count the rows of the smallest class.

    Args:
        label: Labels of all rows.
        rows: Rows to count.

    Returns:
        The size of the smallest class among the rows.
    """
    return int(np.unique(label[rows], return_counts=True)[1].min())


def trim(
    label: np.ndarray, rows: np.ndarray, size: int | list[int], stream: np.random.Generator
) -> np.ndarray:
    """Draw at most so many rows of each class.

    Args:
        label: Labels of all rows.
        rows: Rows to choose from.
        size: Largest number of rows of each class, or one number a class.
        stream: What draws them.

    Returns:
        The rows that are left, ascending. A larger size keeps the rows of a smaller one.
    """
    classes = np.unique(label[rows])
    sizes = [size] * len(classes) if isinstance(size, int) else size
    taken = []
    for c, n in zip(classes, sizes, strict=True):
        # All rows are shuffled and then cut, so that a larger number keeps a smaller one's rows.
        taken.append(stream.permutation(rows[label[rows] == c])[:n])
    return np.sort(np.concatenate(taken))


def check_cap(largest: int | None) -> None:
    """Check a largest number of training rows a class.

    Args:
        largest: The parameter as given. None stands for no cap.

    Raises:
        InputError: For a cap below 1.
    """
    ok = largest is None or (is_integer(largest) and largest >= 1)
    require(ok, "largest", largest, "an integer from 1")


def cap_training(arrays: Arrays, rows: Rows, largest: int | None, draw: int) -> Rows:
    """Thin the training rows to a largest number a class.

    Args:
        arrays: The dataset's arrays.
        rows: Rows of each part.
        largest: The largest number. None keeps all.
        draw: Number of the draw.

    Returns:
        Rows of each part.

    Raises:
        InputError: For a cap below 1.
    """
    check_cap(largest)
    if largest is None:
        return rows
    return {**rows, "train": trim(arrays["label"], rows["train"], largest, generator(draw, "thin"))}


def cut_meta(arrays: Arrays, rows: Rows, meta: int, draw: int) -> Rows:
    """Cut a meta set from the training part: as many rows of every class, with their true labels.

    It is cut before the training part is thinned or its labels are corrupted. Of a group of near
    copies at most one row is taken, and the others are left out of training.

    Args:
        arrays: The dataset's arrays.
        rows: Rows of each part, or of ``train`` alone.
        meta: Rows of each class. 0 cuts nothing.
        draw: Number of the draw.

    Returns:
        Rows of each part, with ``meta`` (classes * meta,) beside a smaller ``train``, ascending.

    Raises:
        InputError: For a number below 0, and for one that takes all training rows of a class.
    """
    require(is_integer(meta) and meta >= 0, "meta", meta, "an integer from 0")
    # No part is named then, so that a variant without a meta set is stored as it always was.
    if meta == 0:
        return rows
    label, group, train = arrays["label"], arrays["group"], rows["train"]
    stream = generator(draw, "meta")
    # Shuffled first, so that any row of a group may be the one that is taken.
    shuffled = stream.permutation(train)
    single = shuffled[np.unique(group[shuffled], return_index=True)[1]]
    chosen = trim(label, single, meta, stream)
    left = train[~np.isin(group[train], group[chosen])]
    for c in np.unique(label[train]):
        if (label[chosen] == c).sum() < meta or not (label[left] == c).any():
            raise InputError(
                f"meta: found {meta}, which takes all training rows of {class_words(arrays, c)};"
                " allowed is fewer than each class has groups of rows"
            )
    return {**rows, "train": left, "meta": chosen}


def meta_words(meta: int) -> str:
    """Tell of the meta set.

    Args:
        meta: Rows of each class.

    Returns:
        The end of a recipe's words. Empty where there is none.
    """
    return f"; a meta set of {meta} images a class with true labels" if meta else ""


def part_sizes(arrays: Arrays, rows: Rows) -> dict[str, int]:
    """Count the rows of each part, and the classes.

    Args:
        arrays: The dataset's arrays.
        rows: Rows of each part.

    Returns:
        The number of rows by part, and of classes under ``classes``.
    """
    label = arrays["label"] if "label" in arrays else arrays["y"]
    return {**{part: len(index) for part, index in rows.items()}, "classes": len(np.unique(label))}


def kept_columns(arrays: Arrays, without: Sequence[int]) -> list[int] | None:
    """Return the feature columns of a graph that are left.

    Args:
        arrays: The dataset's arrays.
        without: Columns that are left out.

    Returns:
        The others. None where none are left out.

    Raises:
        InputError: For what are not different columns, or all of them.
    """
    # None is not written: a variant that shows all columns does not name them.
    if without in ((), []):
        return None
    features = arrays["x"].shape[1]
    listed = isinstance(without, list | tuple) and all(
        is_integer(column) and 0 <= column < features for column in without
    )
    ok = listed and len(set(without)) == len(without) < features
    allowed = f"a list of different feature columns from 0 to {features - 1}, not all"
    require(ok, "without", without, allowed)
    return [column for column in range(features) if column not in without]


def without_words(without: Sequence[int]) -> str:
    """Name the columns that are left out.

    Args:
        without: The columns.

    Returns:
        The end of a recipe's words. Empty where none are left out.
    """
    if not without:
        return ""
    noun = "columns" if len(without) > 1 else "column"
    return f"; without feature {noun} {', '.join(map(str, without))}"


def check_graph(arrays: Arrays) -> None:
    """Check that a dataset is a graph.

    Args:
        arrays: The dataset's arrays.

    Raises:
        InputError: For a dataset that is no graph.
    """
    if "y" not in arrays:
        raise InputError("recipe: found an image set; allowed are graphs")


def check_disjoint(made: VariantContent, arrays: Arrays) -> None:
    """Check that no part of a variant sees another.

    Args:
        made: What the recipe made.
        arrays: The dataset's arrays.

    Raises:
        InputError: Where two parts share a row or a group of near copies, or, for episodes, a
            class.
    """
    identities = {"row": np.arange(len(arrays["label"] if "label" in arrays else arrays["y"]))}
    if "group" in arrays:
        identities["group"] = arrays["group"]
    if made.episodes is not None:
        identities["class"] = arrays["label"]
    for word, identity in identities.items():
        found = {part: np.unique(identity[rows]) for part, rows in made.rows.items()}
        _check_no_overlap(word, found)


def _check_no_overlap(word: str, found: Rows) -> None:
    owners = list(found)
    for i, one in enumerate(owners):
        for other in owners[i + 1 :]:
            shared = np.intersect1d(found[one], found[other])
            if shared.size:
                raise InputError(
                    f"{word} {shared[0]} is in both {one} and {other}; parts must not overlap"
                )
