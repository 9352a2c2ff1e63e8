"""What lies behind every cell of every table, written as ``provenance/<table>.json``.

It names records by the digest of their bytes, which hold what was measured, so it lies apart from
the tables, which are the same whenever they are computed.

A table of the results is in ``table(name)``: what names a row, how each column is computed, and
which runs and files a row takes. From these the sidecars are written, `hsac why` explains a cell,
and a cell is computed again from nothing but what its sidecar lists
(``hsac.report.why.Answer.recomputed``), which is how tests know that the list is complete.

A sidecar is one JSON object:

- ``schema`` 1, ``table``, ``key`` (CSV columns whose values, joined by `` / ``, name a row), ``sha256`` of the CSV;
- ``code``, ``versions``: fingerprint of the code and packages that made the table;
- ``headings``: printed heading -> CSV column;
- ``columns``: CSV column -> ``Origin``, whose ``uses`` are roles;
- ``rows``: row -> role -> position in ``lists``; a list holds cells (``experiment/method``), single runs
  (``experiment/method#seed``) and files (relative to the results folder);
- ``cells``: cell -> ``Cell``; ``environments``: what ``Cell.runs`` refer to; ``files``: path -> SHA-256.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from hsac import config, layout
from hsac.errors import InputError
from hsac.files import file_sha256, read_json, write_json
from hsac.report import columns, cost, curvature_role, hypergradient_bias, published, tables, theory
from hsac.report.columns import ACCURACY, HALF_WIDTH, MEAN, OVER_SEEDS, SETTINGS, Column, Origin
from hsac.report.gather import read_gathered
from hsac.study.fingerprint import of_modules
from hsac.study.record import read_index, read_records

POINT = "!"  # between a cell's name and the number of a point that its search tried
CODE = tuple(f"hsac.report.{name}" for name in ("tables", "cost", "theory", "published"))
PACKAGES = ("numpy", "scipy", "statsmodels", "pandas")
Roles = dict[str, list[str]]


@dataclass(frozen=True)
class Cell:
    """One experiment × method: its runs, and what was measured of their networks.

    ``folder``: of the records, relative to the results folder; ``config``: configuration hash;
    ``code``, ``variant``: the fingerprints and variant hashes of its records, one each unless they
    differ; ``indexes``: bundle index, as seen from the folder, -> seeds; ``runs``: [seed, record's
    file name, status, SHA-256, position in ``environments``]; ``made_from``: the cells that `grid`
    or `best_of` chose from; ``measured``: [seed, file of the measured row, its SHA-256].
    ``points``: of a searched method, the cells of the points that it tried, each once, and
    ``choice`` what its search came to: [file, SHA-256]. ``point``: the number of such a cell's
    point (its name ends with it).
    """

    experiment: str
    method: str
    folder: str
    config: str
    code: list[str] = field(default_factory=list)
    variant: list[str] = field(default_factory=list)
    indexes: dict[str, list[int]] = field(default_factory=dict)
    runs: list[list[Any]] = field(default_factory=list)
    made_from: list[str] = field(default_factory=list)
    measured: list[list[Any]] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    choice: list[str] | None = None
    point: int | None = None


@dataclass(frozen=True)
class Results:
    """A results folder as the tables see it: resolved settings, folder, the gathered runs or some
    of them, and the ledger of published numbers.
    """

    settings: Mapping[str, Any]
    root: Path
    runs: pd.DataFrame
    ledger: Path | None = None

    @cached_property
    def order(self) -> dict[str, list[str]]:
        """The methods of each experiment, in the tables' order."""
        return {
            name: experiment["methods"] for name, experiment in self.settings["experiments"].items()
        }

    @cached_property
    def measured(self) -> pd.DataFrame:
        """The finished runs with what was measured of their networks."""
        return theory.landscape(self.root / "theory", self.runs, self.order)

    def cells(self, experiment: str) -> list[str]:
        """Identifiers of the experiment's cells that were run."""
        block = self.runs[self.runs["experiment"] == experiment]
        return [f"{experiment}/{method}" for method in block["method"].drop_duplicates()]


