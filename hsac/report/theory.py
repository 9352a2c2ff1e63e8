"""Read what the theory measured and write its tables.

What was measured of trained networks is joined with their runs. The tables are of certificates,
coverage, rank correlations and the hypergradient's bias.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from hsac.errors import InputError
from hsac.files import workflow_of
from hsac.report import curvature_role, hypergradient_bias
from hsac.report.columns import MISSING
from hsac.report.gather import read_gathered
from hsac.report.statistics import Replicates, mean_interval
from hsac.report.tables import with_half_width, write
from hsac.study.method import plain

CERTIFICATES = {
    "experiment": "Experiment",
    "method": "Method",
    "prior": "Prior",
    "examples": "Examples n",
    "empirical_percent": "Gibbs error on them (%)",
    "empirical_upper_percent": "… with Monte Carlo slack (%)",
    "kl_nats": "KL (nats)",
    "slack": "Slack (KL + ln …)/n",
    "bound_percent": "Certificate: risk at most (%)",
    "chance_percent": "Error of the most frequent class (%)",
    "test_percent": "Test error (%)",
    "vacuous": "Vacuous runs",
}
SHARES = {
    "empirical_percent": "empirical",
    "empirical_upper_percent": "empirical_upper",
    "bound_percent": "bound",
    "chance_percent": "chance",
    "test_percent": "test_error",
}
PRIORS = {
    "start": "start weights",
    "prior": "part of the examples; certified as it is",
    "trained on": "part of the examples; trained on from there",
}
CERTIFICATE_NOTE = (
    "A PAC-Bayes certificate bounds the error of the network with Gaussian noise on its weights"
    " (Gibbs classifier) on new examples drawn as the training ones were: from the pool that the"
    " variant draws from, labels as noisy. Near copies of an image count as one example, so the"
    " classes have the shares of the distinct images, less long-tailed than the training rows. Each"
    " holds with the probability that the configuration states (1 − theory.certificate.delta), not"
    " all of them together. Means and 95 % t intervals are over seeds, of the network at the last"
    " epoch. Vacuous: no better than always predicting the most frequent class. Test error is the"
    " network's own without noise, on the test set, whatever its distribution. Where c was learned"
    " on the same examples it is rounded to a grid fixed beforehand and the choice is paid for. A"
    " prior trained on a part of the examples, curvature included, is certified on the others: as"
    " it is, which is a held-out bound, and after training on from there on all examples. Few-shot"
    " runs have no certificate: their episodes share images and classes."
)
COVERAGE_NOTE = (
    "Over many samples of a problem whose true risk is known: how often the certificate held (it"
    " must at least 1 − δ of the time), with the exact 95 % interval. Without the complexity term"
    " it is no bound: the control that shows that the simulation can fail."
)
COVERAGE = {
    "n": "Examples n",
    "delta": "δ",
    "bound": "Bound",
    "coverage_percent": "Held (%) [95 % interval]",
    "required_percent": "Required (%)",
    "mean_bound_percent": "Mean bound (%)",
    "mean_risk_percent": "Mean true risk (%)",
    "samples": "Samples",
}

MEASURED = ("top_eigenvalue", "trace", "bound")  # of a trained network, in `landscape`


def read_rows(path: Path) -> pd.DataFrame:
    """Read a study's rows.

    Args:
        path: The CSV file.

    Returns:
        The rows, an empty frame where the study had none.

    Raises:
        InputError: The file is missing or cut short.
    """
    try:
        return pd.read_csv(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {workflow_of(path)} makes it again") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); move it away and run again to remake it"
        ) from None


def study(folder: Path, name: str) -> pd.DataFrame:
    """Read the rows of a study that a configuration may leave out.

    Args:
        folder: The folder of the studies' rows.
        name: The study's name.

    Returns:
        The rows, an empty frame where there is no file.

    Raises:
        InputError: The file is cut short.
    """
    path = Path(folder) / f"{name}.csv"
    return read_rows(path) if path.is_file() else pd.DataFrame()


def _of_experiments(folder: Path, kind: str, names: Iterable[str]) -> pd.DataFrame:
    paths = [Path(folder) / kind / f"{name}.csv" for name in names]
    tables = [read_rows(path) for path in paths if path.is_file()]
    found = [rows for rows in tables if len(rows)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def landscape(folder: Path, runs: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Join finished runs with what was measured of their networks.

    Args:
        folder: The folder of the studies' rows.
        runs: The gathered runs.
        order: The experiments to take, in order.

    Returns:
        One row a run that is ok. What was not measured is NaN. Besides: `gap` (test − train NLL,
        nats) and `test_error` (a share), both at the last epoch.
    """
    keys = ["experiment", "method", "seed"]
    ok = runs[(runs["status"] == "ok") & runs["experiment"].isin(list(order))]
    # In the order of the tables, and within an experiment as gathered.
    ok = ok.sort_values("experiment", key=lambda names: names.map(list(order).index), kind="stable")
    found = _of_experiments(folder, "landscape", order)
    found = found if len(found) else pd.DataFrame(columns=[*keys, *MEASURED])
    # A frame without rows has no types to join on.
    found = found.astype({"experiment": str, "method": str, "seed": "int64"})
    # A left join, since runs that were not measured still have a sharpness and a gap.
    joined = ok.merge(found, on=keys, how="left", validate="one_to_one")
    return joined.assign(
        # The networks that were measured are those of the last epoch.
        gap=joined["last_test_nll"] - joined["last_train_nll"],
        test_error=1 - joined["last_test_accuracy"],
    )


