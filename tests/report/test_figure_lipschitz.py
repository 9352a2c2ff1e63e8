"""The figure of Lipschitz constants: each row of the study is drawn where it belongs."""

import numpy as np
import pandas as pd
import pytest

from hsac.report.figures import lipschitz, style


@pytest.fixture
def rows() -> pd.DataFrame:
    table = []
    for name in lipschitz.MAPS:
        for argument, tight in (("point", True), ("base", name != "exp"), ("c", True)):
            if argument == "base" and name == "exp0":
                continue
            for c in (0.1, 0.01, 1.0):
                row = {"map": name, "argument": argument, "c": c, "r": 2.0, "tight": tight}
                table.append(row | {"measured": 1 + c, "bound": 1 + 2 * c})
    return pd.DataFrame(table)


def test_every_map_has_its_panel(rows, tmp_path) -> None:
    figure = lipschitz.draw(rows)
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(panels) == list(lipschitz.MAPS.values())
    assert {(axes.get_xscale(), axes.get_yscale()) for axes in panels.values()} == {("log", "log")}
    bound, measured = panels["exp0(u)"].lines[:2]
    np.testing.assert_allclose(bound.get_xydata(), [[0.01, 1.02], [0.1, 1.2], [1, 3]])
    np.testing.assert_allclose(measured.get_xydata(), [[0.01, 1.01], [0.1, 1.1], [1, 2]])
    assert len(panels["exp0(u)"].lines) == 4
    assert [line.get_linestyle() for line in panels["exp at x of u"].lines[::2]] == ["-", "--", "-"]
    assert "tangent radius 2" in figure.axes[-1].get_legend().get_title().get_text()
    style.save(figure, tmp_path / "lipschitz")


def test_some_maps_or_none(rows) -> None:
    figure = lipschitz.draw(rows[rows["map"].isin(["log", "exp0"])])
    assert [axes.get_title() for axes in figure.axes] == ["exp0(u)", "log at x of y", ""]
    assert "no rows" in lipschitz.draw(rows.iloc[:0]).axes[0].texts[0].get_text()