@dataclass(frozen=True)
class Table:
    """How a table of the results is made and what its cells come from.

    ``key``: CSV columns that name a row; ``headings``: from the numbers, printed heading -> CSV
    column; ``column``: a CSV column's `Origin`, None for one it does not know; ``roles``: of a row
    (a dict of its CSV cells), the cells, runs and files in each role; ``numbers``, ``shown``: the
    table's functions, full numbers and text to print.
    """

    key: tuple[str, ...]
    headings: Callable[[pd.DataFrame], dict[str, str]]
    column: Callable[[str], Origin | None]
    roles: Callable[[Results, dict[str, Any]], Roles]
    numbers: Callable[[Results], pd.DataFrame]
    shown: Callable[[pd.DataFrame], pd.DataFrame]


WITH_ROWS = ("own", "rows")
CERTIFICATE = "hsac.report.theory.certificates"
CERTIFICATES = {
    "experiment": Origin("experiment", "name of the row", SETTINGS, WITH_ROWS),
    "method": Origin("method", "name of the row", SETTINGS, WITH_ROWS),
    "prior": Origin("posterior", "what the prior of the certificate was", CERTIFICATE, WITH_ROWS),
    "examples": Origin("examples", "the same for every seed", CERTIFICATE, WITH_ROWS),
    "kl_nats": Origin("kl", OVER_SEEDS, CERTIFICATE, WITH_ROWS),
    "slack": Origin("slack", OVER_SEEDS, CERTIFICATE, WITH_ROWS),
    "sigma": Origin("sigma", "median over seeds", CERTIFICATE, WITH_ROWS),
    **{
        name.replace("_percent", ending): Origin(
            source if source != "test_error" else "1 − metrics.last.test_accuracy, or the row's test_error",
            f"100 × {how}", MEAN, WITH_ROWS,
        )
        for name, source in theory.SHARES.items()
        for ending, how in (("_percent", OVER_SEEDS), ("_half_width_percent", HALF_WIDTH))
    },
    "vacuous": Origin("vacuous", "number of seeds whose certificate is vacuous", CERTIFICATE, WITH_ROWS),
    "n": Origin("bound", "number of seeds with a certificate", CERTIFICATE, WITH_ROWS),
}  # fmt: skip
BOOTSTRAP = "hsac.report.curvature_role.mean_over_seeds"
RANKS = {
    **{
        name: Origin(name, "name of the row", SETTINGS, WITH_ROWS)
        for name in ("experiment", "setting", "weight_rule")
    },
    **{
        name: Origin(
            name, "quantity of the row", "hsac.report.curvature_role.correlations", WITH_ROWS
        )
        for name in "xy"
    },
    **{
        column: Origin(
            "x and y", f"{rank} across fixed curvatures within a seed; {how}", BOOTSTRAP, WITH_ROWS
        )
        for rank, ends in (
            ("Spearman's rho", ("rho", "low", "high")),
            ("Kendall's tau-b", ("tau", "tau_low", "tau_high")),
        )
        for column, how in zip(
            ends,
            (
                OVER_SEEDS,
                *(
                    f"{end} end of the 95 % bootstrap interval over seeds"
                    for end in ("low", "high")
                ),
            ),
            strict=True,
        )
    },
    "seeds": Origin(
        "x and y", "number of seeds with at least three usable curvatures", BOOTSTRAP, WITH_ROWS
    ),
    "curvatures": Origin(
        "x and y", "number of different curvatures of these seeds", BOOTSTRAP, WITH_ROWS
    ),
}


