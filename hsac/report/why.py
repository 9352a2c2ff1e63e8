"""Explain a cell of a table for `hsac why`.

That is what lies behind it, whether that is unchanged, and how to compute the cell again.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hsac import plugins
from hsac.data import catalogue
from hsac.errors import InputError
from hsac.report.answer import Answer, find, same, sha256_of
from hsac.report.columns import Record
from hsac.report.provenance import CellFiles, Environment, RecordFile
from hsac.report.recompute import command_lines
from hsac.study import load, resolve
from hsac.study.fingerprint import of_training

NOT_KEPT = "not kept with these rows"
BESIDE = ("reference", "family")  # roles whose cells are told in short


def explain(root: Path, table: str, row: str, column: str) -> tuple[str, bool]:
    """Explain a cell of a table.

    Args:
        root: The results folder.
        table: Name of the table, as of `hsac.report.answer.find`.
        row: Name of the row.
        column: Name of the column.

    Returns:
        The explanation, and whether all that lies behind the cell is as it was when the table was
        written.

    Raises:
        InputError: A name fits nothing, or a file is missing.
    """
    path = Path(root) / "settings.json"
    folders = load.read(path).plugins if path.is_file() else []  # `find` says what is missing
    # Columns of plugins are there only while their folders are in use.
    with plugins.using(folders):
        return _explain(find(root, table, row, column))


def _explain(answer: Answer) -> tuple[str, bool]:
    stated, how, changed = answer.stated, answer.how, answer.changed
    lines = [f"{answer.table}: {answer.row}: {answer.column}", _line("value", _text(stated.value))]
    if stated.printed is not None:
        lines.append(_line("printed", stated.printed))
    lines.append(_line("computed", f"{how.how}; {how.function}"))
    lines.append(_line("from", f"{how.field}{_left_out(answer)}"))
    now, agrees = _now(answer)
    lines.append(_line("now", now))
    versions = answer.sidecar.versions.items()
    packages = ", ".join(f"{name} {version}" for name, version in versions)
    lines.append(_line("table", f"{answer.csv}, {_state(answer.csv, changed)}"))
    code = f"code {answer.sidecar.code}; {packages}"
    lines.append(_line("", f"SHA-256 {answer.sidecar.sha256}; {code}"))
    for role, items in answer.roles.items():
        for item in items:
            lines += _file(answer, item) if item in answer.files else _cell(answer, role, item)
    if not answer.cells and not answer.files:
        nothing = "no run and no file goes in"
        # An empty entry with nothing behind it is sound.
        if same(stated.value, None):
            nothing += "; there is no such run"
        lines.append(_line("", nothing))
    lines += command_lines(answer)
    is_sound = agrees and not changed
    if not is_sound:
        lines += ["", "NOT as it was when the table was written; see the words in capitals"]
    return "\n".join(lines), is_sound


def _left_out(answer: Answer) -> str:
    """Say which of the runs go in."""
    if not answer.how.finished or not answer.cells:
        return ""
    runs = [run for runs in answer.cells.values() for run in runs]
    count = len([run for run in runs if run.status != "ok"])
    return " of the finished runs" + (f" ({count} did not finish)" if count else "")


def _now(answer: Answer) -> tuple[str, bool]:
    """Compute the cell now; say what comes out and whether it is what the table states."""
    try:
        value = answer.recomputed().get(answer.row, {}).get(answer.column)
    except (InputError, LookupError, TypeError, ValueError) as error:
        # Where nothing was changed the fault is ours, and must not be hidden.
        if not answer.changed:
            raise
        said = "NOT COMPUTED: what is listed was changed so that it cannot be used"
        return f"{said} ({error!r})", False
    agrees = same(answer.stated.value, value)
    return f"{_text(value)}, {'the same' if agrees else 'DIFFERENT'}, from what is listed", agrees


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
        _line("", f"SHA-256 {answer.sidecar.files[item]}"),
    ]


def _cell(answer: Answer, role: str, item: str) -> list[str]:
    """Explain one cell: in full where it is the row's own, its records and hashes otherwise."""
    name = item.partition("#")[0]
    cell, runs = answer.sidecar.cells[name], answer.cells.get(name, [])
    lines = ["", f"{cell.method} on {cell.experiment} ({role})"]
    if role == "configuration":
        kept = "trained again on parts of the examples; the rows above are all that is kept"
        lines.append(_line("runs", kept))
    lines += _records(answer, "record", name, runs)
    if answer.files:
        lines += _measured(answer, cell, runs)
    if cell.made_from:
        lines += _candidates(answer, cell)
    if cell.choice:
        lines += _search(answer, cell, role)
    for record in _records_of(answer, cell):
        if "search" in record:
            lines.append(_line("searched", _searched(record)))
    own = [r for path, r in answer.records.items() if cell.folder in path.as_posix()]
    lines += _code_and_configuration(answer, cell, own, bool(runs))
    if role not in BESIDE:
        made = resolve.cell(answer.graph.study, cell.experiment, cell.method)
        settings = own[0]["config"] if own else made.config.dump()
        lines += [_line("", f"{key}: {json.dumps(part)}") for key, part in settings.items()]
        lines += _data(answer, name)
        for place in dict.fromkeys(run.environment for run in runs):
            lines += _environment(answer.sidecar.environments[place])
    return lines


def _records_of(answer: Answer, cell: CellFiles) -> list[Record]:
    """Return the records of the cell's method that go into the answer."""
    wanted = (cell.experiment, cell.method)
    found = answer.records.values()
    return [record for record in found if (record["experiment"], record["method"]) == wanted]


