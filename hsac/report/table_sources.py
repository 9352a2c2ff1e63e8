"""Say how each table of the results is made, and what each of its cells comes from.

The tables of experiments, cost and failures take this from `hsac.report.columns`. Those of the
theory and of published numbers have it here.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from hsac.report import (
    columns,
    cost,
    curvature_role,
    frozen,
    frozen_bounds,
    frozen_rules,
    hypergradient_bias,
    published,
    tables,
    theory,
)
from hsac.report.columns import (
    ACCURACY,
    HALF_WIDTH,
    MEAN,
    OVER_SEEDS,
    SETTINGS,
    Column,
    Origin,
    Row,
)
from hsac.study.graph import Graph

Roles = dict[str, list[str]]


@dataclass(frozen=True)
class Results:
    """A results folder as the tables see it.

    Attributes:
        graph: The work of the study, in the folder.
        runs: Its gathered runs, or some of them.
        ledger: The file of published numbers.
    """

    graph: Graph
    runs: pd.DataFrame
    ledger: Path | None = None

    @cached_property
    def order(self) -> dict[str, list[str]]:
        """The methods of each experiment, in the tables' order."""
        experiments = self.graph.study.experiments.items()
        return {name: experiment.methods for name, experiment in experiments}

    @property
    def root(self) -> Path:
        """The folder."""
        return self.graph.results

    @cached_property
    def measured(self) -> pd.DataFrame:
        """The finished runs with what was measured of their networks."""
        return theory.landscape(self.root / "theory", self.runs, self.order)

    def cells(self, experiment: str) -> list[str]:
        """List the cells of an experiment that were run.

        Args:
            experiment: Its name.

        Returns:
            ``experiment/method`` of each.
        """
        block = self.runs[self.runs["experiment"] == experiment]
        return [f"{experiment}/{method}" for method in block["method"].drop_duplicates()]


@dataclass(frozen=True)
class Table:
    """How a table of the results is made and what its cells come from.

    Attributes:
        key: CSV columns that name a row.
        headings: Given the numbers, printed heading -> CSV column.
        origin: Given a CSV column, how its numbers come about. None for an unknown column.
        roles: Given a row of the CSV file, role -> cells, runs and files that play it.
        numbers: Computes the full numbers.
        shown: Prints them.
    """

    key: tuple[str, ...]
    headings: Callable[[pd.DataFrame], dict[str, str]]
    origin: Callable[[str], Origin | None]
    roles: Callable[[Results, Row], Roles]
    numbers: Callable[[Results], pd.DataFrame]
    shown: Callable[[pd.DataFrame], pd.DataFrame]


WITH_ROWS = ("own", "rows")
ENDS = ("low", "high")  # of an interval


def _row_name(name: str) -> Origin:
    """Say that a column names its row."""
    return Origin(name, "name of the row", SETTINGS, WITH_ROWS)


def _certificate(field: str, how: str) -> Origin:
    return Origin(field, how, "hsac.report.theory.certificates", WITH_ROWS)


def _certificate_shares() -> dict[str, Origin]:
    """Say where the risks of the certificates come from: a mean and a half width each."""
    found = {}
    for name, source in theory.SHARES.items():
        field = source
        if source == "test_error":
            # The runs give it under the start prior. Networks trained again bring their own.
            field = "1 − metrics.last.test_accuracy, or the row's test_error"
        half = name.replace("_percent", "_half_width_percent")
        found[name] = Origin(field, f"100 × {OVER_SEEDS}", MEAN, WITH_ROWS)
        found[half] = Origin(field, f"100 × {HALF_WIDTH}", MEAN, WITH_ROWS)
    return found


CERTIFICATES = {
    "experiment": _row_name("experiment"),
    "method": _row_name("method"),
    "prior": _certificate("posterior", "what the prior of the certificate was"),
    "examples": _certificate("examples", "the same for every seed"),
    "kl_nats": _certificate("kl", OVER_SEEDS),
    "slack": _certificate("slack", OVER_SEEDS),
    "sigma": _certificate("sigma", "median over seeds"),
    **_certificate_shares(),
    "vacuous": _certificate("vacuous", "number of seeds whose certificate is vacuous"),
    "n": _certificate("bound", "number of seeds with a certificate"),
}


