"""The figure of the study draws every panel, the same each time, and says when there is nothing to draw."""

import pandas as pd

from hsac.report.figures import negative_curvature, style
from hsac.theory.studies.negative_curvature import NegativeCurvature

ROWS = pd.DataFrame(NegativeCurvature(curvatures=(0.0, 0.5), terms=(0, 3, 10)).rows(lambda text: None))


def test_every_panel_has_its_title_its_lines_and_its_labels() -> None:
    figure = negative_curvature.draw(ROWS)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["convex (m = 0)", "m = 0.5"]
    assert all(axes.lines for axes in figure.axes)
    assert figure.axes[0].get_ylabel()
    assert all(axes.get_yscale() == "log" for axes in figure.axes)
    assert figure.legends[0].get_texts()


def test_saved_twice_the_bytes_are_the_same(tmp_path) -> None:
    for name in ("a", "b"):
        style.save(negative_curvature.draw(ROWS), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_without_rows_it_says_so() -> None:
    figure = negative_curvature.draw(ROWS.iloc[:0])
    assert "no rows" in figure.axes[0].texts[0].get_text()
