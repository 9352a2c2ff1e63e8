"""`hsac why`: what lies behind one cell of a table, whether it is unchanged, and how to compute it
again.
"""

import contextlib
import difflib
import json
import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from hsac import config, layout, plugins
from hsac.data import catalogue
from hsac.errors import InputError
from hsac.files import canonical, digest, file_sha256, read_json
from hsac.report import provenance
from hsac.report.gather import MEASURED_SCHEMA, measured_row, run_row, run_schema
from hsac.report.provenance import Results, Table
from hsac.study.fingerprint import of_training
from hsac.study.record import read_index

SAME = 1e-9  # relative: what other versions of the numerical packages may change by rounding
TRAINED_AGAIN = {
    "informed": "certify",
    "hypergradient": "hypergradient",
}  # folder of the theory -> what fills it
MANY = 12  # names that an error line lists in full


def pick(what: str, found: str, allowed: Mapping[str, Iterable[str]]) -> str:
    """The key of ``allowed`` that ``found`` means: one of its names, or an unambiguous part of one,
    in any case.

    Words of ``found`` (parted by spaces or ``/``) may be parts of one name. Raises InputError
    naming the nearest keys when there is none, and all that fit when there are several.
    """
    names = {key: [key, *others] for key, others in allowed.items()}
    words = found.casefold().replace("/", " ").split()
    fits = [
        lambda name: name == found,
        lambda name: name.casefold() == found.casefold(),
        lambda name: found.casefold() in name.casefold().split(" / "),
        lambda name: found.casefold() in name.casefold(),
        lambda name: bool(words) and all(word in name.casefold() for word in words),
    ]
    for fit in fits:
        matches = [key for key, some in names.items() if any(fit(name) for name in some)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise InputError(
                f"{what}: found {found!r}, which fits {_listed(matches, found)}; allowed is one of"
                " them"
            )
    raise InputError(f"{what}: found {found!r}; allowed are {_listed(list(names), found)}")


def _listed(names: Sequence[str], found: str) -> str:
    if len(names) <= MANY:
        return ", ".join(map(repr, names))
    near = difflib.get_close_matches(found, names, n=5, cutoff=0.0)
    return f"{', '.join(map(repr, near))} and {len(names) - len(near)} more"


def same(value: Any, other: Any) -> bool:
    """Whether two cells hold the same: equal, both empty, or numbers that differ by rounding."""
    empty = [
        v is None or v is pd.NA or v == "" or (isinstance(v, float) and math.isnan(v))
        for v in (value, other)
    ]
    if any(empty):
        return all(empty)
    numbers = [isinstance(v, int | float) and not isinstance(v, bool) for v in (value, other)]
    return (
        math.isclose(value, other, rel_tol=SAME, abs_tol=1e-12)
        if all(numbers)
        else bool(value == other)
    )


def gathered(rows: Iterable[tuple[str, dict[str, Any]]]) -> pd.DataFrame:
    """Records, each with its path relative to the results folder, as the gathered tables of runs
    and of what was measured hold them, joined.
    """
    rows = sorted(rows, key=lambda r: (r[1]["experiment"], r[1]["method"], r[1]["seed"]))
    schema = pa.unify_schemas([run_schema(), MEASURED_SCHEMA])
    joined = [run_row(record, path) | measured_row(record) for path, record in rows]
    return pa.Table.from_pylist(joined, schema=schema).to_pandas()


@dataclass(frozen=True)
class Answer:
    """One cell of a table of the results folder ``root``, and what its sidecar says of it."""

    root: Path
    settings: dict[str, Any]
    sidecar: dict[str, Any]
    row: str
    column: str

    @property
    def table(self) -> str:
        """Name of the table."""
        name: str = self.sidecar["table"]
        return name

    @property
    def csv(self) -> Path:
        """The table's file of full numbers."""
        return self.root / ("cost" if self.table == "cost" else "tables") / f"{self.table}.csv"

    @property
    def how(self) -> dict[str, Any]:
        """How the column is computed, as `columns.Origin`."""
        found: dict[str, Any] = self.sidecar["columns"][self.column]
        return found

    @cached_property
    def made(self) -> Table:
        """How the table is made."""
        found = provenance.table(self.table, self.settings["experiments"])
        assert found is not None  # the sidecar was written by it
        return found

    @cached_property
    def roles(self) -> dict[str, list[str]]:
        """Role -> cells, runs and files, of the roles that the column uses."""
        places = self.sidecar["rows"][self.row]
        used = [*self.how["uses"], *(["configuration"] if "configuration" in places else [])]
        return {role: self.sidecar["lists"][places[role]] for role in used if role in places}

    @cached_property
    def files(self) -> list[str]:
        """The files whose rows go in."""
        return [
            item for items in self.roles.values() for item in items if item in self.sidecar["files"]
        ]

    @property
    def made_here(self) -> list[str]:
        """Those of the files that the workflow makes."""
        return [item for item in self.files if item not in self.roles.get("ledger", [])]

    @cached_property
    def cells(self) -> dict[str, list[list[Any]]]:
        """Cell -> its runs that go in, as in `provenance.Cell`."""
        out: dict[str, list[list[Any]]] = {}
        for role, items in self.roles.items():
            for item in items if role != "configuration" else []:
                name, single, seed = item.partition("#")
                if item not in self.files:
                    runs = self.sidecar["cells"][name]["runs"]
                    out[name] = [run for run in runs if not single or run[0] == int(seed)]
        return out

    @cached_property
    def chosen_among(self) -> dict[str, list[list[Any]]]:
        """As `cells`, of the cells that the grids among them chose from, and of the points that
        searches tried.
        """
        cells = self.sidecar["cells"]
        out: dict[str, list[list[Any]]] = {}
        for name, runs in self.cells.items():
            seeds = {run[0] for run in runs}
            for source in cells[name]["made_from"]:
                out[source] = [run for run in cells[source]["runs"] if run[0] in seeds]
            out |= {source: cells[source]["runs"] for source in cells[name].get("points", [])}
        return out

    def path(self, cell: str, run: Sequence[Any]) -> Path:
        """Where the record of a run lies."""
        return self.root / self.sidecar["cells"][cell]["folder"] / run[1]

    @cached_property
    def changed(self) -> dict[Path, str]:
        """Files that are not what they were when the table was written, and what became of them."""
        out = {}
        for cell, runs in [*self.cells.items(), *self.chosen_among.items()]:
            for run in runs:
                path = self.path(cell, run)
                now = _sha256(path)
                if now is None:
                    out[path] = "MISSING"
                elif now != run[3]:
                    rerun = now in self._indexed(cell)
                    out[path] = (
                        "RUN AGAIN since the table was written"
                        if rerun
                        else "EDITED or damaged since its run"
                    )
        measured = [
            item[1:] for cell in self.cells for item in self.sidecar["cells"][cell]["measured"]
        ]
        others = [(self.root / file, sha256) for file, sha256 in measured if self.files]
        others += [(self.root / file, self.sidecar["files"][file]) for file in self.files]
        choices = [self.sidecar["cells"][cell].get("choice") for cell in self.cells]
        others += [(self.root / choice[0], choice[1]) for choice in choices if choice]
        others.append((self.csv, self.sidecar["sha256"]))
        for path, sha256 in others:
            now = _sha256(path)
            if now != sha256:
                out[path] = "MISSING" if now is None else "CHANGED since the table was written"
        for cell in self.cells:
            path, variant = self.variant(cell)
            hashes = self.sidecar["cells"][cell]["variant"]
            if (
                variant is not None
                and hashes
                and hashes != [digest({k: variant[k] for k in variant if k != "hash"})]
            ):
                out[path] = "EDITED or made again since the runs"
        return out

    def variant(self, cell: str) -> tuple[Path, dict[str, Any] | None]:
        """Where the cell's variant lies, and its content, None when it is not here."""
        path = layout.variant_path(
            self.settings["experiments"][self.sidecar["cells"][cell]["experiment"]]
        )
        return path, read_json(path) if path.is_file() else None

    def _indexed(self, cell: str) -> set[str]:
        """SHA-256 of the records that the cell's bundle indexes name now."""
        content = self.sidecar["cells"][cell]
        indexes = [self.root / content["folder"] / name for name in content["indexes"]]
        return {
            sha256 for index in indexes if index.is_file() for _, _, sha256 in read_index(index)[1]
        }

    @cached_property
    def records(self) -> dict[Path, dict[str, Any]]:
        """The records that are there and can be read, by path."""
        out = {}
        for path in (self.path(cell, run) for cell, runs in self.cells.items() for run in runs):
            with contextlib.suppress(InputError):  # `changed` says it
                out[path] = read_json(path)
        return out

    def recomputed(self) -> dict[str, dict[str, Any]]:
        """Row -> column -> value of the table computed now from the listed records and files alone."""
        rows = [
            (path.relative_to(self.root).as_posix(), record)
            for path, record in self.records.items()
        ]
        ledger = [self.root / item for item in self.roles.get("ledger", [])]
        numbers = self.made.numbers(Results(self.settings, self.root, gathered(rows), *ledger))
        return {provenance.label(self.made.key, row): row for row in provenance.records(numbers)}

    @cached_property
    def stated(self) -> tuple[Any, str | None]:
        """The cell's value in the CSV, and what is printed for it; None where the column is not
        printed.
        """
        numbers = provenance.read_numbers(self.csv)
        rows = [provenance.label(self.made.key, row) for row in provenance.records(numbers)]
        if self.row not in rows or self.column not in numbers:
            return None, None
        place = rows.index(self.row)
        headings = [
            heading for heading, column in self.sidecar["headings"].items() if column == self.column
        ]
        shown = self.made.shown(numbers)
        return provenance.records(numbers)[place][self.column], (
            str(shown[headings[0]].iloc[place]) if headings else None
        )


def _sha256(path: Path) -> str | None:
    return file_sha256(path) if path.is_file() else None


def find(root: Path, table: str, row: str, column: str) -> Answer:
    """The cell that the three names mean: CSV names, printed ones, or an unambiguous part.

    Raises InputError naming what was not found and the nearest that is allowed, or the file that is
    missing.
    """
    csvs = provenance.csv_paths(root)
    if not csvs:
        raise InputError(f"{Path(root) / 'tables'} is missing; a plain `snakemake` run makes it")
    name = pick("TABLE", table, {name: [] for name in sorted(csvs)})
    path = provenance.sidecar_path(root, name)
    if not path.is_file():
        raise InputError(
            f"{path} is missing, so nothing is known of {name}; `snakemake` makes the tables again"
        )
    sidecar, settings = read_json(path), read_json(Path(root) / "settings.json")
    if not sidecar["rows"]:
        raise InputError(f"ROW: found {row!r}, but {csvs[name]} has no rows")
    made = provenance.table(name, settings["experiments"])
    if made is None:
        raise InputError(
            f"{path}: settings.json has no experiment {name}; `snakemake` makes the tables again"
        )
    chosen = pick("ROW", row, _row_names(made, sidecar, csvs[name]))
    printed: dict[str, list[str]] = {}
    for heading, csv in sidecar["headings"].items():
        printed.setdefault(csv, []).append(heading)
    unprinted: dict[str, list[str]] = {csv: [] for csv in sidecar["columns"] if csv not in printed}
    try:
        found = pick("COLUMN", column, printed | {csv: [] for csv in unprinted if csv == column})
    except InputError:
        found = pick("COLUMN", column, printed | unprinted)
    if found not in sidecar["columns"]:
        raise InputError(
            f"COLUMN: found {found!r}, of which {path} says nothing; this is a fault of hsac"
        )
    return Answer(Path(root), settings, sidecar, chosen, found)


def _row_names(made: Table, sidecar: dict[str, Any], csv: Path) -> dict[str, list[str]]:
    """Row -> what is printed in its key columns."""
    numbers = provenance.read_numbers(csv)
    rows = [provenance.label(made.key, row) for row in provenance.records(numbers)]
    if set(rows) != set(sidecar["rows"]):  # the CSV was edited, which is said later
        return {row: [] for row in sidecar["rows"]}
    shown, printed = (
        made.shown(numbers),
        {column: heading for heading, column in sidecar["headings"].items()},
    )
    cells = shown[[printed[name] for name in made.key if name in printed]].to_numpy()
    return {row: [" / ".join(map(str, texts))] for row, texts in zip(rows, cells, strict=True)}


def explain(root: Path, table: str, row: str, column: str) -> tuple[str, bool]:
    """What lies behind a cell as text, and whether all of it is as it was when the table was
    written.

    Raises InputError as `find` does.
    """
    path = Path(root) / "settings.json"
    settings = read_json(path) if path.is_file() else {}  # `find` says what is missing
    with plugins.using(plugins.folders(settings)):
        return _explain(find(root, table, row, column))


def _explain(answer: Answer) -> tuple[str, bool]:
    value, printed = answer.stated
    how, changed = answer.how, answer.changed
    lines = [f"{answer.table}: {answer.row}: {answer.column}", _line("value", _text(value))]
    if printed is not None:
        lines.append(_line("printed", printed))
    lines.append(_line("computed", f"{how['how']}; {how['function']}"))
    left_out = [
        run for runs in answer.cells.values() for run in runs if how["finished"] and run[2] != "ok"
    ]
    of = " of the finished runs" if how["finished"] and answer.cells else ""
    lines.append(
        _line("from", f"{how['field']}{of}" + f" ({len(left_out)} did not finish)" * bool(left_out))
    )
    sound = not changed
    try:
        value_now = answer.recomputed().get(answer.row, {}).get(answer.column)
        agrees = same(value, value_now)
        sound &= agrees
        lines.append(
            _line(
                "now",
                f"{_text(value_now)}, {'the same' if agrees else 'DIFFERENT'}, from what is listed",
            )
        )
    except (InputError, LookupError, TypeError, ValueError) as error:
        if not changed:
            raise
        lines.append(
            _line(
                "now",
                f"NOT COMPUTED: what is listed was changed so that it cannot be used ({error!r})",
            )
        )
    packages = ", ".join(
        f"{name} {version}" for name, version in answer.sidecar["versions"].items()
    )
    lines.append(_line("table", f"{answer.csv}, {_state(answer.csv, changed)}"))
    lines.append(
        _line("", f"SHA-256 {answer.sidecar['sha256']}; code {answer.sidecar['code']}; {packages}")
    )
    for role, items in answer.roles.items():
        for item in items:
            lines += _file(answer, item) if item in answer.files else _cell(answer, role, item)
    if not answer.cells and not answer.files:
        lines.append(
            _line("", "no run and no file goes in" + "; there is no such run" * same(value, None))
        )
    lines += _commands(answer)
    if not sound:
        lines += ["", "NOT as it was when the table was written; see the words in capitals"]
    return "\n".join(lines), sound


def _line(name: str, text: str) -> str:
    return f"{name:<14}{text}".rstrip()


def _text(value: Any) -> str:
    return "–" if same(value, None) else str(value)


def _state(path: Path, changed: Mapping[Path, str]) -> str:
    return changed.get(path, "unchanged")


def _file(answer: Answer, item: str) -> list[str]:
    path = answer.root / item
    return [
        "",
        _line("rows", f"{os.path.normpath(path)}, {_state(path, answer.changed)}"),
        _line("", f"SHA-256 {answer.sidecar['files'][item]}"),
    ]


def _cell(answer: Answer, role: str, item: str) -> list[str]:
    """The lines on one cell: in full where it is the row's own, its records and hashes otherwise."""
    name = item.partition("#")[0]
    cell = answer.sidecar["cells"][name]
    runs = answer.cells.get(name, [])
    lines = ["", f"{cell['method']} on {cell['experiment']} ({role})"]
    if role == "configuration":
        lines.append(
            _line(
                "runs",
                "trained again on parts of the examples; the rows above are all that is kept",
            )
        )
    lines += _records(answer, "record", name, runs)
    seeds = {run[0] for run in runs}
    for seed, file, sha256 in cell["measured"] if answer.files else []:
        if seed in seeds:
            path = answer.root / file
            lines.append(_line("measured", f"{path}"))
            lines.append(
                _line("", f"seed {seed}, SHA-256 {sha256}, {_state(path, answer.changed)}")
            )
    if cell["made_from"]:
        lines.append(_line("chosen among", ", ".join(cell["made_from"])))
        chosen = {
            r["seed"]: r["chosen"] for r in answer.records.values() if r["method"] == cell["method"]
        }
        lines.append(
            _line(
                "", ", ".join(f"seed {seed}: {method}" for seed, method in sorted(chosen.items()))
            )
        )
        for source in cell["made_from"]:
            lines += _records(answer, "", source, answer.chosen_among.get(source, []))
    if cell.get("choice"):
        path = answer.root / cell["choice"][0]
        lines += [
            _line("point", f"{path}, {_state(path, answer.changed)}"),
            _line("", f"SHA-256 {cell['choice'][1]}"),
        ]
        mine = [
            r
            for r in answer.records.values()
            if (r["experiment"], r["method"]) == (cell["experiment"], cell["method"])
        ]
        lines += [_line("", text) for text in dict.fromkeys(map(_tuned, mine))]
        for source in cell["points"] if role not in ("reference", "family") else []:
            title = f"tried point {answer.sidecar['cells'][source]['point']}"
            lines += _records(answer, title, source, answer.chosen_among.get(source, []))
    for record in answer.records.values():
        if (
            record["method"] == cell["method"]
            and record["experiment"] == cell["experiment"]
            and "search" in record
        ):
            lines.append(_line("searched", _searched(record)))
    made = config.cell(answer.settings, cell["experiment"], cell["method"])
    own = [r for p, r in answer.records.items() if cell["folder"] in p.as_posix()]
    if made["hash"] == cell["config"]:
        now = "" if cell["made_from"] else of_training(own[0]["config"] if own else made["config"])
        present = (
            ""
            if not now
            else ", the present code"
            if [now] == cell["code"]
            else f"; the present code is {now}"
        )
    else:
        present = ""
    lines.append(
        _line("code", (", ".join(cell["code"]) + present) if runs else "not kept with these rows")
    )
    for path, sha256 in sorted({file for r in own for file in r.get("plugins", {}).items()}):
        found = _sha256(Path(path))
        state = "MISSING" if found is None else "unchanged" if found == sha256 else "edited since"
        lines.append(_line("plugin", f"{path}, SHA-256 {sha256}, {state}"))
    lines.append(
        _line(
            "configuration",
            cell["config"] + ("" if made["hash"] == cell["config"] else ", not present"),
        )
    )
    if role not in ("reference", "family"):
        settings = own[0]["config"] if own else made["config"]
        lines += [_line("", f"{key}: {json.dumps(part)}") for key, part in settings.items()]
        lines += _data(answer, name)
        places = dict.fromkeys(run[4] for run in runs)
        for place in places:
            lines += _environment(answer.sidecar["environments"][place])
    return lines


def _tuned(record: dict[str, Any]) -> str:
    """What a searched method's run says of its search."""
    found = record["tuning"]
    score = (
        f"mean validation accuracy {found['score']:.4g} over seeds"
        f" {', '.join(map(str, found['seeds']))}"
    )
    return (
        f"point {found['point']} of {record['tried']} ({found['different']} different):"
        f" {record['chosen']}; {score}"
    )


def _searched(record: dict[str, Any]) -> str:
    """What a searching rule tried for one seed, and which training the run is."""
    found = record["search"]
    tried = ["/".join(f"{c:.3g}" for c in one["curvature"]) for one in found["tried"]]
    return (
        f"seed {record['seed']}: curvatures {', '.join(tried)}; training {found['chosen'] + 1} is"
        " the run"
    )


def _records(answer: Answer, title: str, cell: str, runs: Iterable[Sequence[Any]]) -> list[str]:
    lines = []
    for run in runs:
        path = answer.path(cell, run)
        lines.append(_line(title, f"{path}"))
        lines.append(
            _line("", f"seed {run[0]}, {run[2]}, SHA-256 {run[3]}, {_state(path, answer.changed)}")
        )
    return lines


def _data(answer: Answer, name: str) -> list[str]:
    """The lines on a cell's variant and dataset."""
    cell = answer.sidecar["cells"][name]
    experiment = answer.settings["experiments"][cell["experiment"]]
    recipe = {key: value for key, value in experiment["variant"].items() if key != "name"}
    stated = ", ".join(cell["variant"]) or "not kept with these rows"
    lines = [_line("variant", f"{experiment['variant']['name']}, hash {stated}")]
    lines.append(_line("", f"recipe {json.dumps(recipe)}"))
    path, variant = answer.variant(name)
    if variant is None:
        return [*lines, _line("", f"{path} is not here"), _line("dataset", experiment["dataset"])]
    content = variant["data_sha256"]
    known = "as" if catalogue.entry(experiment["dataset"]).sha256 == content else "not as"
    lines.append(_line("", f"{path}, {_state(path, answer.changed)}"))
    text = f"{experiment['dataset']}, content SHA-256 {content}, {known} in the catalogue"
    return [*lines, _line("dataset", text)]


def _environment(environment: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    others = ", ".join(
        f"{name} {value}" for name, value in environment.items() if name != "versions"
    )
    return [_line("environment", others), _line("", versions)]


def _commands(answer: Answer) -> list[str]:
    """The commands that compute the cell again: into a scratch folder, and in place."""
    if not answer.cells and not answer.made_here:
        return []
    beside, in_place = beside_commands(answer), in_place_commands(answer)
    lines = [
        "",
        "to compute just this cell again and leave the results alone:",
        *(f"  {line}" for line in beside),
    ]
    if answer.cells:
        lines += [
            (
                "  (`diff` says nothing when all final weights are the same bit by bit; they are"
                " where versions, device"
            ),
            "  and the seeds trained together are)",
        ]
    return [
        *lines,
        (
            "to compute it again in place (runs whose records lie there are kept, even with"
            " --force, so they go first):"
        ),
        *(f"  {line}" for line in in_place),
        (
            "  (the last makes the tables and all else that is not up to date, which `hsac stale`"
            " lists)"
        ),
    ]


def _with_candidates(answer: Answer) -> list[str]:
    """The cells behind the cell and those that its grids chose from; the latter first."""
    return list(dict.fromkeys([*answer.chosen_among, *answer.cells]))


def _scratch(cell: dict[str, Any], index: str = "") -> str:
    """Where a cell is computed again: its index, or, without one, its records; of a point these lie
    beside.
    """
    place, inside = [cell["experiment"], cell["method"]], [Path(index).name] if index else []
    if cell.get("point") is not None:
        place = ["points", *place, str(cell["point"]) if index else cell["config"]]
    return f'"$scratch"/{shlex.quote("/".join((*place, *inside)))}'


def _of(answer: Answer, experiment: str) -> str:
    """Options that the stages share: settings and experiment."""
    return f"--settings {shlex.quote(str(answer.root / 'settings.json'))} --experiment {experiment}"


def _variant(answer: Answer, experiment: str) -> str:
    return (
        "--variant"
        f" {shlex.quote(layout.variant_path(answer.settings['experiments'][experiment]).as_posix())}"
    )


def _points(answer: Answer, kind: str, experiment: str) -> str:
    """The option that names what the searches came to of the methods that the theory trains again."""
    content = answer.settings["experiments"][experiment][kind]
    methods = content if kind == "informed" else [content["method"]]
    tried = [config.cell(answer.settings, experiment, method) for method in methods]
    points = [
        shlex.quote(layout.point_path(answer.root, c).as_posix())
        for c in tried
        if config.searched(c)
    ]
    return f" --points {' '.join(points)}" if points else ""


def beside_commands(answer: Answer) -> list[str]:
    """Shell lines that compute the cell's runs and rows again in a new folder ``$scratch``."""
    lines = ["scratch=$(mktemp -d)"]
    threads = {
        answer.sidecar["environments"][run[4]].get("threads", 1)
        for r in answer.cells.values()
        for run in r
    }
    lines += [f"export OMP_NUM_THREADS={count}" for count in sorted(threads)[:1]]
    for name in _with_candidates(answer):
        cell = answer.sidecar["cells"][name]
        method = f"{_of(answer, cell['experiment'])} --method {shlex.quote(cell['method'])}"
        option = "" if cell.get("point") is None else f" --candidate {cell['point']}"
        if cell.get("points"):
            tried = [answer.sidecar["cells"][source] for source in cell["points"]]
            indexes = " ".join(_scratch(one, index) for one in tried for index in one["indexes"])
            output = '"$scratch"/points/' + shlex.quote(
                f"{cell['experiment']}/{cell['method']}/point.json"
            )
            lines.append(f"hsac job tune {method} --candidates {indexes} --output {output}")
            option = f" --point {output}"
        for index, seeds in cell["indexes"].items():
            of = f"{method} --seeds {' '.join(map(str, seeds))}"
            if cell["made_from"]:
                sources = [_scratch(answer.sidecar["cells"][c], index) for c in cell["made_from"]]
                lines.append(
                    f"hsac job select {of} --candidates {' '.join(sources)} --index"
                    f" {_scratch(cell, index)}"
                )
            else:
                variant = _variant(answer, cell["experiment"])
                stage = "train" if cell.get("point") is None else "points"
                options = f"{of} {variant}{option} --index {_scratch(cell, index)}"
                lines.append(f"hsac job {stage} {options}")
        if not cell["made_from"]:
            folder = shlex.quote((answer.root / cell["folder"]).as_posix())
            lines.append(f"diff -rq -x '*.json' {folder} {_scratch(cell)}")
    for item in answer.made_here:
        path = Path(item)
        kind, experiment, output = path.parent.name, path.stem, f'"$scratch"/{item}'
        of, settings = _of(answer, experiment), shlex.quote(str(answer.root / "settings.json"))
        if kind == "landscape":
            cells = [answer.sidecar["cells"][name] for name in answer.cells]
            indexes = " ".join(_scratch(cell, index) for cell in cells for index in cell["indexes"])
            lines.append(
                f"hsac job measure {of} {_variant(answer, experiment)} --indexes {indexes} --output"
                f" {output}"
            )
        elif kind in TRAINED_AGAIN:
            option = _points(answer, kind, experiment)
            lines.append(
                f"hsac job {TRAINED_AGAIN[kind]} {of} {_variant(answer, experiment)}{option} --output"
                f" {output}"
            )
        else:
            lines.append(f"hsac job theory {path.stem} --settings {settings} --output {output}")
    return lines


def in_place_commands(answer: Answer) -> list[str]:
    """Shell lines that train the cell's runs again where they lie, and make the tables of them."""
    gone: list[str] = []
    targets: list[str] = []
    for name in _with_candidates(answer):
        cell = answer.sidecar["cells"][name]
        folder = answer.root / cell["folder"]
        gone += [(folder / run[1]).as_posix() for run in cell["runs"] if not cell["made_from"]]
        gone += [(answer.root / item[1]).as_posix() for item in cell["measured"] if answer.files]
        targets += [os.path.normpath(folder / index) for index in cell["indexes"]]
        if cell.get("choice"):
            gone.append((answer.root / cell["choice"][0]).as_posix())
            targets.append(gone[-1])
    targets += [(answer.root / item).as_posix() for item in answer.made_here]
    options = "--cores 1" + _overrides(answer.settings)
    lines = [f"rm -f {' '.join(map(shlex.quote, gone))}"] if gone else []
    lines.append(
        f"snakemake {' '.join(map(shlex.quote, dict.fromkeys(targets)))} {options} --force"
    )
    made = [
        shlex.quote(path.as_posix())
        for path in dict.fromkeys([answer.csv.parent, answer.root / "provenance"])
    ]
    return [*lines, f"snakemake {' '.join(made)} {options}"]


def _overrides(settings: dict[str, Any]) -> str:
    """The --config that gives these settings: the scale, and the keys in which they differ from its
    files.
    """
    try:
        present = config.load(settings["scale"])
    except InputError:  # not in the project's folder, or its configuration no longer loads
        present = settings
    changed = {
        key: value for key, value in settings.items() if key in present and present[key] != value
    }
    given = [f"scale={settings['scale']}"] * (settings["scale"] != "default")
    given += [shlex.quote(f"{key}={canonical(value)}") for key, value in changed.items()]
    return f" --config {' '.join(given)}" * bool(given)