def _rank(how: str, function: str = "mean_over_seeds") -> Origin:
    return Origin("x and y", how, f"hsac.report.curvature_role.{function}", WITH_ROWS)


def _rank_estimates() -> dict[str, Origin]:
    """Say where the two rank correlations come from: an estimate and an interval each."""
    found = {}
    correlations = {
        "Spearman's rho": ("rho", "low", "high"),
        "Kendall's tau-b": ("tau", "tau_low", "tau_high"),
    }
    hows = (OVER_SEEDS, *(f"{end} end of the 95 % bootstrap interval over seeds" for end in ENDS))
    for rank, names in correlations.items():
        for name, how in zip(names, hows, strict=True):
            found[name] = _rank(f"{rank} across fixed curvatures within a seed; {how}")
    return found


def _rank_quantity(name: str) -> Origin:
    function = "hsac.report.curvature_role.correlations"
    return Origin(name, "quantity of the row", function, WITH_ROWS)


RANKS = {
    **{name: _row_name(name) for name in ("experiment", "setting", "weight_rule")},
    "x": _rank_quantity("x"),
    "y": _rank_quantity("y"),
    **_rank_estimates(),
    "seeds": _rank("number of seeds with at least three usable curvatures"),
    "curvatures": _rank("number of different curvatures of these seeds"),
}

POINTS = "over the points of the training"
BIAS = {  # column -> field of the study's rows, and what is done with it
    "truth_rms": ("truth", f"root mean square {POINTS}"),
    "bias_percent": ("bias, truth", f"100 × root mean square of bias {POINTS} / that of truth"),
    "floor_percent": (
        "bias_se, truth",
        f"100 × root mean square of bias_se {POINTS} / that of truth",
    ),
    "mean_bias_percent": (
        "bias, truth",
        f"100 × mean of bias {POINTS} / root mean square of truth",
    ),
    "p": ("bias, bias_se, draws", "a t test of no bias a point, combined by Fisher's method"),
    "sd_percent": ("sd, truth", f"100 × root mean square of sd {POINTS} / that of truth"),
    "wrong_sign_percent": ("wrong_sign", f"100 × mean {POINTS}"),
    "gradients": ("gradients", f"mean {POINTS}"),
    "points": ("step, curvature", "number of points of the training, times the columns of θ"),
}
LEDGER = (  # columns of published numbers that the ledger states
    "id",
    "source",
    "table",
    "dataset",
    "metric",
    "published",
    "interval",
    "sd",
    "n",
    "over",
    "margin",
)
COVERAGE_SHOWN = {  # printed column -> CSV column, where these differ
    "coverage_percent": "coverage",
    "required_percent": "delta",
    "mean_bound_percent": "mean_bound",
    "mean_risk_percent": "mean_risk",
}


def _bias_origin(name: str) -> Origin:
    field, how = BIAS.get(name, (name, "as the study's rows say"))
    return Origin(field, how, "hsac.report.hypergradient_bias.table", ("rows",))


def _coverage_origin(name: str) -> Origin:
    function = "hsac.theory.studies.coverage.Coverage.rows"
    return Origin(name, "as the study's row says", function, ("rows",))


def _regret_origin(name: str) -> Origin:
    if name == "chooser":
        return Origin(name, "name of the row", "hsac.report.frozen.regrets", ("rows",))
    field = "c, test_error" if "_error" in name else "c, test_nll"
    how = "at the c that is chosen less the least over c; mean over problems, of means over seeds"
    if name.endswith("_problems"):
        how = "number of problems in which the chooser could choose"
    for end in ENDS:
        if name.endswith(f"_{end}"):
            how = f"{end} end of the 95 % bootstrap interval over problems and their seeds"
    return Origin(field, how, "hsac.report.frozen.table", ("rows",))


SAVED = "regret of the rival less that of the reading, mean over problems"
COMPARED = {  # column -> what is done
    **dict.fromkeys(frozen.COMPARISON_KEY, "name of the row"),
    "problems": "number of problems",
    "difference": SAVED,
    **{
        end: f"{end} end of the 95 % bootstrap interval over problems and their seeds"
        for end in ENDS
    },
    "p": "two-sided p of the t test over the problems' means",
    "p_holm": "p after Holm's correction over the table",
}


