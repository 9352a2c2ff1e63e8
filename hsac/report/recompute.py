"""The shell commands that compute a cell of a table again: beside the results, and in place."""

import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from hsac.errors import InputError
from hsac.files import canonical
from hsac.report import frozen
from hsac.report.answer import Answer
from hsac.report.provenance import CellFiles
from hsac.study import load, resolve
from hsac.study.models import Study

# Folder of the theory -> the command that trains again for it.
TRAINED_AGAIN = {"informed": "certify", "hypergradient": "hypergradient"}


def _with_candidates(answer: Answer) -> list[str]:
    """List the cells behind the cell and those that its grids chose from, the latter first."""
    # A choice reads the indexes of its candidates.
    return list(dict.fromkeys([*answer.chosen_among, *answer.cells]))


def _scratch(cell: CellFiles, index: str = "") -> str:
    """Return where a cell is computed again: its index, or, without one, its records.

    The records of a trial lie beside its index.
    """
    place, inside = [cell.experiment, cell.method], [Path(index).name] if index else []
    if cell.point is not None:
        place = ["points", *place, str(cell.point) if index else cell.config]
    return f'"$scratch"/{shlex.quote("/".join((*place, *inside)))}'


def _scratch_indexes(cells: Iterable[CellFiles]) -> str:
    return " ".join(_scratch(cell, index) for cell in cells for index in cell.indexes)


def _settings(answer: Answer) -> str:
    return f"--settings {shlex.quote(str(answer.root / 'settings.json'))}"


def _of(answer: Answer, experiment: str) -> str:
    """Return the options that the commands share: settings and experiment."""
    return f"{_settings(answer)} --experiment {shlex.quote(experiment)}"


def _variant(answer: Answer, experiment: str) -> str:
    path = answer.graph.variant(experiment)
    return f"--variant {shlex.quote(path.as_posix())}"


def _points(answer: Answer, kind: str, experiment: str) -> str:
    """Return the option for what the searches came to of the methods that the theory trains."""
    study = answer.graph.study
    informed = kind == "informed"
    found = resolve.informed(study, experiment)
    cells = found if informed else [resolve.studied(study, experiment)]
    paths = answer.graph.point_files(cells)
    return f" --points {_quoted(path.as_posix() for path in paths)}" if paths else ""


def _quoted(words: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, words))


def beside_commands(answer: Answer) -> list[str]:
    """Compose the commands that compute a cell's runs and rows again in a new folder.

    Args:
        answer: The cell.

    Returns:
        Shell lines. The first makes the folder ``$scratch``.
    """
    lines = ["scratch=$(mktemp -d)"]
    threads = set()
    for runs in answer.cells.values():
        places = [answer.sidecar.environments[run.environment] for run in runs]
        threads |= {place.get("threads", 1) for place in places}
    # Other threads sum in another order, so the weights would not be the same bit for bit.
    lines += [f"export OMP_NUM_THREADS={count}" for count in sorted(threads)[:1]]
    for name in _with_candidates(answer):
        lines += _train_commands(answer, answer.sidecar.cells[name])
    for item in answer.made_here:
        lines.append(_row_command(answer, item))
    return lines


def _train_commands(answer: Answer, cell: CellFiles) -> list[str]:
    """Compose the commands that train or choose the runs of a cell, and compare their weights."""
    lines, cells = [], answer.sidecar.cells
    method = f"{_of(answer, cell.experiment)} --method {shlex.quote(cell.method)}"
    option = "" if cell.point is None else f" --trial {cell.point}"
    # The trials were trained by the lines before, so the search can choose again.
    if cell.points:
        indexes = _scratch_indexes(cells[source] for source in cell.points)
        place = shlex.quote(f"{cell.experiment}/{cell.method}/point.json")
        output = f'"$scratch"/points/{place}'
        lines.append(f"hsac job tune {method} --candidates {indexes} --output {output}")
        option = f" --point {output}"
    for index, seeds in cell.indexes.items():
        of = f"{method} --seeds {' '.join(map(str, seeds))}"
        place = f"--index {_scratch(cell, index)}"
        if cell.made_from:
            sources = " ".join(_scratch(cells[source], index) for source in cell.made_from)
            lines.append(f"hsac job select {of} --candidates {sources} {place}")
        else:
            stage = "train" if cell.point is None else "points"
            variant = _variant(answer, cell.experiment)
            lines.append(f"hsac job {stage} {of} {variant}{option} {place}")
    # A grid trains nothing, and its candidates are compared already.
    if not cell.made_from:
        folder = shlex.quote((answer.root / cell.folder).as_posix())
        # Records hold times, which differ on every run. Weights do not.
        lines.append(f"diff -rq -x '*.json' {folder} {_scratch(cell)}")
    return lines


