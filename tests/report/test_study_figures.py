"""The figures of the hypergradient's studies draw every panel, the same each time, or say why."""

from importlib import import_module
from types import ModuleType

import pandas as pd
import pytest

from hsac.parts import part
from hsac.report.figures import style

TWO = ["quadratic", "ridge"]
STUDIES = {
    "approximation": ({"problems": TWO, "terms": (0, 1, 5)}, TWO),
    "convergence": ({"problems": TWO, "terms": (0, 3), "outer": 10}, TWO),
    "inexactness": ({"problems": TWO, "steps": 50, "checks": 5}, TWO),
    "negative_curvature": (
        {"curvatures": (0.0, 0.5), "terms": (0, 3, 10)},
        ["convex (m = 0)", "m = 0.5"],
    ),
}


@pytest.fixture(scope="module", params=STUDIES)
def drawn(request: pytest.FixtureRequest) -> tuple[ModuleType, pd.DataFrame, list[str]]:
    """A study's figure module, its rows, and the titles of its panels."""
    parameters, titles = STUDIES[request.param]
    rows = pd.DataFrame(part("study", request.param)(**parameters).rows(lambda text: None))
    return import_module(f"hsac.report.figures.{request.param}"), rows, titles


def test_panels_have_titles_lines_and_labels(drawn) -> None:
    module, rows, titles = drawn
    figure = module.draw(rows)
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == titles
    assert all(axes.lines for axes in figure.axes)
    assert figure.axes[0].get_ylabel()
    assert all(axes.get_yscale() == "log" for axes in figure.axes)
    assert figure.legends[0].get_texts()


def test_saved_bytes_repeat(drawn, tmp_path) -> None:
    module, rows, _ = drawn
    for name in ("a", "b"):
        style.save(module.draw(rows), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_missing_rows_are_said(drawn) -> None:
    module, rows, _ = drawn
    assert "no rows" in module.draw(rows.iloc[:0]).axes[0].texts[0].get_text()