def _compared_origin(name: str) -> Origin | None:
    if name not in COMPARED:
        return None
    field = "c, test_error or test_nll"
    return Origin(field, COMPARED[name], "hsac.report.frozen.comparisons", ("rows",))


def _agreement_origin(name: str) -> Origin | None:
    if name in (*frozen_bounds.KEY, "problems"):
        how = "number of problems" if name == "problems" else "name of the row"
        return Origin(name, how, "hsac.report.frozen_bounds.table", ("rows",))
    target, _, kind = name.removesuffix("_low").removesuffix("_high").rpartition("_")
    if target not in frozen_bounds.TARGETS:
        return None
    how = "|log10| of the ratio of both minimisers over c; mean over seeds and problems"
    if kind == "correlation":
        how = "Spearman's rank correlation over c; mean over seeds and problems"
    for end in ENDS:
        if name.endswith(f"_{end}"):
            how = f"{end} end of the 95 % bootstrap interval over problems and their seeds"
    field = f"c, the row's quantity, {target}"
    return Origin(field, how, "hsac.report.frozen_bounds.table", ("rows",))


ON_HEADS = {  # column -> fields, what is done
    "cosine": ("difference, hypergradient", "cosine over c; mean over seeds and problems"),
    "same_sign_percent": ("difference, hypergradient", "share of equal signs"),
    "arrived_percent": ("end, minimiser", "share within one step of the grid of c"),
    "decades": ("end, minimiser", "median of |log10(end/minimiser)|"),
    "problems": ("problem", "number of problems"),
}


def _on_heads_origin(name: str) -> Origin | None:
    if name in ("objective", "solver", "setting"):
        return Origin(name, "name of the row", "hsac.report.frozen_rules.numbers", ("rows",))
    if name not in ON_HEADS:
        return None
    return Origin(*ON_HEADS[name], "hsac.report.frozen_rules.numbers", ("rows",))


def _overview_origin(name: str) -> Origin | None:
    if name == "method":
        how = "name of the row; base is each experiment's plain weight rule"
        return Origin("method", how, SETTINGS, ())
    if not name.endswith("_percent"):
        return None
    experiment = name.removesuffix("_percent").removesuffix("_half_width")
    how = HALF_WIDTH if name.endswith("_half_width_percent") else OVER_SEEDS
    # Each column takes another cell, so its role is the experiment.
    return Origin(ACCURACY, f"100 × {how}", MEAN, (experiment,))


def _published_origin(name: str) -> Origin:
    uses = ("own", "ledger")
    if name in LEDGER:
        function = "hsac.report.published.read_published"
        return Origin(name, "as the ledger says", function, uses)
    how = "our cell of the same protocol, or else the nearest, beside the ledger's"
    return Origin("config, metrics", how, "hsac.report.published.judge", uses)


def _cell_of(row: Row) -> str:
    return f"{row['experiment']}/{row['method']}"


def _experiment_roles(results: Results, experiment: str, row: Row) -> Roles:
    run = results.cells(experiment)
    reference = f"{experiment}/{results.graph.study.experiments[experiment].reference}"
    named = {"own": [f"{experiment}/{row['method']}"], "reference": [reference], "family": run}
    # A method without runs has a row and nothing behind it.
    return {role: [name for name in names if name in run] for role, names in named.items()}


def _overview_roles(results: Results, row: Row) -> Roles:
    labels = tables.overview_labels(results.runs, results.order)
    run = {name for experiment in results.order for name in results.cells(experiment)}
    own = {e: f"{e}/{m}" for (e, m), label in labels.items() if label == row["method"]}
    roles = {}
    for experiment in results.order:
        cell = own.get(experiment)
        roles[experiment] = [cell] if cell in run else []
    return roles


def _failure_roles(results: Results, row: Row) -> Roles:
    return {"own": [f"{_cell_of(row)}#{row['seed']}"]}


def _cost_roles(results: Results, row: Row) -> Roles:
    return {"own": [_cell_of(row)]}


def _certificate_roles(results: Results, row: Row) -> Roles:
    if row["prior"] == theory.PRIORS["start"]:
        path = results.graph.theory_file("landscape", row["experiment"])
        return {"own": [_cell_of(row)], "rows": _file(results, path)}
    # trained again on parts of the examples: no run of the tables goes in, its configuration does
    path = results.graph.theory_file("informed", row["experiment"])
    return {"own": [], "rows": _file(results, path), "configuration": [_cell_of(row)]}


