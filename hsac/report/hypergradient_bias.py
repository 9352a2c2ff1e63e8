"""The table of the hypergradient's bias and noise, pooled over the points of a training.

Bias and truth are pooled as root mean squares, because the hypergradient changes its sign along a
training and so may its bias. A root mean square is above 0 even without a bias, so the table gives
beside it what noise alone would give.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from hsac.report.columns import MISSING

KEY = ("experiment", "objective", "size", "shared")
HEADINGS = {
    "experiment": "Experiment",
    "objective": "Upper level",
    "size": "Batch (rows or episodes)",
    "shared": "Which samples are shared",
    "truth_rms": "Hypergradient g",
    "bias_percent": "Bias (% of g)",
    "floor_percent": "… that noise alone gives (%)",
    "mean_bias_percent": "Mean bias with its sign (% of g)",
    "p": "p of no bias",
    "sd_percent": "Noise of an estimate (% of g)",
    "wrong_sign_percent": "Wrong sign (%)",
    "gradients": "Cost (gradients of a training batch)",
}
# Share of the truth below which a bias, with as little noise, is one of the arithmetic.
ROUNDING = 1e-5
COLUMNS = (*KEY, "method", "draws", "points", *list(HEADINGS)[4:])
SAMPLES = {
    "none": "each its own",
    "adversary": "adversary shares the upper level's",
    "levels": "one for all",
    "terms": "each its own, and each product",
    "step": "each its own, step known",
}
NOTE = (
    "Estimates of the hypergradient of θ from batches, at points along one training, against the"
    " hypergradient g with both levels on the whole training part (or on the rows that stand for"
    " it, theory.hypergradient.rows). Upper level: the training loss, or the loss at the adversary"
    " in the scope (worst). Which samples are shared says which batches an estimate takes. Each its"
    " own: upper level, lower level and adversary have independent batches, as the rule hsac does"
    " by default. Its key `shared` gives the next two: the adversary on the upper level's batch, or"
    " one batch for all. Each product: another batch for each Hessian product and for the mixed"
    " one, as stocBiO does. Step known: Neumann's step is the whole part's. Bias is the mean over"
    " draws less g; bias, noise (standard deviation of a single estimate) and g are root mean"
    " squares over the points. Batches of all rows have neither bias nor noise. Noise alone would"
    " give about the percentage beside the bias. p: t tests of the points, combined by Fisher's"
    " method, not corrected for the number of rows. The cost counts a Hessian product as two"
    " gradients."
)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Pool the hypergradient's rows over the points of a training and over the columns of θ.

    Args:
        rows: The rows of `hsac job hypergradient`: one for each experiment, point, column of θ,
            objective, kind of sample and batch size.

    Returns:
        One row for each experiment, objective, batch size and kind of sample, with the columns
        `COLUMNS`. Percentages are of the root mean square of the true hypergradient, `truth_rms`.
        `p` is that of no bias at any point. `points` counts the points of the training times the
        columns of θ. Columns share their draws, but Fisher's method takes them as independent. So
        `p` is exact for one curvature only, as all shipped experiments have it.
    """
    if rows.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = without_rounding(rows)
    out = []
    for key, cell in rows.groupby(["experiment", "objective", "size"], sort=False):
        for shared in SAMPLES:
            own = cell[cell["shared"] == shared]
            if len(own):
                out.append(dict(zip(KEY, (*key, shared), strict=True)) | _pooled(own))
    return pd.DataFrame(out, columns=list(COLUMNS))


def without_rounding(rows: pd.DataFrame) -> pd.DataFrame:
    """Set a bias and its noise to 0 where they are what the arithmetic's rounding leaves.

    An estimate from all rows is the truth, but for rounding. That differs so little from draw to
    draw that a t test would call it a certain bias.

    Args:
        rows: Rows of the study.

    Returns:
        The rows, with `bias`, `bias_se` and `sd` 0 where `bias` and `sd` are below `ROUNDING` times
        the truth.
    """
    least = ROUNDING * rows["truth"].abs()
    # Both must be small: a small bias under real noise is a finding, as is noise alone.
    rounding = (rows["bias"].abs() < least) & (rows["sd"] < least)
    names = ("bias", "bias_se", "sd")
    return rows.assign(**{name: rows[name].mask(rounding, 0.0) for name in names})


def _pooled(rows: pd.DataFrame) -> dict[str, object]:
    truth = _root_mean_square(rows["truth"])
    percent = 100 / truth if truth else np.nan
    bias, error, draws = (rows[name].to_numpy() for name in ("bias", "bias_se", "draws"))
    return {
        "method": rows["method"].iloc[0],
        "draws": int(rows["draws"].iloc[0]),
        "points": len(rows),
        "truth_rms": truth,
        # The hypergradient changes its sign along a training, so biases could cancel in a mean.
        "bias_percent": percent * _root_mean_square(rows["bias"]),
        # A root mean square is above 0 even without a bias. So much would come of noise alone.
        "floor_percent": percent * _root_mean_square(rows["bias_se"]),
        "mean_bias_percent": percent * rows["bias"].mean(),
        "p": p_of_no_bias(bias, error, draws),
        "sd_percent": percent * _root_mean_square(rows["sd"]),
        "wrong_sign_percent": 100 * rows["wrong_sign"].mean(),
        "gradients": rows["gradients"].mean(),
    }


def _root_mean_square(values: pd.Series) -> float:
    return float(np.sqrt((values**2).mean()))


def p_of_no_bias(bias: np.ndarray, error: np.ndarray, draws: np.ndarray) -> float:
    """Test that no point has a bias: a two-sided t test a point, combined by Fisher's method.

    Args:
        bias: Mean less truth (N,).
        error: Their standard errors (N,). Without noise a bias is certain, and so is its absence.
        draws: Numbers of draws (N,).

    Returns:
        The p value.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        # Without noise a bias gives an infinite t, and no bias 0 / 0, which counts as 0.
        t = np.where(bias == 0, 0.0, np.abs(bias) / error)
    # The least float stands for p = 0, which has no log.
    each = np.maximum(2 * stats.t.sf(t, draws - 1), np.finfo(float).tiny)
    # Fisher: -2 Σ log p is chi-squared with two degrees of freedom for each p.
    return float(stats.chi2.sf(-2 * np.log(each).sum(), 2 * len(each)))


def displayed(numbers: pd.DataFrame) -> pd.DataFrame:
    """Turn the table into text to print.

    Args:
        numbers: What `table` returns.

    Returns:
        The cells as text, one row saying none when there is none.
    """
    if numbers.empty:
        return pd.DataFrame([dict.fromkeys(HEADINGS.values(), MISSING) | {"Experiment": "none"}])
    shown = {name: numbers[name].map(form) for name, form in FORMATS.items()}
    return pd.DataFrame({HEADINGS[name]: values for name, values in shown.items()})


def _p_text(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


# How a cell of each column is printed, in the columns' order.
FORMATS: dict[str, Callable[[Any], str]] = {
    "experiment": str,
    "objective": str,
    "size": str,
    "shared": SAMPLES.__getitem__,
    "truth_rms": "{:.2g}".format,
    "bias_percent": "{:.0f}".format,
    "floor_percent": "{:.0f}".format,
    "mean_bias_percent": "{:+.0f}".format,
    "p": _p_text,
    "sd_percent": "{:.0f}".format,
    "wrong_sign_percent": "{:.0f}".format,
    "gradients": "{:.3g}".format,
}