def _records(answer: Answer, title: str, cell: str, runs: Iterable[RecordFile]) -> list[str]:
    lines = []
    for run in runs:
        path = answer.path(cell, run)
        state = _state(path, answer.changed)
        lines.append(_line(title, f"{path}"))
        lines.append(_line("", f"seed {run.seed}, {run.status}, SHA-256 {run.sha256}, {state}"))
    return lines


def _measured(answer: Answer, cell: CellFiles, runs: Iterable[RecordFile]) -> list[str]:
    """Name the files of what was measured of the networks of these runs."""
    lines, seeds = [], {run.seed for run in runs}
    for row in cell.measured:
        if row.seed in seeds:
            path = answer.root / row.file
            state = _state(path, answer.changed)
            lines.append(_line("measured", f"{path}"))
            lines.append(_line("", f"seed {row.seed}, SHA-256 {row.sha256}, {state}"))
    return lines


def _candidates(answer: Answer, cell: CellFiles) -> list[str]:
    """Name what a grid chose from, and what it chose for each seed."""
    chosen = {
        record["seed"]: record["chosen"]
        for record in answer.records.values()
        if record["method"] == cell.method
    }
    seeds = ", ".join(f"seed {seed}: {method}" for seed, method in sorted(chosen.items()))
    lines = [_line("chosen among", ", ".join(cell.made_from)), _line("", seeds)]
    for source in cell.made_from:
        lines += _records(answer, "", source, answer.chosen_among.get(source, []))
    return lines


def _search(answer: Answer, cell: CellFiles, role: str) -> list[str]:
    """Name what the search of a method came to and, for the row's own, its trials."""
    assert cell.choice is not None
    path = answer.root / cell.choice.file
    lines = [
        _line("point", f"{path}, {_state(path, answer.changed)}"),
        _line("", f"SHA-256 {cell.choice.sha256}"),
    ]
    # Every run of a method tells the same search.
    found = dict.fromkeys(map(_tuned, _records_of(answer, cell)))
    lines += [_line("", text) for text in found]
    if role not in BESIDE:
        for source in cell.points:
            title = f"tried point {answer.sidecar.cells[source].point}"
            lines += _records(answer, title, source, answer.chosen_among.get(source, []))
    return lines


def _code_and_configuration(
    answer: Answer, cell: CellFiles, own: Sequence[Record], has_runs: bool
) -> list[str]:
    """Compare the code, plugins and configuration of a cell with the present ones."""
    study = answer.graph.study
    made = resolve.cell(study, cell.experiment, cell.method)
    is_present = made.hash == cell.config
    code = ", ".join(cell.code)
    # a cell that a grid chose was not trained by code of its own
    if is_present and not cell.made_from:
        known = {one.hash: one for one in (*resolve.trials(study, made), made)}
        # A searched method was trained with the configuration of the trial chosen.
        trained = known.get(own[0]["config_hash"], made) if own else made
        now = of_training(trained.config)
        code += ", the present code" if [now] == cell.code else f"; the present code is {now}"
    lines = [_line("code", code if has_runs else NOT_KEPT)]
    for path, sha256 in sorted({file for r in own for file in r.get("plugins", {}).items()}):
        lines.append(_line("plugin", f"{path}, SHA-256 {sha256}, {_plugin_state(path, sha256)}"))
    lines.append(_line("configuration", cell.config + ("" if is_present else ", not present")))
    return lines


def _plugin_state(path: str, sha256: str) -> str:
    found = sha256_of(Path(path))
    if found is None:
        return "MISSING"
    return "unchanged" if found == sha256 else "edited since"


def _tuned(record: Record) -> str:
    """Say what a searched method's run knows of its search."""
    found = record["tuning"]
    seeds = ", ".join(map(str, found["seeds"]))
    score = f"mean validation accuracy {found['score']:.4g} over seeds {seeds}"
    point = f"point {found['point']} of {record['tried']} ({found['different']} different)"
    return f"{point}: {record['chosen']}; {score}"


def _searched(record: Record) -> str:
    """Say what a searching rule tried for one seed, and which training the run is."""
    found = record["search"]
    tried = ["/".join(f"{c:.3g}" for c in one["curvature"]) for one in found["tried"]]
    # Records count from 0, people from 1.
    training = f"training {found['chosen'] + 1} is the run"
    return f"seed {record['seed']}: curvatures {', '.join(tried)}; {training}"


def _data(answer: Answer, name: str) -> list[str]:
    """Name a cell's variant and dataset."""
    cell = answer.sidecar.cells[name]
    experiment = answer.graph.study.experiments[cell.experiment]
    recipe = experiment.variant.made_by()
    stated = ", ".join(cell.variant) or NOT_KEPT
    lines = [
        _line("variant", f"{experiment.variant.name}, hash {stated}"),
        _line("", f"recipe {json.dumps(recipe)}"),
    ]
    path, variant = answer.variant(name)
    if variant is None:
        return [*lines, _line("", f"{path} is not here"), _line("dataset", experiment.dataset)]
    content = variant["data_sha256"]
    lines.append(_line("", f"{path}, {_state(path, answer.changed)}"))
    known = _known(experiment.dataset, content)
    text = f"{experiment.dataset}, content SHA-256 {content}, {known}"
    return [*lines, _line("dataset", text)]


def _known(dataset: str, content: str) -> str:
    """Say whether the catalogue knows a dataset's content."""
    recorded = catalogue.entry(dataset).sha256
    if recorded is None:
        return "none is recorded in the catalogue"
    return "as in the catalogue" if recorded == content else "not as in the catalogue"


def _environment(environment: Environment) -> list[str]:
    """Say what runs ran with."""
    versions = environment["versions"].items()
    others = [f"{name} {value}" for name, value in environment.items() if name != "versions"]
    packages = ", ".join(f"{name} {number}" for name, number in versions)
    return [_line("environment", ", ".join(others)), _line("", packages)]
