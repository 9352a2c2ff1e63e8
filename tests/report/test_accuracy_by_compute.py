"""What a model costs in the figure of accuracy against compute."""

import numpy as np
import pandas as pd
import pytest

from hsac.report.figures.accuracy_by_compute import compute, draw


def test_cost_includes_products_and_search() -> None:
    """A model pays for its run, its Hessian products and its search."""
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


def test_numbers_at_foot_keep_apart() -> None:
    """Two collapsed methods of nearly the same cost, and one elsewhere, can all be read."""
    methods = {
        "sgd+fixed": (100, 0.8),
        "sgd+learned": (101, 0.8),
        "sgd+grid": (400, 0.79),
        "sgd+hsac": (410, 0.78),
    }
    methods |= {"sgd+drift_up": (102, 0.12), "sgd+drift_down": (104, 0.2), "sgd+delta": (405, 0.1)}
    block = pd.DataFrame([(m, s, g, a) for m, (g, a) in methods.items() for s in range(3)])
    block.columns = ["method", "seed", "gradients", "selected_test_accuracy"]
    same = {"experiment": "e", "setting": "noisy", "status": "ok", "products": 0}
    unsearched = {"search_gradients": np.nan, "search_products": np.nan}
    figure = draw(block.assign(**same, **unsearched), {"e": [*methods]})
    figure.draw_without_rendering()
    numbers = [text for text in figure.axes[0].texts if text.get_text().startswith("←")]
    feet = [text.get_window_extent() for text in numbers]
    assert len(feet) == 3
    assert not any(a.overlaps(b) for i, a in enumerate(feet) for b in feet[:i])
