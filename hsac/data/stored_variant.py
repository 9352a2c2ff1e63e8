"""What the file of a variant holds."""

from typing import Any, NotRequired, TypedDict

import numpy as np


class StoredVariant(TypedDict):
    """A variant of a dataset: which rows, labels or episodes make up its parts.

    Rows, labels and episodes are nested lists as `hsac.data.build_variant` makes them, and int64
    arrays as `hsac.data.load_variant` reads them.

    Attributes:
        schema: The version of the file.
        dataset: The dataset.
        name: The name that is shown.
        recipe: How the dataset was cut.
        words: The recipe in words.
        counts: Rows by part, and by class or group.
        data_sha256: Digest of the dataset's arrays.
        hash: Digest of all the rest.
        indices: Part -> rows (N,).
        labels: Part -> labels (N,), where they are not the dataset's own.
        episodes: Part -> images (E, way, shot + query).
        shot: Labelled images of a class in an episode.
        query: Images of a class that an episode asks for.
        columns: The features of a graph that a model sees.
        labels_sha256: Digest of the labels that the recipe read.
        split_sha256: Digest of the class split that the recipe read.
    """

    schema: int
    dataset: str
    name: str
    recipe: dict[str, Any]
    words: str
    counts: dict[str, Any]
    data_sha256: str
    hash: str
    # A variant has rows or episodes, and of the others what its recipe makes or reads.
    indices: NotRequired[dict[str, np.ndarray]]
    labels: NotRequired[dict[str, np.ndarray]]
    episodes: NotRequired[dict[str, np.ndarray]]
    shot: NotRequired[int]
    query: NotRequired[int]
    columns: NotRequired[list[int]]
    labels_sha256: NotRequired[str]
    split_sha256: NotRequired[str]
