"""What a model costs in the figure of accuracy against compute."""

import numpy as np
import pandas as pd
import pytest

from hsac.report.figures.accuracy_by_compute import compute


def test_a_model_pays_for_its_run_its_products_and_its_search() -> None:
    block = pd.DataFrame(
        [
            ("sgd+fixed", 100, 0, np.nan, np.nan),
            ("sgd+fixed", 100, 0, np.nan, np.nan),
            ("sgd+hsac", 120, 40, np.nan, np.nan),
            ("sgd+grid", 400, 0, np.nan, np.nan),
            ("sam+hsac", 220, 40, 1600, 320),
        ],
        columns=["method", "gradients", "products", "search_gradients", "search_products"],
    )
    assert compute(block).to_dict() == pytest.approx(
        {"sgd+fixed": 1.0, "sgd+hsac": 2.0, "sgd+grid": 4.0, "sam+hsac": 3.0 + 22.4}
    )
