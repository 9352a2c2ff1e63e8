from collections.abc import Callable

import numpy as np
import pytest
import torch

from hsac.frozen.splits import HeadData, Splits


def rows(seed: int, runs: int, n: int, features: int = 5, classes: int = 3) -> HeadData:
    """Draw Gaussian clusters that overlap, with other rows in each problem."""
    g = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(classes, features))
    label = g.integers(classes, size=(runs, n))
    x = centres[label] + g.normal(size=(runs, n, features))
    weight = torch.full((runs, n), 1 / n, dtype=torch.float64)
    return HeadData(torch.from_numpy(x), torch.from_numpy(label), weight)


@pytest.fixture(scope="session")
def draw_rows() -> Callable[..., HeadData]:
    return rows


@pytest.fixture(scope="session")
def splits() -> Splits:
    return Splits((0, 1, 2), 3, rows(1, 3, 20), rows(2, 3, 30), rows(3, 3, 40))
