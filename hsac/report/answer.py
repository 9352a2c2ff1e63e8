"""Find one cell of a table, what its sidecar says of it, and what has changed since."""

import contextlib
import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from hsac.errors import InputError
from hsac.files import digest, file_sha256, read_json, workflow_of
from hsac.report import provenance, table_sources
from hsac.report.columns import Origin, Record
from hsac.report.gather import MEASURED_SCHEMA, measured_row, run_row, run_schema
from hsac.report.provenance import RecordFile, Sidecar
from hsac.report.table_sources import Results, Table
from hsac.study import load
from hsac.study.graph import Graph
from hsac.study.record import read_index

SAME = 1e-9  # relative: what other versions of the numerical packages may change by rounding
MANY = 12  # names that an error line lists in full


def pick(what: str, found: str, allowed: Mapping[str, Iterable[str]]) -> str:
    """Find the name that a user means.

    Words of `found` (parted by spaces or ``/``) may be parts of one name.

    Args:
        what: What is named, for the error line.
        found: What the user wrote: a name, or an unambiguous part of one, in any case.
        allowed: Key -> its other names.

    Returns:
        The key.

    Raises:
        InputError: No name fits, in which case the nearest are told, or several do.
    """
    names = {key: [key, *others] for key, others in allowed.items()}
    words = found.casefold().replace("/", " ").split()
    # From strict to loose, so that a whole name is found although it is a part of others.
    fits: list[Callable[[str], bool]] = [
        lambda name: name == found,
        lambda name: name.casefold() == found.casefold(),
        lambda name: found.casefold() in name.casefold().split(" / "),
        lambda name: found.casefold() in name.casefold(),
        lambda name: bool(words) and all(word in name.casefold() for word in words),
    ]
    for fit in fits:
        matches = [key for key, some in names.items() if any(map(fit, some))]
        if len(matches) == 1:
            return matches[0]
        if matches:
            listed = _listed(matches, found)
            raise InputError(
                f"{what}: found {found!r}, which fits {listed}; allowed is one of them"
            )
    raise InputError(f"{what}: found {found!r}; allowed are {_listed(list(names), found)}")


def _listed(names: Sequence[str], found: str) -> str:
    if len(names) <= MANY:
        return ", ".join(map(repr, names))
    # No cutoff: however far off the word is, some names are told.
    near = difflib.get_close_matches(found, names, n=5, cutoff=0.0)
    return f"{', '.join(map(repr, near))} and {len(names) - len(near)} more"