def _coverage_roles(results: Results, row: Row) -> Roles:
    return {"rows": _file(results, results.graph.theory_file("", "coverage"))}


def _bias_roles(results: Results, row: Row) -> Roles:
    # the method is trained for the study: no run of the tables goes in, its configuration does
    path = results.graph.theory_file("hypergradient", row["experiment"])
    return {"own": [], "rows": _file(results, path), "configuration": [_cell_of(row)]}


def _rank_roles(results: Results, row: Row) -> Roles:
    runs = theory.sweep(results.runs)[0]
    in_row = runs["experiment"] == row["experiment"]
    in_row &= runs["weight_rule"] == row["weight_rule"]
    methods = runs.loc[in_row, "method"].drop_duplicates()
    own = [f"{row['experiment']}/{method}" for method in methods]
    # Sharpness, gap and test error are of the runs themselves.
    is_measured = bool({row["x"], row["y"]} & set(theory.MEASURED))
    path = results.graph.theory_file("landscape", row["experiment"])
    return {"own": own, "rows": _file(results, path) if is_measured else []}


def _regret_roles(results: Results, row: Row) -> Roles:
    return _landscapes(results, str(row.get("group", frozen.ALL)))


def _landscapes(results: Results, group: str) -> Roles:
    """Name the landscapes over c of a group of problems."""
    found = []
    for problem in frozen.problems(results.root):
        if group in (frozen.ALL, problem.setting):
            for dim in problem.dims:
                path = frozen.landscape_file(results.root, problem.name, dim)
                found += _file(results, path)
    return {"rows": found}


def _on_heads_roles(name: str) -> Callable[[Results, Row], Roles]:
    def roles(results: Results, row: Row) -> Roles:
        found = []
        for path in frozen_rules.files(results.root, frozen_rules.KINDS[name]):
            found += _file(results, path)
        return {"rows": found}

    return roles


def _published_roles(results: Results, row: Row) -> Roles:
    # NaN stands in the CSV file where we have no cell.
    own = [_cell_of(row)] if isinstance(row["experiment"], str) else []
    if results.ledger is None:
        return {"own": own, "ledger": []}
    # The ledger lies with the configuration, outside of the results.
    return {"own": own, "ledger": [os.path.relpath(results.ledger, results.root)]}


def _file(results: Results, path: Path) -> list[str]:
    return [path.relative_to(results.root).as_posix()] if path.is_file() else []


def _overview(results: Results) -> pd.DataFrame:
    return tables.overview_table(results.runs, results.order)


def _failures(results: Results) -> pd.DataFrame:
    return tables.failures_table(results.runs)


def _cost(results: Results) -> pd.DataFrame:
    return cost.cost_table(results.runs, results.order)


def _certificates(results: Results) -> pd.DataFrame:
    informed = theory.informed(results.root / "theory", results.order)
    return theory.certificates(results.measured, informed)


def _coverage(results: Results) -> pd.DataFrame:
    rows = theory.study(results.root / "theory", "coverage")
    return rows if len(rows) else pd.DataFrame(columns=list(theory.COVERAGE))


def _biases(results: Results) -> pd.DataFrame:
    return theory.hypergradients(results.root / "theory", results.order)


def _regrets(results: Results) -> pd.DataFrame:
    found = frozen.read(results.root)
    return pd.DataFrame() if found is None else frozen.table(found)


def _regret_comparisons(results: Results) -> pd.DataFrame:
    found = frozen.read(results.root)
    return pd.DataFrame() if found is None else frozen.comparisons(found)


def _agreement(results: Results) -> pd.DataFrame:
    found = frozen.read(results.root)
    return pd.DataFrame() if found is None else frozen_bounds.table(found)


def _on_heads(name: str) -> Callable[[Results], pd.DataFrame]:
    return lambda results: frozen_rules.numbers(results.root, name)


def _published(results: Results) -> pd.DataFrame:
    ledger = [] if results.ledger is None else published.read_published(results.ledger)
    return published.judge(ledger, results.runs, results.root)


def _ranks(results: Results) -> pd.DataFrame:
    return curvature_role.correlations(theory.sweep(results.measured)[0])


