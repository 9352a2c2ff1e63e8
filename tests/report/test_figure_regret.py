"""The figures of frozen features show the regrets and the curves that they are given."""

import numpy as np
import pytest
from landscapes import SETTINGS, write_study

from hsac.report import frozen
from hsac.report.figures import landscape_over_c, regret


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> frozen.Regrets:
    return frozen.read(write_study(tmp_path_factory.mktemp("study"), each=1, seeds=2, points=9))


def test_regrets_stand_where_they_are(found):
    numbers = frozen.table(found)
    figure = regret.draw(numbers)
    rows = numbers[numbers["chooser"] != "oracle"].reset_index(drop=True)
    first = figure.axes[0]
    drawn = {}
    for line in first.lines[:-1]:
        drawn |= dict(zip(map(int, line.get_ydata()), line.get_xdata(), strict=True))
    assert [drawn[place] for place in range(len(rows))] == pytest.approx(list(rows["all_error"]))
    labels = [text.get_text() for text in first.get_yticklabels()]
    assert labels == [frozen.words(name) for name in rows["chooser"]]
    titles = [axes.get_title() for axes in figure.axes[:5]]
    assert titles[0] == "All\n(4 problems)"
    assert titles[-1] == "Few-shot\n(1 problem)"


def test_minima_are_marked(found):
    figure = landscape_over_c.draw(found.landscapes)
    assert [axes.get_title() for axes in figure.axes[:4]] == [
        f"{frozen.GROUPS[setting]} (1 problem)" for setting in SETTINGS
    ]
    block = found.landscapes.query("setting == 'classification' and dim == 2")
    means = block.groupby("c")["test_nll"].mean()
    marks = {
        line.get_color(): line.get_xdata()[0]
        for line in figure.axes[0].lines
        if line.get_marker() == "v"
    }
    assert marks["#000000"] == pytest.approx(means.idxmin())
    curve = next(line for line in figure.axes[0].lines if line.get_color() == "#000000")
    scaled = (means - means.min()) / (means.max() - means.min())
    assert curve.get_ydata() == pytest.approx(scaled.to_numpy())


def test_panels_are_of_shared_dimensions(found):
    figure = landscape_over_c.draw(found.landscapes)
    assert figure.axes[0].get_ylabel() == "2 dimensions"
    assert figure.axes[4].get_ylabel() == "16 dimensions"
    apart = found.landscapes.copy()
    apart.loc[apart["setting"] == "noisy", "dim"] += 1
    figure = landscape_over_c.draw(apart)
    assert figure.axes[0].get_ylabel() == "all dimensions"
    level = found.landscapes.assign(test_nll=1.0)
    curve = landscape_over_c.draw(level).axes[0].lines[0].get_ydata()
    assert np.array_equal(curve, np.zeros(9))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_legends_are_not_cut(tmp_path, count):
    found = frozen.read(write_study(tmp_path, SETTINGS[:count], each=1, seeds=2, points=3))
    for figure in (landscape_over_c.draw(found.landscapes), regret.draw(frozen.table(found))):
        figure.canvas.draw()
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
