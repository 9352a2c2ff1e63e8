"""Write what lies behind every cell of every table as ``provenance/<table>.json``.

It names records by the digest of their bytes. Records contain run times, so their digests change
from run to run; the provenance is kept out of tables/ for that.

How a table is made stands in `hsac.report.table_sources`: what names a row, how each column is
computed, and which runs and files a row takes. From these the sidecars are written and `hsac why`
explains a cell. A cell is computed again from nothing but what its sidecar lists
(``hsac.report.answer.Answer.recomputed``). That is how tests know that the list is complete.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hsac.errors import InputError
from hsac.files import JsonObject, file_sha256, read_json, workflow_of, write_json
from hsac.report.columns import MISSING, Origin, Row
from hsac.report.gather import read_gathered
from hsac.report.table_sources import Results, Table, table
from hsac.study import load, resolve
from hsac.study.cell import Cell
from hsac.study.fingerprint import of_modules
from hsac.study.graph import Graph
from hsac.study.models import Study
from hsac.study.record import read_index, read_records

POINT = "!"  # between a cell's name and the number of a trial of its search
# The fingerprint takes in all that these import, as `columns` and `statistics`.
CODE = tuple(f"hsac.report.{name}" for name in ("tables", "cost", "theory", "published"))
PACKAGES = ("numpy", "scipy", "statsmodels", "pandas")
SCHEMA = 1
ENVIRONMENT = ("versions", "host", "device", "dtype", "threads")  # of a record
Environment = Mapping[str, Any]


class RecordFile(NamedTuple):
    """The record of a run.

    Attributes:
        seed: Seed of the run.
        file: Name of the file in the folder of its cell.
        status: Status of the run.
        sha256: Digest of the file.
        environment: Position of what it ran with in `Sidecar.environments`.
    """

    seed: int
    file: str
    status: str
    sha256: str
    environment: int


class MeasuredFile(NamedTuple):
    """What was measured of a run's network.

    Attributes:
        seed: Seed of the run.
        file: Relative to the results folder.
        sha256: Digest of the file.
    """

    seed: int
    file: str
    sha256: str


class ChoiceFile(NamedTuple):
    """What a search came to.

    Attributes:
        file: Relative to the results folder.
        sha256: Digest of the file.
    """

    file: str
    sha256: str


@dataclass(frozen=True)
class CellFiles:
    """The files of one experiment and method.

    Attributes:
        experiment: Name of the experiment.
        method: Name of the method.
        folder: Of the records, relative to the results folder.
        config: Hash of the configuration.
        code: Fingerprints of the records, one unless they differ.
        variant: Variant hashes of the records, one unless they differ.
        indexes: Bundle index, as seen from `folder` -> seeds.
        runs: The records.
        made_from: Cells that `grid` or `best_of` chose from.
        measured: What was measured of the networks.
        points: The cells of its search's trials, each once. Empty where nothing is searched.
        choice: The outcome of its search. None where nothing is searched.
        point: Trial number, where the cell is a trial's. The cell's name ends with it.
    """

    experiment: str
    method: str
    folder: str
    config: str
    code: list[str] = field(default_factory=list)
    variant: list[str] = field(default_factory=list)
    indexes: dict[str, list[int]] = field(default_factory=dict)
    runs: list[RecordFile] = field(default_factory=list)
    made_from: list[str] = field(default_factory=list)
    measured: list[MeasuredFile] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    choice: ChoiceFile | None = None
    point: int | None = None

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "CellFiles":
        """Read a cell of a sidecar.

        Args:
            content: As JSON holds it. Keys that an older version did not write are left out.

        Returns:
            The cell.
        """
        choice = content.get("choice")
        typed = {
            # JSON holds named tuples as lists.
            "runs": [RecordFile(*run) for run in content["runs"]],
            "measured": [MeasuredFile(*row) for row in content["measured"]],
            "choice": ChoiceFile(*choice) if choice else None,
        }
        return cls(**{**content, **typed})


@dataclass(frozen=True)
class Sidecar:
    """What lies behind every cell of one table: the content of ``provenance/<table>.json``.

    Attributes:
        table: Name of the table.
        key: CSV columns that name a row. Their values are joined by `` / ``.
        sha256: Digest of the CSV file.
        code: Fingerprint of the code that made the table.
        versions: Packages that made the table.
        headings: Printed heading -> CSV column.
        columns: CSV column -> how its numbers come about.
        rows: Name of a row -> role -> position in `lists`.
        lists: Cells (``experiment/method``), single runs (``experiment/method#seed``) and files,
            relative to the results folder.
        cells: Name -> its files.
        environments: What `RecordFile.environment` refers to.
        files: Path -> SHA-256.
    """

    table: str
    key: list[str]
    sha256: str
    code: str
    versions: dict[str, str]
    headings: dict[str, str]
    columns: dict[str, Origin]
    rows: dict[str, dict[str, int]]
    lists: list[list[str]]
    cells: dict[str, CellFiles]
    environments: list[Environment]
    files: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Sidecar":
        """Read a sidecar.

        Args:
            path: The file.

        Returns:
            Its content.

        Raises:
            InputError: It cannot be read.
        """
        content = {name: value for name, value in read_json(path).items() if name != "schema"}
        columns = {
            name: Origin(**{**origin, "uses": tuple(origin["uses"])})
            for name, origin in content["columns"].items()
        }
        cells = {name: CellFiles.read(cell) for name, cell in content["cells"].items()}
        return cls(**{**content, "columns": columns, "cells": cells})

    def write(self, path: Path) -> None:
        """Write the sidecar.

        Args:
            path: The file.
        """
        write_json(path, {"schema": SCHEMA, **asdict(self)})


def label(key: Sequence[str], row: Row) -> str:
    """Return the name of a row.

    Args:
        key: Columns that name a row of its table.
        row: Column -> value.

    Returns:
        The values of these columns, joined.
    """
    # A published number without a cell of ours has no experiment and method.
    return " / ".join(MISSING if pd.isna(row[name]) else str(row[name]) for name in key)


def rows_of(numbers: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table.

    Args:
        numbers: The table.

    Returns:
        Column -> value of each row.
    """
    return [{str(name): value for name, value in row.items()} for row in numbers.to_dict("records")]


def read_numbers(path: Path) -> pd.DataFrame:
    """Read the CSV file of a table.

    Args:
        path: The file.

    Returns:
        Its numbers, an empty frame for a file without columns.

    Raises:
        InputError: It is missing or cut short.
    """
    try:
        return pd.read_csv(path)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    except (OSError, ValueError) as error:
        said = f"{path} cannot be read ({error})"
        raise InputError(f"{said}; {workflow_of(path)} makes it again") from None


def _environment(record: Mapping[str, Any]) -> Environment:
    return {name: record[name] for name in ENVIRONMENT if name in record}


def position(shared: list[Any], value: Any) -> int:
    """Return the place of a value in a list, and put it at the end where it is not there yet.

    Args:
        shared: The list.
        value: What to find.

    Returns:
        Its position.
    """
    # One by one, as lists and dictionaries cannot be hashed.
    if value not in shared:
        shared.append(value)
    return shared.index(value)


class CellReader:
    """The cells of a results folder as their bundle indexes list them, each read once.

    Attributes:
        graph: The work of the study, in the results folder.
        environments: What `RecordFile.environment` of the cells refers to.
    """

    def __init__(self, graph: Graph) -> None:
        """Begin with nothing read.

        Args:
            graph: The work of the study, in the results folder.
        """
        self.graph, self.root = graph, graph.results
        self.environments: list[Environment] = []
        self._cells: dict[str, CellFiles] = {}
        self._rows: dict[str, dict[tuple[str, int], list[tuple[Path, Row]]]] = {}

    def cell(self, name: str) -> CellFiles:
        """Read a cell and check its records against its indexes.

        Args:
            name: ``experiment/method``, or ``experiment/method!number`` of a trial of its search.

        Returns:
            Its files.

        Raises:
            InputError: A record is missing or differs from what its bundle's index says.
        """
        if name not in self._cells:
            whole, _, point = name.partition(POINT)
            experiment, method = whole.split("/", 1)
            self._cells[name] = self._read(experiment, method, int(point) if point else None)
        return self._cells[name]

    def _read(self, experiment: str, method: str, point: int | None) -> CellFiles:
        made = resolve.cell(self.graph.study, experiment, method, point)
        folder = self.graph.folder(made)
        found = CellFiles(
            experiment,
            method,
            folder.relative_to(self.root).as_posix(),
            made.hash,
            points=[] if point is not None else self._points(made),
            choice=self._choice(made) if made.searched else None,
            point=point,
        )
        for path in self._indexes(made):
            self._add_runs(found, path, folder)
        candidates = resolve.candidates(self.graph.study, made)
        found.made_from.extend(f"{experiment}/{one.method}" for one in candidates)
        # Networks of trials are not measured.
        if point is None:
            found.measured.extend(self._measured(experiment, method))
        return found

    def _points(self, made: Cell) -> list[str]:
        """Name the cells of the trials of a method's search; equal trials are one cell."""
        # Reversed, so that equal trials keep the first one's number.
        trials = reversed(resolve.trials(self.graph.study, made))
        numbers = {one.hash: one.point or 0 for one in trials}
        whole = f"{made.experiment}/{made.method}"
        return [f"{whole}{POINT}{number}" for number in sorted(numbers.values())]

    def _choice(self, made: Cell) -> ChoiceFile:
        path = self.graph.point_file(made)
        return ChoiceFile(path.relative_to(self.root).as_posix(), file_sha256(path))

    def _add_runs(self, cell: CellFiles, index: Path, folder: Path) -> None:
        """Add the runs of a bundle that lie in the cell's folder."""
        members = zip(read_index(index)[1], read_records(index), strict=True)
        for (seed, file, sha256), (_, record) in members:
            if file.parent != folder:  # of another trial of the bundle
                continue
            cell.indexes.setdefault(os.path.relpath(index, folder), []).append(seed)
            place = position(self.environments, _environment(record))
            cell.runs.append(RecordFile(seed, file.name, record["status"], sha256, place))
            position(cell.code, record["code"])
            position(cell.variant, record["variant_hash"])

    def _indexes(self, cell: Cell) -> list[Path]:
        """List the indexes of the bundles that a cell's runs are in."""
        if cell.point is None:
            return self.graph.indexes([cell])
        searched = resolve.cell(self.graph.study, cell.experiment, cell.method)
        found = []
        for bundle in self.graph.trial_bundles(searched):
            # By hash, as of equal trials the first is trained for all.
            if cell.hash in [trial.hash for trial in bundle.cells]:
                found.append(bundle.index)
        return found

    def _measured(self, experiment: str, method: str) -> list[MeasuredFile]:
        """List the kept rows that the experiment's CSV file of measurements holds."""
        path = self.graph.theory_file("landscape", experiment)
        if experiment not in self._rows:
            self._rows[experiment] = _kept_rows(path.with_suffix(""))
        rows = read_numbers(path) if path.is_file() else pd.DataFrame(columns=["method"])
        found = []
        for row in rows[rows["method"] == method].to_dict("records"):
            for file, other in self._rows[experiment].get((method, row["seed"]), []):
                # The folder also holds rows of earlier runs. Eigenvalue and trace tell them apart.
                if _is_row(other, row):
                    name = file.relative_to(self.root).as_posix()
                    found.append(MeasuredFile(row["seed"], name, file_sha256(file)))
        return found


def _kept_rows(folder: Path) -> dict[tuple[str, int], list[tuple[Path, Row]]]:
    """Read the measured rows of an experiment: method and seed -> files and their content."""
    kept: dict[tuple[str, int], list[tuple[Path, Row]]] = {}
    for file in sorted(folder.glob("*.json")):
        row = read_json(file)
        kept.setdefault((row["method"], row["seed"]), []).append((file, row))
    return kept


def _is_row(row: Row, other: Row) -> bool:
    names = ("top_eigenvalue", "trace")
    # Numbers from a CSV file can be off in the last digit.
    return all(math.isclose(row[name], other[name], rel_tol=1e-12) for name in names)


def sidecar(name: str, made: Table, results: Results, reader: CellReader, csv: Path) -> Sidecar:
    """Find out what lies behind every cell of a table.

    Args:
        name: Name of the table.
        made: How it is made.
        results: The results folder.
        reader: Reads the cells of that folder.
        csv: The table's numbers.

    Returns:
        The provenance of the table.

    Raises:
        InputError: A record is missing or differs from what its bundle's index says.
    """
    numbers = read_numbers(csv)
    lists: list[list[str]] = []
    rows: dict[str, dict[str, int]] = {}
    for row in rows_of(numbers):
        roles = made.roles(results, row)
        rows[label(made.key, row)] = {role: position(lists, names) for role, names in roles.items()}
    # Not a set, whose order would change from one writing to the next.
    named = dict.fromkeys(item for names in lists for item in names)
    files = [item for item in named if (results.root / item).is_file()]
    cells = _with_sources([item.partition("#")[0] for item in named if item not in files], reader)
    if not files:  # nothing that was measured of the networks goes in
        cells = {cell: replace(content, measured=[]) for cell, content in cells.items()}
    origins = {column: made.origin(column) for column in numbers.columns}
    return Sidecar(
        name,
        list(made.key),
        file_sha256(csv),
        of_modules(CODE),
        {package: version(package) for package in PACKAGES},
        made.headings(numbers),
        {column: origin for column, origin in origins.items() if origin is not None},
        rows,
        lists,
        cells,
        reader.environments,
        {item: file_sha256(results.root / item) for item in files},
    )


def _with_sources(names: list[str], reader: CellReader) -> dict[str, CellFiles]:
    """Read cells, those that a grid's cells chose from, and those of the trials of a search."""
    waiting, cells = names, dict[str, CellFiles]()
    while waiting:
        read = cells[waiting[0]] = reader.cell(waiting[0])
        further = [*waiting[1:], *read.made_from, *read.points]
        waiting = [name for name in further if name not in cells]
    return cells


def csv_paths(root: Path) -> dict[str, Path]:
    """Find the tables of a results folder.

    Args:
        root: The folder.

    Returns:
        Table -> its CSV file.
    """
    found: dict[str, Path] = {}
    for kind in ("tables", "cost"):
        found |= {path.stem: path for path in sorted((Path(root) / kind).glob("*.csv"))}
    return found


def sidecar_path(root: Path, name: str) -> Path:
    """Return where the provenance of a table lies.

    Args:
        root: The results folder.
        name: The table.

    Returns:
        The file.
    """
    return Path(root) / "provenance" / f"{name}.json"


def write_provenance(study: Study, runs_parquet: Path, ledger: Path | None) -> None:
    """Write the sidecar of each table of a results folder.

    Args:
        study: The study.
        runs_parquet: The gathered runs, in the results folder.
        ledger: The file of published numbers.

    Raises:
        InputError: A record is missing or differs from what its bundle's index says.
    """
    root = Path(runs_parquet).parent
    graph = Graph(study, root)
    results = Results(graph, read_gathered(runs_parquet), ledger)
    # One for all tables, which share most cells.
    reader = CellReader(graph)
    for name, csv in csv_paths(root).items():
        made = table(name, study.experiments)
        # A table of an experiment that the study no longer has may still lie there.
        if made is not None:
            sidecar(name, made, results, reader, csv).write(sidecar_path(root, name))


def read_sidecars(root: Path) -> dict[str, Sidecar]:
    """Read the sidecars of a results folder.

    Args:
        root: The folder.

    Returns:
        Table -> its sidecar.

    Raises:
        InputError: One cannot be read.
    """
    paths = sorted((Path(root) / "provenance").glob("*.json"))
    return {path.stem: Sidecar.read(path) for path in paths}


@dataclass(frozen=True)
class PageTable:
    """A table of the page, see `PageData`.

    Attributes:
        key: CSV columns that name a row.
        headings: Printed heading -> CSV column.
        columns: CSV column -> position in `PageData.columns`.
        rows: Name of a row, as `label` makes it -> role -> position in `PageData.lists`.
    """

    key: list[str]
    headings: dict[str, str]
    columns: dict[str, int]
    rows: dict[str, dict[str, int]]


@dataclass(frozen=True)
class PageData:
    """What a click on a cell of the page opens: the sidecars joined, shared parts once.

    The records, variant, configuration and environment of a cell are those of ``lists[i]`` for the
    positions i in the row's roles that the column uses.

    Attributes:
        tables: Name -> table.
        cells: Name -> fields of `CellFiles` without ``measured``, with ``configuration``
            (top-level key -> position in `parts`) and ``variant_file``.
        files: Path -> SHA-256.
        columns: How numbers come about.
        lists: Cells, single runs (``cell#seed``) and files.
        parts: The distinct parts of all configurations.
        environments: What the runs of `cells` refer to.
    """

    tables: dict[str, PageTable] = field(default_factory=dict)
    cells: dict[str, dict[str, object]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    columns: list[Origin] = field(default_factory=list)
    lists: list[list[str]] = field(default_factory=list)
    parts: list[Any] = field(default_factory=list)
    environments: list[Environment] = field(default_factory=list)

    def add(self, sidecar: Sidecar, graph: Graph) -> None:
        """Add what a sidecar has.

        Args:
            sidecar: Of one table.
            graph: The work of the study.
        """
        # A sidecar counts in its own lists, the page in joint ones.
        places = [position(self.lists, names) for names in sidecar.lists]
        rows = {}
        for row, roles in sidecar.rows.items():
            rows[row] = {role: places[i] for role, i in roles.items()}
        columns = {c: position(self.columns, origin) for c, origin in sidecar.columns.items()}
        self.tables[sidecar.table] = PageTable(sidecar.key, sidecar.headings, columns, rows)
        self.files.update(sidecar.files)
        for name, cell in sidecar.cells.items():
            # trials of a search are left to `hsac why`
            if name not in self.cells and cell.point is None:
                self.cells[name] = self._cell(cell, sidecar.environments, graph)

    def _cell(
        self, cell: CellFiles, environments: list[Environment], graph: Graph
    ) -> dict[str, object]:
        made = resolve.cell(graph.study, cell.experiment, cell.method).config.dump()
        runs = []
        for run in cell.runs:
            place = position(self.environments, environments[run.environment])
            runs.append(run._replace(environment=place))
        kept: dict[str, object] = asdict(replace(cell, runs=runs))
        del kept["measured"]
        # Cells share most parts of their configurations, and the page must stay small.
        kept["configuration"] = {key: position(self.parts, part) for key, part in made.items()}
        kept["variant_file"] = graph.variant(cell.experiment).as_posix()
        return kept


def page_data(results: Path) -> JsonObject:
    """Join the sidecars of a results folder for its page.

    Args:
        results: The folder.

    Returns:
        The fields of `PageData`, as JSON holds them.

    Raises:
        InputError: A sidecar or the settings cannot be read.
    """
    root = Path(results)
    graph = Graph(load.read(root / "settings.json"), root)
    found = PageData()
    for sidecar in read_sidecars(root).values():
        found.add(sidecar, graph)
    return asdict(found)
