"""The coverage figure shows the rows it is given, and its title claims no more than they show."""

import pandas as pd
import pytest

from hsac.report.figures import coverage, style


def table(control: float, certificate: float = 1.0) -> pd.DataFrame:
    """Rows of the study in which the two bounds hold so often."""
    bounds = (("certificate", certificate, 0.2), ("without complexity", control, -0.02))
    rows = []
    for n in (50, 200):
        for delta in (0.05, 0.3):
            for bound, share, margin in bounds:
                row = {"n": n, "delta": delta, "bound": bound, "samples": 100, "coverage": share}
                row |= {"coverage_low": max(share - 0.04, 0), "coverage_high": min(share + 0.04, 1)}
                row |= {"margin_q05": margin - 0.03, "margin_q50": margin}
                rows.append(row | {"margin_q95": margin + 0.05})
    return pd.DataFrame(rows)


def test_panels_show_the_rows(tmp_path) -> None:
    figure = coverage.draw(table(0.4))
    assert len(figure.axes) == 4
    for axes, expected in ((figure.axes[0], [0.4, 1.0]), (figure.axes[2], [-0.02, 0.2])):
        drawn = sorted({y for container in axes.containers for y in container.lines[0].get_ydata()})
        assert drawn == pytest.approx(expected)
    (promised,) = [line for line in figure.axes[1].lines if line.get_linestyle() == "--"]
    assert promised.get_ydata()[0] == pytest.approx(0.7)
    style.save(figure, tmp_path / "coverage")
    assert (tmp_path / "coverage.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("control", "certificate", "expected"),
    [
        (0.4, 1.0, coverage.TITLE),
        (0.99, 1.0, coverage.PLAIN_TITLE),  # the control did not fail
        (0.4, 0.9, coverage.PLAIN_TITLE),  # the certificate did
    ],
)
def test_title_follows_the_intervals(control: float, certificate: float, expected: str) -> None:
    assert coverage.title(table(control, certificate)) == expected


def test_nothing_to_draw_is_said() -> None:
    figure = coverage.draw(table(0.4).iloc[:0])
    assert "No coverage study" in figure.axes[0].texts[0].get_text()
