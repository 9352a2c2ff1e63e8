"""What the recipes share: their result, its scale, and principal components."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, eigvalsh

from hsac.data.variants._parts import is_integer
from hsac.errors import InputError
from hsac.parts import require

Arrays = dict[str, np.ndarray]
TEST = 2  # code of the test rows; those of 0 and 1 are the pool, of episodes' features the 0 alone
CHUNK = 4096  # rows that are taken to float64 at a time
RANK = 1e-10  # variances below this share of the largest are rounding


@dataclass(frozen=True)
class FeatureContent:
    """What a recipe makes of a dataset.

    Attributes:
        words: The features, for people.
        x: Features float32 (B, N, F), of B backbones or of one.
        label: Labels int64 (N,) into ``classes``.
        split: int8 (N,). 0 and 1: rows that training and validation are drawn from. 2: test rows.
            Of features for episodes the classes are apart: 0 base, 1 validation, 2 test.
        group: int64 (N,). Rows of one group are near copies of one another.
        classes: Names of the classes.
    """

    words: str
    x: np.ndarray
    label: np.ndarray
    split: np.ndarray
    group: np.ndarray
    classes: np.ndarray


def of_images(arrays: Arrays, words: str, x: np.ndarray) -> FeatureContent:
    """Return features of all images of a set.

    Args:
        arrays: The dataset's arrays.
        words: The features, for people.
        x: Features (N, F).

    Returns:
        The features, normalised, beside labels, parts and groups of the images.
    """
    return FeatureContent(
        words=words,
        x=normalised(x[None], pool(arrays["split"], arrays["label"])),
        **{key: arrays[key] for key in ("label", "split", "group", "classes")},
    )


def pool(split: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return which rows features may be fitted on: never test rows, never a judged class.

    Args:
        split: Codes (N,) of the parts.
        label: Labels (N,).

    Returns:
        A mask (N,). Where the parts have classes of their own, it is that of the base classes.
    """
    shared = np.intersect1d(label[split == TEST], label[split != TEST])
    inside: np.ndarray = split != TEST if shared.size else split == 0
    return inside


def normalised(x: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Centre features, and scale them by one number.

    So radii, weight decay and curvatures mean the same whatever the features are.

    Args:
        x: Features (B, N, F).
        inside: Which rows (N,) are the pool, whose mean counts.

    Returns:
        float32 (B, N, F). Of each backbone the mean of |x|² over the pool is F.

    Raises:
        InputError: All rows of the pool are the same.
    """
    out = np.empty(x.shape, dtype=np.float32)
    for b, features in enumerate(x):
        fitted = features[inside].astype(np.float64)
        mean = fitted.mean(0)
        size = np.sqrt(((fitted - mean) ** 2).mean())
        if not (np.isfinite(size) and size > 0):
            raise InputError(f"features: found a spread of {size:g}; allowed is one above 0")
        out[b] = (features - mean) / size
    return out


def flat(image: np.ndarray) -> np.ndarray:
    """Lay images out as rows of numbers.

    Args:
        image: Bytes (N, ...).

    Returns:
        float32 (N, F) in [0, 1].
    """
    return image.reshape(len(image), -1).astype(np.float32) / 255


def principal_components(x: np.ndarray, inside: np.ndarray, components: int) -> np.ndarray:
    """Project rows onto the principal components of some of them.

    Args:
        x: Rows (N, F).
        inside: Which rows (N,) the components are fitted on.
        components: How many, at most the rank.

    Returns:
        float64 (N, components), by falling variance. Of each component the largest loading is
        positive, so that the signs are no accident.

    Raises:
        InputError: ``components`` is no integer from 1, or above the rank.
    """
    ok = is_integer(components) and components >= 1
    require(ok, "components", components, "an integer from 1")
    covariance, mean = _moments(x, np.flatnonzero(inside))
    width = len(covariance)
    first = max(0, width - components)
    variance, axes = eigh(covariance, subset_by_index=[first, width - 1])
    if components > width or variance[0] <= RANK * variance[-1]:
        spectrum = eigvalsh(covariance)
        rank = int((spectrum > RANK * spectrum[-1]).sum())
        require(False, "components", components, f"up to {rank}, the rank of the features")
    axes = axes[:, ::-1]
    largest = axes[np.abs(axes).argmax(0), np.arange(components)]
    axes = axes * np.sign(largest)
    out = np.empty((len(x), components))
    for start in range(0, len(x), CHUNK):
        rows = slice(start, start + CHUNK)
        out[rows] = (x[rows].astype(np.float64) - mean) @ axes
    return out


def _moments(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return covariance (F, F) and mean (F,) of some rows."""
    mean = x[rows].mean(0, dtype=np.float64)
    covariance = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(rows), CHUNK):
        centred = x[rows[start : start + CHUNK]].astype(np.float64) - mean
        covariance += centred.T @ centred
    return covariance / len(rows), mean