def _is_empty(value: Any) -> bool:
    if value is None or value is pd.NA or value == "":
        return True
    return isinstance(value, float) and math.isnan(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(value: Any, other: Any) -> bool:
    """Tell whether two cells of a table hold the same.

    Args:
        value: Of the one cell.
        other: Of the other.

    Returns:
        They are equal, both empty, or numbers that differ by rounding.
    """
    if _is_empty(value) or _is_empty(other):
        return _is_empty(value) and _is_empty(other)
    if _is_number(value) and _is_number(other):
        return math.isclose(value, other, rel_tol=SAME, abs_tol=1e-12)
    return bool(value == other)


def gathered(rows: Iterable[tuple[str, Record]]) -> pd.DataFrame:
    """Gather records as `hsac.report.gather` does, with what was measured of the machine.

    Args:
        rows: Each record with its path relative to the results folder.

    Returns:
        One row a run.
    """
    # As in `runs.parquet`, since the order of seeds decides what a bootstrap draws.
    rows = sorted(rows, key=lambda r: (r[1]["experiment"], r[1]["method"], r[1]["seed"]))
    # The cost takes times, which `runs.parquet` has not.
    schema = pa.unify_schemas([run_schema(), MEASURED_SCHEMA])
    joined = [run_row(record, path) | measured_row(record) for path, record in rows]
    return pa.Table.from_pylist(joined, schema=schema).to_pandas()


class Stated(NamedTuple):
    """What a table states in a cell.

    Attributes:
        value: In the CSV file, None where the cell is not there.
        printed: The text, None where the column is not printed.
    """

    value: Any
    printed: str | None


@dataclass(frozen=True)
class Answer:
    """One cell of a table of results, and what its sidecar says of it.

    Attributes:
        root: The results folder.
        graph: The work of its study.
        sidecar: Of the table.
        row: Name of the row.
        column: Name of the column in the CSV file.
    """

    root: Path
    graph: Graph
    sidecar: Sidecar
    row: str
    column: str

    @property
    def table(self) -> str:
        """Name of the table."""
        return self.sidecar.table

    @property
    def csv(self) -> Path:
        """The table's file of full numbers."""
        # The cost lies apart, as it alone changes when the same runs are computed again.
        return self.root / ("cost" if self.table == "cost" else "tables") / f"{self.table}.csv"

    @property
    def how(self) -> Origin:
        """How the column is computed."""
        return self.sidecar.columns[self.column]

    @cached_property
    def made(self) -> Table:
        """How the table is made."""
        found = table_sources.table(self.table, self.graph.study.experiments)
        assert found is not None  # the sidecar was written by it
        return found

    @cached_property
    def roles(self) -> dict[str, list[str]]:
        """Role -> cells, runs and files, of the roles that the column uses."""
        places = self.sidecar.rows[self.row]
        # No column uses a configuration. It is told for rows that the theory trained networks for.
        used = [*self.how.uses, *(["configuration"] if "configuration" in places else [])]
        return {role: self.sidecar.lists[places[role]] for role in used if role in places}

    @cached_property
    def files(self) -> list[str]:
        """The files whose rows go in."""
        return [item for items in self.roles.values() for item in items if self._is_file(item)]

    def _is_file(self, item: str) -> bool:
        return item in self.sidecar.files

    @property
    def made_here(self) -> list[str]:
        """Those of the files that the workflow makes."""
        # The ledger is written by hand, so no command makes it.
        return [item for item in self.files if item not in self.roles.get("ledger", [])]

    @cached_property
    def cells(self) -> dict[str, list[RecordFile]]:
        """Cell -> its runs that go in."""
        found: dict[str, list[RecordFile]] = {}
        for role, items in self.roles.items():
            # The runs behind such rows were not kept.
            if role == "configuration":
                continue
            for item in items:
                name, single, seed = item.partition("#")
                if not self._is_file(item):
                    runs = self.sidecar.cells[name].runs
                    found[name] = [run for run in runs if not single or run.seed == int(seed)]
        return found

    @cached_property
    def chosen_among(self) -> dict[str, list[RecordFile]]:
        """As `cells`, of the cells that grids chose from, and of the trials of searches."""
        cells = self.sidecar.cells
        found: dict[str, list[RecordFile]] = {}
        for name, runs in self.cells.items():
            seeds = {run.seed for run in runs}
            for source in cells[name].made_from:
                # A grid chooses for each seed alone, so other seeds of its candidates play no part.
                found[source] = [run for run in cells[source].runs if run.seed in seeds]
            # A search chooses once for all seeds, by every run of its trials.
            found |= {source: cells[source].runs for source in cells[name].points}
        return found

    def path(self, cell: str, run: RecordFile) -> Path:
        """Find the record of a run.

        Args:
            cell: The cell that it belongs to.
            run: The run.

        Returns:
            Where its record lies.
        """
        return self.root / self.sidecar.cells[cell].folder / run.file

    @cached_property
    def changed(self) -> dict[Path, str]:
        """Files that are not as they were when the table was written, and what became of them."""
        found = {}
        for cell, runs in [*self.cells.items(), *self.chosen_among.items()]:
            for run in runs:
                path = self.path(cell, run)
                now = sha256_of(path)
                if now is None:
                    found[path] = "MISSING"
                elif now != run.sha256:
                    # A run writes its new digest into the index. An edit by hand does not.
                    rerun = now in self._indexed(cell)
                    again = "RUN AGAIN since the table was written"
                    found[path] = again if rerun else "EDITED or damaged since its run"
        for path, sha256 in self._other_files():
            now = sha256_of(path)
            if now != sha256:
                found[path] = "MISSING" if now is None else "CHANGED since the table was written"
        for cell in self.cells:
            path, variant = self.variant(cell)
            hashes = self.sidecar.cells[cell].variant
            # Without runs the table states no hash to compare with.
            if variant is not None and hashes and hashes != [_variant_hash(variant)]:
                found[path] = "EDITED or made again since the runs"
        return found

    def _other_files(self) -> Iterator[tuple[Path, str]]:
        """Yield the files beside records and variants, each with its digest."""
        cells = [self.sidecar.cells[cell] for cell in self.cells]
        # Measurements go in only where a file of them does.
        if self.files:
            for cell in cells:
                yield from ((self.root / row.file, row.sha256) for row in cell.measured)
        for file in self.files:
            yield self.root / file, self.sidecar.files[file]
        for cell in cells:
            if cell.choice:
                yield self.root / cell.choice.file, cell.choice.sha256
        yield self.csv, self.sidecar.sha256

    def variant(self, cell: str) -> tuple[Path, Mapping[str, Any] | None]:
        """Find the variant of a cell.

        Args:
            cell: The cell.

        Returns:
            Where the variant lies, and its content, None when it is not here.
        """
        path = self.graph.variant(self.sidecar.cells[cell].experiment)
        return path, read_json(path) if path.is_file() else None

    def _indexed(self, cell: str) -> set[str]:
        """Return the digests of the records that the cell's bundle indexes name now."""
        content, found = self.sidecar.cells[cell], set()
        for name in content.indexes:
            index = self.root / content.folder / name
            if index.is_file():
                found |= {sha256 for _, _, sha256 in read_index(index)[1]}
        return found

    @cached_property
    def records(self) -> dict[Path, Record]:
        """The records that are there and can be read, by path."""
        found = {}
        for cell, runs in self.cells.items():
            for path in (self.path(cell, run) for run in runs):
                with contextlib.suppress(InputError):  # `changed` says it
                    found[path] = read_json(path)
        return found

    def recomputed(self) -> dict[str, dict[str, Any]]:
        """Compute the table now, from the listed records and files alone.

        Returns:
            Row -> column -> value.
        """
        rows = [
            (path.relative_to(self.root).as_posix(), record)
            for path, record in self.records.items()
        ]
        ledger = [self.root / item for item in self.roles.get("ledger", [])]
        # Nothing but what is listed goes in, or a gap in the list would not show.
        numbers = self.made.numbers(Results(self.graph, gathered(rows), *ledger))
        return {provenance.label(self.made.key, row): row for row in provenance.rows_of(numbers)}

    @cached_property
    def stated(self) -> Stated:
        """What the table states in the cell."""
        numbers = provenance.read_numbers(self.csv)
        rows = provenance.rows_of(numbers)
        names = [provenance.label(self.made.key, row) for row in rows]
        if self.row not in names or self.column not in numbers:
            return Stated(None, None)
        place = names.index(self.row)
        value = rows[place][self.column]
        shown = self.made.shown(numbers)
        for heading, column in self.sidecar.headings.items():
            if column == self.column:
                return Stated(value, str(shown[heading].iloc[place]))
        return Stated(value, None)


def sha256_of(path: Path) -> str | None:
    """Compute the digest of a file.

    Args:
        path: The file.

    Returns:
        Its SHA-256, None when it is not there.
    """
    return file_sha256(path) if path.is_file() else None


def _variant_hash(variant: Mapping[str, Any]) -> str:
    # A variant's hash is that of all its other keys.
    return digest({key: value for key, value in variant.items() if key != "hash"})


def find(root: Path, table: str, row: str, column: str) -> Answer:
    """Find the cell that three names mean: CSV names, printed ones, or an unambiguous part.

    Args:
        root: The results folder.
        table: The table.
        row: The row.
        column: The column.

    Returns:
        The cell.

    Raises:
        InputError: A name fits nothing, in which case the nearest are told, or a file is missing.
    """
    csvs = provenance.csv_paths(root)
    if not csvs:
        load.scale_file("default")  # outside of a project nothing could make them
        missing = Path(root) / "tables"
        raise InputError(f"{missing} is missing; {workflow_of(missing)} makes it")
    name = pick("TABLE", table, {name: [] for name in sorted(csvs)})
    path = provenance.sidecar_path(root, name)
    if not path.is_file():
        again = f"{workflow_of(path)} makes the tables again"
        raise InputError(f"{path} is missing, so nothing is known of {name}; {again}")
    sidecar, study = Sidecar.read(path), load.read(Path(root) / "settings.json")
    if not sidecar.rows:
        raise InputError(f"ROW: found {row!r}, but {csvs[name]} has no rows")
    made = table_sources.table(name, study.experiments)
    if made is None:
        raise InputError(f"{path}: settings.json has no experiment {name}; {again}")
    chosen = pick("ROW", row, _row_names(made, sidecar, csvs[name]))
    found = _pick_column(sidecar, column)
    if found not in sidecar.columns:
        said = f"COLUMN: found {found!r}, of which {path} says nothing"
        raise InputError(f"{said}; this is a fault of hsac")
    return Answer(Path(root), Graph(study, Path(root)), sidecar, chosen, found)


def _pick_column(sidecar: Sidecar, column: str) -> str:
    """Find a column by its name, by a part of what is printed, or by a part of its name."""
    printed: dict[str, list[str]] = {}
    for heading, csv in sidecar.headings.items():
        printed.setdefault(csv, []).append(heading)
    unprinted: dict[str, list[str]] = {csv: [] for csv in sidecar.columns if csv not in printed}
    # A part of a heading may fit unprinted names, too. Those are tried afterwards.
    try:
        return pick("COLUMN", column, printed | {csv: [] for csv in unprinted if csv == column})
    except InputError:
        return pick("COLUMN", column, printed | unprinted)


def _row_names(made: Table, sidecar: Sidecar, csv: Path) -> dict[str, list[str]]:
    """Return row -> what is printed in its key columns."""
    numbers = provenance.read_numbers(csv)
    rows = [provenance.label(made.key, row) for row in provenance.rows_of(numbers)]
    if set(rows) != set(sidecar.rows):  # the CSV was edited, which is said later
        return {row: [] for row in sidecar.rows}
    printed = {column: heading for heading, column in sidecar.headings.items()}
    cells = made.shown(numbers)[[printed[name] for name in made.key if name in printed]].to_numpy()
    return {row: [" / ".join(map(str, texts))] for row, texts in zip(rows, cells, strict=True)}
