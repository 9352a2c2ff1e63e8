"""The figures of the curvature sweep: what is drawn where, and what is said otherwise."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from hsac.report.curvature_role import correlations
from hsac.report.figures import rank_correlations, role_of_curvature, style
from hsac.report.theory import sweep

CURVATURES = (0.1, 0.3, 1.0, 3.0)


@pytest.fixture
def rows() -> pd.DataFrame:
    """Two experiments, two weight rules, three seeds; no certificate for the second experiment."""
    rng, runs = np.random.default_rng(0), []
    for experiment, setting in (("digits", "label_noise"), ("disease", "plain")):
        for weight in ("sgd", "sam"):
            for seed in range(3):
                for c in CURVATURES:
                    a, b, d = rng.normal(size=3)
                    bound = 0.5 + 0.01 * a if experiment == "digits" else np.nan
                    run = {"experiment": experiment, "setting": setting, "seed": seed}
                    run |= {"weight_rule": weight, "method": f"{weight}+fixed@{c}"}
                    run |= {"curvature": c, "sharpness": c**2 * np.exp(0.1 * a)}
                    run |= {"top_eigenvalue": 5 + b, "trace": 3 * d, "bound": bound}
                    runs.append(run | {"gap": c + a, "test_error": b})
    return pd.DataFrame(runs)


@pytest.fixture
def flat(rows: pd.DataFrame) -> pd.DataFrame:
    runs = rows[(rows["curvature"] == 1.0) & (rows["weight_rule"] == "sgd")]
    return runs.drop(columns="curvature").assign(method="sgd+euclidean")


def texts(figure: Figure) -> str:
    drawn = [text for axes in figure.axes for text in axes.texts]
    drawn += [text for legend in figure.legends for text in legend.get_texts()]
    return " ".join(text.get_text() for text in drawn)


def test_asam_is_not_sam(rows) -> None:
    """Methods under asam are a group of their own, although both are one class of rules."""
    runs = rows.assign(curvature_rule="fixed", start=rows["curvature"])
    asam = runs[runs["weight_rule"] == "sam"].assign(gap=100.0)
    asam["method"] = "a" + asam["method"]
    both = sweep(pd.concat([runs, asam], ignore_index=True))[0]
    assert set(both["weight_rule"]) == {"sgd", "sam", "asam"}
    same = correlations(both).query("weight_rule != 'asam'").reset_index(drop=True)
    pd.testing.assert_frame_equal(same, correlations(sweep(runs)[0]))
    figure = role_of_curvature.draw(both, runs.iloc[:0])
    assert "asam, fixed c" in texts(figure)
    gaps = [container.lines[0].get_ydata().max() for container in figure.axes[8].containers]
    assert sum(gap == 100.0 for gap in gaps) == 1
    assert rank_correlations.draw(correlations(both)).legends[0].get_texts()


def test_means_and_intervals(rows, flat) -> None:
    figure = role_of_curvature.draw(rows, flat)
    panels = np.array(figure.axes).reshape(5, 2)
    plain, sam = panels[4, 0].containers
    block = rows[(rows["experiment"] == "digits") & (rows["weight_rule"] == "sgd")]
    drawn = plain.lines[0].get_ydata().astype(float)
    np.testing.assert_allclose(drawn, block.groupby("curvature")["gap"].mean())
    assert sam.lines[0].get_linestyle() == "--"
    spread = block[block["curvature"] == 0.1]["gap"].std() / 3**0.5 * 4.302653
    low, high = plain.lines[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(spread)
    level = [line for line in panels[4, 1].lines if line.get_linestyle() == ":"]
    expected = flat[flat["experiment"] == "disease"]["gap"].mean()
    assert level[0].get_ydata()[0] == pytest.approx(expected)
    assert panels[0, 0].get_title() == "digits\n(label noise)"


def test_only_positive_decades_are_logarithmic(rows, flat) -> None:
    """An axis is logarithmic where that hides nothing and the means span a decade."""
    panels = np.array(role_of_curvature.draw(rows, flat).axes).reshape(5, 2)
    assert {panel.get_xscale() for panel in panels.flat} == {"log"}
    assert [panel.get_yscale() for panel in panels[:, 0]] == ["log", *["linear"] * 4]


def test_what_is_unknown_is_said(rows, flat) -> None:
    figure = role_of_curvature.draw(rows, flat)
    assert texts(figure).count("not computed") == 1
    assert "euclidean" in texts(figure)
    without = role_of_curvature.draw(rows.drop(columns="bound"), flat.iloc[:0])
    assert len(without.axes) == 8
    assert "euclidean" not in texts(without)
    assert "No finished run" in texts(role_of_curvature.draw(rows.iloc[:0], flat))


def test_one_seed_has_no_interval(rows, flat, tmp_path) -> None:
    figure = role_of_curvature.draw(rows[rows["seed"] == 0], flat.iloc[:0])
    style.save(figure, tmp_path / "role")
    segments = figure.axes[0].containers[0].lines[2][0].get_segments()
    assert all(segment[0, 1] == segment[1, 1] for segment in segments)


def test_correlations_stand_at_their_values(rows, tmp_path) -> None:
    table = correlations(rows)
    figure = rank_correlations.draw(table)
    first, second = figure.axes
    plain, sam = first.containers
    block = table[(table["experiment"] == "digits") & (table["weight_rule"] == "sgd")]
    np.testing.assert_allclose(plain.lines[0].get_xdata(), block["rho"])
    ends = [segment[:, 0] for segment in plain.lines[2][0].get_segments()]
    np.testing.assert_allclose(np.array(ends), block[["low", "high"]])
    assert len(sam.lines[0].get_xdata()) == 14
    assert len(second.containers[0].lines[0].get_xdata()) == 11  # without the certificate's three
    labels = [text.get_text() for text in first.get_yticklabels()]
    assert labels.count("certificate") == 3
    assert {"with c", "with the gap", "with test error"} <= set(labels)
    style.save(figure, tmp_path / "rank")


def test_missing_correlations_are_said(rows) -> None:
    for few in (rows[rows["curvature"] > 0.5], rows.iloc[:0]):
        assert "No seed with three" in texts(rank_correlations.draw(correlations(few)))
