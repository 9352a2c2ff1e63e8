"""Handwritten digits as scikit-learn ships them: 1797 images of 8 x 8 pixels, ten classes."""

import numpy as np
from sklearn.datasets import load_digits

SEED = 20240501
TEST_SHARE = 1 / 3


def build() -> dict[str, np.ndarray]:
    """Make the digits with a fixed test part.

    One third of each class is the test part: the first rows of a permutation drawn per class in
    class order from PCG64(20240501). Source: Alpaydin and Kaynak, Optical Recognition of
    Handwritten Digits, UCI (1998), its test file.

    Returns:
        ``image`` uint8 (1797, 8, 8), the stored grey levels 0..16 stretched to 0..255, ``label``
        int64, ``split`` int8 (0 train, 2 test, validation is left to the variants), ``group``
        int64, one per image, and ``classes``, names.
    """
    bunch = load_digits()
    label = bunch.target.astype(np.int64)
    # scikit-learn ships UCI's test file alone, so that a test part must be cut from it.
    split = np.zeros(label.size, dtype=np.int8)
    draw = np.random.Generator(np.random.PCG64(SEED))
    for digit in range(10):
        rows = np.flatnonzero(label == digit)
        split[draw.permutation(rows)[: round(rows.size * TEST_SHARE)]] = 2
    return {
        "image": np.rint(bunch.images * (255 / 16)).astype(np.uint8),
        "label": label,
        "split": split,
        "group": np.arange(label.size, dtype=np.int64),
        "classes": np.array([str(digit) for digit in range(10)]),
    }
