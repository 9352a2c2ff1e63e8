"""The figure of the hypergradient's bias shows the rows it is given."""

import pandas as pd
from smoke_results import hypergradients

from hsac.report import hypergradient_bias as report
from hsac.report.figures import hypergradient_bias, style


def table():
    """The pooled synthetic rows of two experiments."""
    rows = hypergradients("digits", "sgd+hsac") + hypergradients("glyphs", "sgd+hsac")
    return report.table(pd.DataFrame(rows))


def test_every_panel_shows_its_values(tmp_path):
    figure = hypergradient_bias.draw(table())
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["digits", "glyphs"]
    assert all(axes.get_xscale() == axes.get_yscale() == "log" for axes in figure.axes)
    pairs = [line for line in figure.axes[0].lines if len(line.get_ydata()) == 2]
    drawn = [sorted(line.get_ydata()) for line in pairs]
    # 3.2 / size, in % of 0.1
    assert any(abs(low - 50) + abs(high - 200) < 1e-9 for low, high in drawn)
    figure.draw_without_rendering()
    style.save(figure, tmp_path / "figure")
    assert (tmp_path / "figure.png").stat().st_size > 5000


def test_only_certain_biases_are_filled():
    figure = hypergradient_bias.draw(table())
    discs = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    faces = {line.get_markerfacecolor(): line for line in discs}
    assert "white" in faces  # the rule's, half a standard error
    assert len(faces["white"].get_xdata()) == 2
    squares = [line for line in figure.axes[0].lines if line.get_marker() == "s"]
    filled = {line.get_markerfacecolor() for line in squares if len(line.get_xdata())}
    assert filled == {style.CLASSES[5]}


def test_batches_of_all_are_absent():
    """They have neither bias nor noise, which a log axis cannot show, and must not stretch it."""
    numbers = table()
    whole = numbers["size"] == numbers["size"].max()
    zero = {name: numbers[name].mask(whole, 0.0) for name in ("bias_percent", "sd_percent")}
    figure = hypergradient_bias.draw(numbers.assign(**zero))
    figure.draw_without_rendering()
    for axes in figure.axes[:6]:
        marked = [line.get_xdata() for line in axes.lines if line.get_marker() != "None"]
        drawn = [value for values in marked for value in values]
        assert drawn
        assert max(drawn) < numbers["size"].max() / 2
        assert axes.get_ylim()[0] > 1e-3
    nothing = numbers.assign(bias_percent=0.0, sd_percent=0.0)
    hypergradient_bias.draw(nothing).draw_without_rendering()


def test_nothing_studied_is_said():
    figure = hypergradient_bias.draw(report.table(pd.DataFrame()))
    assert "No experiment" in figure.axes[0].texts[0].get_text()