def _named(
    headings: Mapping[str, str], csv_names: Mapping[str, str] | None = None
) -> Callable[[pd.DataFrame], dict[str, str]]:
    """Invert column -> heading; `csv_names` renames columns that the CSV calls differently."""
    names = csv_names or {}
    found = {heading: names.get(column, column) for column, heading in headings.items()}
    return lambda numbers: {
        heading: column for heading, column in found.items() if column in numbers
    }


def _declared(found: Iterable[Column]) -> tuple[Callable[..., dict[str, str]], Callable[..., Any]]:
    """Return headings and origins of a table that `hsac.report.columns` declares."""
    kept = tuple(found)
    origins = {column.name: column.origin for column in kept}
    return _named(columns.headings(kept)), origins.get


def _overview_headings(numbers: pd.DataFrame) -> dict[str, str]:
    # After the method, each experiment has a mean and a half width.
    experiments = {f"{c.removesuffix('_percent')} (%)": c for c in numbers.columns[1::2]}
    return {"Method": "method"} | experiments


TABLES = {
    "overview": Table(
        ("method",),
        _overview_headings,
        _overview_origin,
        _overview_roles,
        _overview,
        tables.overview_displayed,
    ),
    "failures": Table(
        ("experiment", "method", "seed"),
        *_declared(columns.FAILURES),
        _failure_roles,
        _failures,
        tables.failures_displayed,
    ),
    "cost": Table(
        ("experiment", "method"), *_declared(columns.COST), _cost_roles, _cost, cost.displayed
    ),
    "certificates": Table(
        ("experiment", "method", "prior"),
        _named(theory.CERTIFICATES),
        CERTIFICATES.get,
        _certificate_roles,
        _certificates,
        theory.certificates_displayed,
    ),
    "coverage": Table(
        ("n", "delta", "bound"),
        _named(theory.COVERAGE, COVERAGE_SHOWN),
        _coverage_origin,
        _coverage_roles,
        _coverage,
        theory.coverage_displayed,
    ),
    "hypergradient_bias": Table(
        hypergradient_bias.KEY,
        _named(hypergradient_bias.HEADINGS),
        _bias_origin,
        _bias_roles,
        _biases,
        hypergradient_bias.displayed,
    ),
    "published": Table(
        ("id", "experiment", "method"),
        _named(published.COLUMNS, {"cell": "method"}),
        _published_origin,
        _published_roles,
        _published,
        published.displayed,
    ),
    "rank_correlations": Table(
        ("experiment", "weight_rule", "x", "y"),
        _named(curvature_role.HEADINGS),
        RANKS.get,
        _rank_roles,
        _ranks,
        curvature_role.displayed,
    ),
    "regret": Table(
        frozen.KEY,
        _named(frozen.HEADINGS),
        _regret_origin,
        _regret_roles,
        _regrets,
        frozen.displayed,
    ),
    "regret_comparisons": Table(
        frozen.COMPARISON_KEY,
        _named(frozen.COMPARISON_HEADINGS),
        _compared_origin,
        _regret_roles,
        _regret_comparisons,
        frozen.comparisons_displayed,
    ),
    frozen_bounds.NAME: Table(
        frozen_bounds.KEY,
        _named(frozen_bounds.HEADINGS),
        _agreement_origin,
        _regret_roles,
        _agreement,
        frozen_bounds.displayed,
    ),
    **{
        name: Table(
            frozen_rules.KEYS[name],
            _named(frozen_rules.HEADINGS[name]),
            _on_heads_origin,
            _on_heads_roles(name),
            _on_heads(name),
            frozen_rules.displayed,
        )
        for name in frozen_rules.KINDS
    },
}


def table(name: str, experiments: Iterable[str]) -> Table | None:
    """Say how a table is made.

    Args:
        name: One of `TABLES`, or an experiment.
        experiments: The experiments that there are.

    Returns:
        The table, None for another name.
    """
    if name in TABLES or name not in experiments:
        return TABLES.get(name)

    def numbers(results: Results) -> pd.DataFrame:
        reference = results.graph.study.experiments[name].reference
        return tables.experiment_table(results.runs, name, results.order[name], reference)

    def roles(results: Results, row: Row) -> Roles:
        return _experiment_roles(results, name, row)

    # Not among `TABLES`, as plugin folders add columns while they are in use.
    declared = _declared(columns.experiment())
    return Table(("method",), *declared, roles, numbers, tables.displayed)