def _row_command(answer: Answer, item: str) -> str:
    """Compose the command that makes a file of rows again."""
    path = Path(item)
    kind, experiment = path.parent.name, path.stem
    output = f'--output "$scratch"/{shlex.quote(item)}'
    if path.parts[:2] == ("frozen", "ends"):
        output = f'--output "$scratch"/{shlex.quote(f"hypergradients_{path.name}")}'
    if path.parts[0] == "frozen":
        return f"{_heads_command(answer, path)} {output}"
    if kind != "landscape" and kind not in TRAINED_AGAIN:
        return f"hsac job theory {shlex.quote(path.stem)} {_settings(answer)} {output}"
    options = f"{_of(answer, experiment)} {_variant(answer, experiment)}"
    if kind == "landscape":
        indexes = _scratch_indexes(answer.sidecar.cells[name] for name in answer.cells)
        return f"hsac job measure {options} --indexes {indexes} {output}"
    points = _points(answer, kind, experiment)
    return f"hsac job {TRAINED_AGAIN[kind]} {options}{points} {output}"


def _heads_command(answer: Answer, path: Path) -> str:
    """Compose the command that makes rows of solved heads again, but for where."""
    # A problem's name can hold a line, so the dimension is what follows the last.
    problem, _, dim = path.stem.rpartition("_")
    (features,) = {one.features for one in frozen.problems(answer.root) if one.name == problem}
    stored = shlex.quote((answer.root / "frozen" / "features" / f"{features}.npz").as_posix())
    job, more = "landscape", ""
    if path.parent.name != "landscape":
        # One job writes both files.
        job, more = "rules", f' --ends "$scratch"/{shlex.quote(f"ends_{path.name}")}'
        if path.parent.name == "ends":
            more = f' --ends "$scratch"/{shlex.quote(path.as_posix())}'
    return (
        f"hsac job {job} {shlex.quote(problem)} --dim {dim} {_settings(answer)}"
        f" --features {stored}{more}"
    )


def in_place_commands(answer: Answer) -> list[str]:
    """Compose the commands that train a cell's runs again where they lie, and remake the tables.

    Args:
        answer: The cell.

    Returns:
        Shell lines.
    """
    gone: list[str] = []
    targets: list[str] = []
    for name in _with_candidates(answer):
        cell = answer.sidecar.cells[name]
        folder = answer.root / cell.folder
        # Records must go: a run that has one is not trained again, even with --force.
        if not cell.made_from:
            gone += [(folder / run.file).as_posix() for run in cell.runs]
        if answer.files:
            gone += [(answer.root / row.file).as_posix() for row in cell.measured]
        # Indexes are relative to the cell's folder, with `..`, which no target of a rule has.
        targets += [os.path.normpath(folder / index) for index in cell.indexes]
        if cell.choice:
            choice = (answer.root / cell.choice.file).as_posix()
            gone.append(choice)
            targets.append(choice)
    targets += [(answer.root / item).as_posix() for item in answer.made_here]
    options = f"--cores 1{_overrides(answer.graph.study)}"
    lines = [f"rm -f {_quoted(gone)}"] if gone else []
    lines.append(f"snakemake {_quoted(dict.fromkeys(targets))} {options} --force")
    made = dict.fromkeys([answer.csv.parent, answer.root / "provenance"])
    return [*lines, f"snakemake {_quoted(path.as_posix() for path in made)} {options}"]


def _overrides(study: Study) -> str:
    """Return the --config that gives this study.

    That is the scale, and the keys in which the study differs from its files.
    """
    settings = study.dump()
    try:
        present = load.load(study.scale).dump()
    except InputError:  # not in the project's folder, or its configuration no longer loads
        present = settings
    given = [] if study.scale == "default" else [shlex.quote(f"scale={study.scale}")]
    for key, value in settings.items():
        if key in present and present[key] != value:
            given.append(shlex.quote(f"{key}={canonical(value)}"))
    return f" --config {' '.join(given)}" if given else ""


def command_lines(answer: Answer) -> list[str]:
    """Tell a user how to compute a cell again.

    Args:
        answer: The cell.

    Returns:
        Lines of text with the commands, none where nothing can be computed again.
    """
    if not answer.cells and not answer.made_here:
        return []
    lines = ["", "to compute just this cell again and leave the results alone:"]
    lines += _indented(beside_commands(answer))
    if answer.cells:
        lines += [
            "  (`diff` says nothing when all final weights are the same bit by bit; they are where"
            " versions, device",
            "  and the seeds trained together are)",
        ]
    lines.append(
        "to compute it again in place (runs whose records lie there are kept, even with --force,"
        " so they go first):"
    )
    lines += _indented(in_place_commands(answer))
    lines.append(
        "  (the last makes the tables and all else that is not up to date, which `hsac stale`"
        " lists)"
    )
    return lines


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]