def sweep(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take the runs with a fixed curvature, and the Euclidean ones.

    Args:
        rows: What `landscape` returns.

    Returns:
        The two groups of runs. Methods with a loss or head of their own are left out where there
        are others.
    """
    rows = rows[rows["method"].isin(plain(rows["method"]))]
    # At 0 the ball is flat, and a log axis of c has no 0.
    fixed = rows[(rows["curvature_rule"] == "fixed") & (rows["start"] > 0)]
    return fixed, rows[rows["curvature_rule"] == "euclidean"]


def informed(folder: Path, order: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Read the certificates with an informed prior.

    Args:
        folder: The folder of the studies' rows.
        order: The experiments to take, in order.

    Returns:
        The rows, empty when there is none.
    """
    return _of_experiments(folder, "informed", order)


def hypergradients(folder: Path, order: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Pool the hypergradient's bias and noise in experiments.

    Args:
        folder: The folder of the studies' rows.
        order: The experiments to take, in order.

    Returns:
        The table of `hypergradient_bias.table`, empty when no experiment was studied.
    """
    return hypergradient_bias.table(_of_experiments(folder, "hypergradient", order))


def certificates(measured: pd.DataFrame, informed: pd.DataFrame) -> pd.DataFrame:
    """Average the certificates over seeds.

    Args:
        measured: What `landscape` returns.
        informed: What `informed` returns.

    Returns:
        One row an experiment, method and prior: means over seeds and half widths of 95 % t
        intervals. Risks are in %, KL in nats. Empty when no run has a certificate.
    """
    kinds = [(PRIORS["start"], measured.assign(posterior="start"))] if "bound" in measured else []
    if len(informed):
        for name, rows in informed.groupby("posterior", sort=False):
            kinds.append((PRIORS[str(name)], rows))
    out = []
    for prior, rows in kinds:
        # Few-shot runs are measured, but have no certificate.
        known = rows[rows["bound"].notna()]
        for (experiment, method), cell in known.groupby(["experiment", "method"], sort=False):
            out.append(_certificate(str(experiment), str(method), prior, cell))
    return pd.DataFrame(out) if out else pd.DataFrame(columns=list(CERTIFICATES))


def _certificate(experiment: str, method: str, prior: str, rows: pd.DataFrame) -> dict[str, object]:
    row: dict[str, object] = {"experiment": experiment, "method": method, "prior": prior}
    # The same for every seed.
    row |= {"examples": int(rows["examples"].iloc[0]), "kl_nats": rows["kl"].mean()}
    row |= {"slack": rows["slack"].mean(), "sigma": rows["sigma"].median()}
    for name, column in SHARES.items():
        m = mean_interval(Replicates(rows, experiment, method, column, scale=100))
        row |= {name: m.mean, _half_width(name): (m.high - m.low) / 2}
    return row | {"vacuous": int(rows["vacuous"].astype(bool).sum()), "n": len(rows)}


def _half_width(name: str) -> str:
    return name.replace("_percent", "_half_width_percent")


def certificates_displayed(table: pd.DataFrame) -> pd.DataFrame:
    """Turn the certificates into text to print.

    Args:
        table: What `certificates` returns.

    Returns:
        The cells as text, one row saying none when there is none.
    """
    if table.empty:
        nothing = dict.fromkeys(CERTIFICATES.values(), MISSING)
        return pd.DataFrame([nothing | {"Experiment": "none"}])
    shown: dict[str, Sequence[str]] = {}
    for name, heading in CERTIFICATES.items():
        if name == "chance_percent":
            shown[heading] = [f"{value:.1f}" for value in table[name]]
        elif name.endswith("_percent"):
            shown[heading] = with_half_width(table[name], table[_half_width(name)])
        elif name in ("kl_nats", "slack"):
            shown[heading] = [f"{value:.3g}" for value in table[name]]
        elif name == "vacuous":
            counts = zip(table["vacuous"], table["n"], strict=True)
            shown[heading] = [f"{k} / {n}" for k, n in counts]
        else:
            shown[heading] = [str(value) for value in table[name]]
    return pd.DataFrame(shown)


def coverage_displayed(rows: pd.DataFrame) -> pd.DataFrame:
    """Turn the rows of the study `coverage` into text to print.

    Args:
        rows: The study's rows.

    Returns:
        The cells as text, one row saying none when the study was not run.
    """
    if rows.empty:
        return pd.DataFrame([dict.fromkeys(COVERAGE.values(), MISSING) | {"Bound": "none"}])
    percent = 100 * rows[["coverage", "coverage_low", "coverage_high"]].to_numpy()
    shown = {
        "n": rows["n"].map("{:.0f}".format),
        "delta": rows["delta"].map("{:g}".format),
        "bound": rows["bound"],
        "coverage_percent": [f"{held:.1f} [{low:.1f}, {high:.1f}]" for held, low, high in percent],
        # δ is the chance to fail, the column the share that must hold.
        "required_percent": (100 * (1 - rows["delta"])).map("{:g}".format),
        "mean_bound_percent": (100 * rows["mean_bound"]).map("{:.1f}".format),
        "mean_risk_percent": (100 * rows["mean_risk"]).map("{:.1f}".format),
        "samples": rows["samples"].map("{:.0f}".format),
    }
    return pd.DataFrame({COVERAGE[name]: values for name, values in shown.items()})


def write_theory_tables(
    runs_parquet: Path, order: Mapping[str, Sequence[str]], out_dir: Path
) -> None:
    """Write the tables of the theory as .csv, .md and .tex.

    These are ``certificates``, ``coverage``, ``rank_correlations`` and ``hypergradient_bias``.

    Args:
        runs_parquet: The gathered runs. The rows of the studies lie in ``theory`` beside them.
        order: Experiments and their methods, as `hsac.report.tables.write_tables` takes them.
        out_dir: The folder to write into.
    """
    out, folder = Path(out_dir), Path(runs_parquet).parent / "theory"
    measured = landscape(folder, read_gathered(runs_parquet), order)
    numbers = certificates(measured, informed(folder, order))
    write(out, "certificates", numbers, certificates_displayed(numbers), CERTIFICATE_NOTE)
    numbers = study(folder, "coverage")
    numbers = numbers if len(numbers) else pd.DataFrame(columns=list(COVERAGE))
    write(out, "coverage", numbers, coverage_displayed(numbers), COVERAGE_NOTE)
    numbers = curvature_role.correlations(sweep(measured)[0])
    write(out, "rank_correlations", numbers, curvature_role.displayed(numbers), curvature_role.NOTE)
    numbers = hypergradients(folder, order)
    shown = hypergradient_bias.displayed(numbers)
    write(out, "hypergradient_bias", numbers, shown, hypergradient_bias.NOTE)