POINTS = "over the points of the training"
BIAS = {
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


def _bias_column(name: str) -> Origin:
    field, how = BIAS.get(name, (name, "as the study's rows say"))
    return Origin(field, how, "hsac.report.hypergradient_bias.table", ("rows",))


def _coverage_column(name: str) -> Origin:
    return Origin(
        name, "as the study's row says", "hsac.theory.studies.coverage.Coverage.rows", ("rows",)
    )


def _overview_column(name: str) -> Origin | None:
    if name == "method":
        return Origin(
            "method", "name of the row; base is each experiment's plain weight rule", SETTINGS, ()
        )
    experiment = name.removesuffix("_percent").removesuffix("_half_width")
    how = HALF_WIDTH if name.endswith("_half_width_percent") else OVER_SEEDS
    return (
        Origin(ACCURACY, f"100 × {how}", MEAN, (experiment,)) if name.endswith("_percent") else None
    )


def _experiment_roles(results: Results, experiment: str, row: dict[str, Any]) -> Roles:
    run = results.cells(experiment)
    reference = f"{experiment}/{results.settings['experiments'][experiment]['reference']}"
    named = {"own": [f"{experiment}/{row['method']}"], "reference": [reference], "family": run}
    return {role: [name for name in names if name in run] for role, names in named.items()}


def _overview_roles(results: Results, row: dict[str, Any]) -> Roles:
    labels = tables.overview_labels(results.runs, results.order)
    run = {name for experiment in results.order for name in results.cells(experiment)}
    own = {e: f"{e}/{m}" for (e, m), label in labels.items() if label == row["method"]}
    return {
        experiment: [own[experiment]] if own.get(experiment) in run else []
        for experiment in results.order
    }


def _file(results: Results, path: Path) -> list[str]:
    return [path.relative_to(results.root).as_posix()] if path.is_file() else []


def _certificate_roles(results: Results, row: dict[str, Any]) -> Roles:
    cell = f"{row['experiment']}/{row['method']}"
    if row["prior"] == theory.PRIORS["start"]:
        path = layout.landscape_path(results.root, row["experiment"])
        return {"own": [cell], "rows": _file(results, path)}
    # trained again on parts of the examples: no run of the tables goes in, its configuration does
    path = layout.informed_path(results.root, row["experiment"])
    return {"own": [], "rows": _file(results, path), "configuration": [cell]}


def _bias_roles(results: Results, row: dict[str, Any]) -> Roles:
    # the method is trained for the study: no run of the tables goes in, its configuration does
    path = layout.hypergradient_path(results.root, row["experiment"])
    cell = f"{row['experiment']}/{row['method']}"
    return {"own": [], "rows": _file(results, path), "configuration": [cell]}


def _rank_roles(results: Results, row: dict[str, Any]) -> Roles:
    runs = theory.sweep(results.runs)[0]
    runs = runs[
        (runs["experiment"] == row["experiment"]) & (runs["weight_rule"] == row["weight_rule"])
    ]
    own = [f"{row['experiment']}/{method}" for method in runs["method"].drop_duplicates()]
    measured = {row["x"], row["y"]} & set(theory.MEASURED)
    path = layout.landscape_path(results.root, row["experiment"])
    return {"own": own, "rows": _file(results, path) if measured else []}


def _coverage(results: Results) -> pd.DataFrame:
    rows = theory.study(results.root / "theory", "coverage")
    return rows if len(rows) else pd.DataFrame(columns=list(theory.COVERAGE))


def _published_column(name: str) -> Origin:
    ledger = name in (
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
    how = (
        "as the ledger says"
        if ledger
        else "our cell of the same protocol, or else the nearest, beside the ledger's"
    )
    function = "hsac.report.published." + ("read_published" if ledger else "judge")
    return Origin(name if ledger else "config, metrics", how, function, ("own", "ledger"))


def _published_roles(results: Results, row: dict[str, Any]) -> Roles:
    ours = [f"{row['experiment']}/{row['method']}"] if isinstance(row["experiment"], str) else []
    return {
        "own": ours,
        "ledger": [] if results.ledger is None else [os.path.relpath(results.ledger, results.root)],
    }


def _published(results: Results) -> pd.DataFrame:
    ledger = [] if results.ledger is None else published.read_published(results.ledger)
    return published.judge(ledger, results.runs, results.root)


COVERAGE_SHOWN = {"coverage_percent": "coverage", "required_percent": "delta"}
COVERAGE_SHOWN |= {f"mean_{name}_percent": f"mean_{name}" for name in ("bound", "risk")}


def _named(
    headings: Mapping[str, str], csv: Mapping[str, str] | None = None
) -> Callable[..., dict[str, str]]:
    """Heading -> CSV column for column -> heading; ``csv`` names the columns that the CSV calls
    otherwise.
    """
    found = {heading: (csv or {}).get(column, column) for column, heading in headings.items()}
    return lambda numbers: {
        heading: column for heading, column in found.items() if column in numbers
    }


def _origins(declared: Iterable[Column]) -> dict[str, Origin]:
    return {column.name: column.origin for column in declared}


def _overview_headings(numbers: pd.DataFrame) -> dict[str, str]:
    return {"Method": "method"} | {
        f"{c.removesuffix('_percent')} (%)": c for c in numbers.columns[1::2]
    }


TABLES = {
    "overview": Table(
        ("method",), _overview_headings, _overview_column, _overview_roles,
        lambda results: tables.overview_table(results.runs, results.order), tables.overview_displayed,
    ),
    "failures": Table(
        ("experiment", "method", "seed"), _named(columns.headings(columns.FAILURES)), _origins(columns.FAILURES).get,
        lambda _, row: {"own": ["{experiment}/{method}#{seed}".format(**row)]},
        lambda results: tables.failures_table(results.runs), tables.failures_displayed,
    ),
    "cost": Table(
        ("experiment", "method"), _named(columns.headings(columns.COST)), _origins(columns.COST).get,
        lambda _, row: {"own": ["{experiment}/{method}".format(**row)]},
        lambda results: cost.cost_table(results.runs, results.order), cost.displayed,
    ),
    "certificates": Table(
        ("experiment", "method", "prior"), _named(theory.CERTIFICATES), CERTIFICATES.get, _certificate_roles,
        lambda results: theory.certificates(
            results.measured, theory.informed(results.root / "theory", results.order)
        ), theory.certificates_displayed,
    ),
    "coverage": Table(
        ("n", "delta", "bound"), _named(theory.COVERAGE, COVERAGE_SHOWN), _coverage_column,
        lambda results, _: {"rows": _file(results, layout.study_path(results.root, "coverage"))},
        _coverage, theory.coverage_displayed,
    ),
    "hypergradient_bias": Table(
        hypergradient_bias.KEY, _named(hypergradient_bias.HEADINGS), _bias_column, _bias_roles,
        lambda results: theory.hypergradients(results.root / "theory", results.order), hypergradient_bias.displayed,
    ),
    "published": Table(
        ("id", "experiment", "method"), _named(published.COLUMNS, {"cell": "method"}), _published_column,
        _published_roles, _published, published.displayed,
    ),
    "rank_correlations": Table(
        ("experiment", "weight_rule", "x", "y"), _named(curvature_role.HEADINGS), RANKS.get, _rank_roles,
        lambda results: curvature_role.correlations(theory.sweep(results.measured)[0]), curvature_role.displayed,
    ),
}  # fmt: skip


def table(name: str, experiments: Iterable[str]) -> Table | None:
    """How the table ``name`` is made: one of ``TABLES``, or that of an experiment; None when it is
    neither.
    """
    if name in TABLES or name not in experiments:
        return TABLES.get(name)
    return Table(
        ("method",),
        _named(columns.headings(columns.experiment())),
        _origins(columns.experiment()).get,
        lambda results, row: _experiment_roles(results, name, row),
        lambda results: tables.experiment_table(
            results.runs,
            name,
            results.order[name],
            results.settings["experiments"][name]["reference"],
        ),
        tables.displayed,
    )


def label(key: Sequence[str], row: Mapping[str, Any]) -> str:
    """The name of a row: its key cells, joined."""
    return " / ".join(columns.MISSING if pd.isna(row[name]) else str(row[name]) for name in key)


def records(numbers: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dicts."""
    return [{str(name): value for name, value in row.items()} for row in numbers.to_dict("records")]


def read_numbers(path: Path) -> pd.DataFrame:
    """A table's CSV. Raises InputError when it is missing or cut short."""
    try:
        return pd.read_csv(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); a plain `snakemake` run makes it again"
        ) from None


def _environment(record: Mapping[str, Any]) -> dict[str, Any]:
    names = ("versions", "host", "device", "dtype", "threads")
    return {name: record[name] for name in names if name in record}


def position(shared: list[Any], value: Any) -> int:
    """Where ``value`` is in ``shared``; it is put at the end when it is not there yet."""
    if value not in shared:
        shared.append(value)
    return shared.index(value)


class Catalogue:
    """The cells of a results folder as their bundle indexes list them, each read once."""

    def __init__(self, settings: dict[str, Any], root: Path) -> None:
        self.settings, self.root = settings, root
        self.environments: list[dict[str, Any]] = []
        self._cells: dict[str, Cell] = {}
        self._rows: dict[str, dict[tuple[str, int], list[tuple[Path, dict[str, Any]]]]] = {}

    def cell(self, name: str) -> Cell:
        """The cell ``experiment/method``, or of a point that it tried ``experiment/method!number``,
        its records checked against its indexes.
        """
        if name not in self._cells:
            whole, _, point = name.partition(POINT)
            experiment, method = whole.split("/", 1)
            self._cells[name] = self._read(experiment, method, int(point) if point else None)
        return self._cells[name]

    def _read(self, experiment: str, method: str, point: int | None) -> Cell:
        made = config.cell(self.settings, experiment, method, point)
        folder = layout.index_path(self.root, made, 0).parent
        points = {
            one["hash"]: one["point"] for one in reversed(config.point_cells(self.settings, made))
        }
        choice = layout.point_path(self.root, made)
        found = Cell(
            experiment,
            method,
            folder.relative_to(self.root).as_posix(),
            made["hash"],
            points=(
                [f"{experiment}/{method}{POINT}{k}" for k in sorted(points.values())]
                if point is None
                else []
            ),
            choice=(
                [choice.relative_to(self.root).as_posix(), file_sha256(choice)]
                if config.searched(made)
                else None
            ),
            point=point,
        )
        for path in self._indexes(made):
            for (seed, file, sha256), (_, record) in zip(
                read_index(path)[1], read_records(path), strict=True
            ):
                if file.parent != folder:  # of another point of the bundle
                    continue
                found.indexes.setdefault(os.path.relpath(path, folder), []).append(seed)
                place = position(self.environments, _environment(record))
                found.runs.append([seed, file.name, record["status"], sha256, place])
                position(found.code, record["code"])
                position(found.variant, record["variant_hash"])
        found.made_from.extend(
            f"{experiment}/{name}" for name in config.candidates(self.settings, made)
        )
        found.measured.extend(self._measured(experiment, method) if point is None else [])
        return found

    def _indexes(self, cell: dict[str, Any]) -> list[Path]:
        """The indexes of the bundles that a cell's runs are in."""
        if cell["point"] is None:
            return layout.indexes(self.settings, self.root, [cell])
        searched = config.cell(self.settings, cell["experiment"], cell["method"])
        tried = layout.point_bundles(self.settings, self.root, searched)
        return [
            index
            for index, (points, _) in tried.items()
            if cell["hash"] in [point["hash"] for point in points]
        ]

    def _measured(self, experiment: str, method: str) -> list[list[Any]]:
        """The kept rows that the experiment's CSV of measurements holds; rows of earlier code or
        weights lie there too, so they are told apart by their numbers.
        """
        path = layout.landscape_path(self.root, experiment)
        if experiment not in self._rows:
            kept: dict[tuple[str, int], list[tuple[Path, dict[str, Any]]]] = {}
            for file in sorted(path.with_suffix("").glob("*.json")):
                row = read_json(file)
                kept.setdefault((row["method"], row["seed"]), []).append((file, row))
            self._rows[experiment] = kept
        rows = read_numbers(path) if path.is_file() else pd.DataFrame(columns=["method"])
        out = []
        for row in rows[rows["method"] == method].to_dict("records"):
            for file, other in self._rows[experiment].get((method, row["seed"]), []):
                if all(
                    math.isclose(other[name], row[name], rel_tol=1e-12)
                    for name in ("top_eigenvalue", "trace")
                ):
                    out.append(
                        [row["seed"], file.relative_to(self.root).as_posix(), file_sha256(file)]
                    )
        return out


def sidecar(
    name: str, made: Table, results: Results, catalogue: Catalogue, csv: Path
) -> dict[str, Any]:
    """The provenance of the table ``name``, whose numbers lie in ``csv``."""
    numbers = read_numbers(csv)
    origins = {c: made.column(c) for c in numbers.columns}
    lists: list[list[str]] = []
    rows: dict[str, dict[str, int]] = {}
    for row in records(numbers):
        roles = made.roles(results, row)
        rows[label(made.key, row)] = {role: position(lists, names) for role, names in roles.items()}
    named = dict.fromkeys(item for names in lists for item in names)
    files = [item for item in named if (results.root / item).is_file()]
    waiting = [item.partition("#")[0] for item in named if item not in files]
    cells: dict[str, Cell] = {}
    while (
        waiting
    ):  # a grid's cells bring the cells that it chose from, a searched one's those of its points
        read = cells[waiting[0]] = catalogue.cell(waiting[0])
        waiting = [c for c in [*waiting[1:], *read.made_from, *read.points] if c not in cells]
    return {
        "schema": 1,
        "table": name,
        "key": list(made.key),
        "sha256": file_sha256(csv),
        "code": of_modules(CODE),
        "versions": {package: version(package) for package in PACKAGES},
        "headings": made.headings(numbers),
        "columns": {c: asdict(origin) for c, origin in origins.items() if origin is not None},
        "rows": rows,
        "lists": lists,
        "cells": {
            c: asdict(cell) | ({} if files else {"measured": []}) for c, cell in cells.items()
        },
        "environments": catalogue.environments,
        "files": {item: file_sha256(results.root / item) for item in files},
    }


def csv_paths(root: Path) -> dict[str, Path]:
    """The tables' CSV files of a results folder, by table."""
    return {
        path.stem: path
        for kind in ("tables", "cost")
        for path in sorted((Path(root) / kind).glob("*.csv"))
    }


def sidecar_path(root: Path, name: str) -> Path:
    """The provenance of the table ``name``."""
    return Path(root) / "provenance" / f"{name}.json"


def write_provenance(settings: dict[str, Any], runs_parquet: Path, ledger: Path | None) -> None:
    """Write the sidecar of each table beside ``runs_parquet`` that ``table`` knows; ``ledger``: of
    published numbers.

    Raises InputError naming the record that is missing or differs from what its bundle's index
    says.
    """
    root = Path(runs_parquet).parent
    results = Results(settings, root, read_gathered(runs_parquet), ledger)
    catalogue = Catalogue(settings, root)
    for name, csv in csv_paths(root).items():
        made = table(name, settings["experiments"])
        if made is not None:
            write_json(sidecar_path(root, name), sidecar(name, made, results, catalogue, csv))


def read_sidecars(root: Path) -> dict[str, dict[str, Any]]:
    """The sidecars of a results folder, by table. Raises InputError when one cannot be read."""
    return {
        path.stem: read_json(path) for path in sorted((Path(root) / "provenance").glob("*.json"))
    }


def page_data(results: Path) -> dict[str, Any]:
    """What a click on a cell of the page opens: the sidecars of ``results`` joined, shared parts
    once.

    - ``tables``: table -> ``key``, ``headings`` (printed heading -> CSV column), ``columns`` (CSV column -> position in
      ``columns``), ``rows`` (row's name, as `label` makes it of the CSV's row -> role -> position in ``lists``);
    - ``columns``: field, how, function, uses (roles), finished; ``lists``: cells, single runs (``cell#seed``), files;
    - ``cells``: as ``Cell``, with ``configuration`` (top-level key -> position in ``parts``), ``variant_file`` and
      without ``measured``; ``parts``: the distinct parts of all configurations;
    - ``environments`` (``Cell.runs`` refer to these); ``files``: path -> SHA-256.

    The records, variant, configuration and environment of a cell are those of ``lists[i]`` for i in
    the row's roles that the column ``uses``. Raises InputError when a sidecar or the settings
    cannot be read.
    """
    root = Path(results)
    settings = read_json(root / "settings.json")
    columns: list[Any] = []
    lists: list[Any] = []
    parts: list[Any] = []
    environments: list[Any] = []
    out: dict[str, Any] = {"tables": {}, "cells": {}, "files": {}}

    for name, content in read_sidecars(root).items():
        places = [position(lists, names) for names in content["lists"]]
        out["tables"][name] = {
            "key": content["key"],
            "headings": content["headings"],
            "columns": {c: position(columns, column) for c, column in content["columns"].items()},
            "rows": {
                row: {role: places[i] for role, i in roles.items()}
                for row, roles in content["rows"].items()
            },
        }
        out["files"] |= content["files"]
        for c, cell in content["cells"].items():
            if (
                c in out["cells"] or cell["point"] is not None
            ):  # `hsac why` shows the points of a search
                continue
            made = config.cell(settings, cell["experiment"], cell["method"])["config"]
            runs = [
                [*run[:-1], position(environments, content["environments"][run[-1]])]
                for run in cell["runs"]
            ]
            kept = {key: value for key, value in cell.items() if key != "measured"}
            shared = {"configuration": {key: position(parts, value) for key, value in made.items()}}
            experiment = settings["experiments"][cell["experiment"]]
            out["cells"][c] = kept | {"runs": runs} | shared
            out["cells"][c]["variant_file"] = layout.variant_path(experiment).as_posix()
    return out | {"columns": columns, "lists": lists, "parts": parts, "environments": environments}
