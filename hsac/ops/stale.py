"""Find what the present code and configuration would compute again, and why.

Fingerprints and paths are the workflow's. Listed as well are failed or edited runs that need their
index deleted first; a plain `snakemake` leaves these. No torch here: it answers in a second or two,
before anything runs.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from hsac.errors import InputError
from hsac.files import digest, file_sha256, read_json
from hsac.ops.timings import Timings
from hsac.study import fingerprint, resolve, search
from hsac.study.cell import Cell
from hsac.study.frozen import BACKBONE
from hsac.study.graph import Graph
from hsac.study.record import FINAL, has_weights, read_index, same_cell


@dataclass(frozen=True)
class Stale:
    """A run to compute again.

    Attributes:
        experiment: the experiment.
        method: the method.
        seed: the seed.
        reason: why.
        seconds: how long it is likely to take. None: no timing is recorded. 0: it is chosen among
            other runs, not trained.
        point: the number of the trial of a search that it is.
    """

    experiment: str
    method: str
    seed: int
    reason: str
    seconds: float | None
    point: int | None = None


def stale_runs(graph: Graph) -> list[Stale]:
    """Find the runs that have no finished record of the present code, variant and configuration.

    A missing variant file counts as unchanged, and so does a search that must be repeated: only a
    different outcome makes runs stale.

    Args:
        graph: the work of a study.

    Returns:
        The runs in the order of the configuration.
    """
    found = []
    timings = Timings(graph.results.parent)
    present = {graph.folder(cell) for cell in graph.trained}
    variants = {name: _variant_hash(graph, name) for name in graph.study.experiments}
    identities: dict[Path, dict[str, str]] = {}  # a cell has many bundles, and one fingerprint
    for bundle in graph.bundles:
        digests = _digests(bundle.index)
        for cell in bundle.cells:
            folder = graph.folder(cell)
            if folder not in identities:
                identities[folder] = _identity(graph, cell) | variants[cell.experiment]
            identity = identities[folder]
            for seed in bundle.seeds:
                path = bundle.record(cell, seed)
                reason = _reason(path, identity, digests.get(path), cell.derived, present)
                if reason is not None:
                    seconds = 0.0 if cell.derived else timings.seconds(cell, len(bundle.seeds))
                    name = (cell.experiment, cell.method)
                    found.append(Stale(*name, seed, reason, seconds, cell.point))
    return found


def _variant_hash(graph: Graph, experiment: str) -> dict[str, str]:
    path = graph.variant(experiment)
    return {"variant_hash": read_json(path)["hash"]} if path.is_file() else {}


def _identity(graph: Graph, cell: Cell) -> dict[str, str]:
    """Return the hash and the code that a record of the cell made now would carry."""
    of = _present_cell(graph, cell)
    return {"config_hash": of.hash, "code": code(graph, of)}


def _present_cell(graph: Graph, cell: Cell) -> Cell:
    """Return the cell whose configuration the runs of a cell have.

    For a searched cell: the cell at its chosen point; if point.json is missing, that of its first
    record.
    """
    try:
        return search.present(graph, cell)[0]
    except InputError:
        # In reverse, so that of points that came out alike the first one counts.
        points = {one.hash: one for one in reversed(resolve.trials(graph.study, cell))}
        for path in sorted(graph.folder(cell).glob("seed*.json")):
            with contextlib.suppress(InputError):
                return points.get(read_json(path).get("config_hash"), cell)
        return cell


def code(graph: Graph, cell: Cell) -> str:
    """Return the fingerprint that a record of a cell made now would carry.

    Args:
        graph: the work of a study.
        cell: one of its cells. For a derived one, a digest of its candidates' fingerprints.
    """
    if not cell.derived:
        return fingerprint.of_training(cell.config)
    among = resolve.candidates(graph.study, cell)
    return digest([fingerprint.of_training(one.config) for one in among])


def _digests(index: Path) -> dict[Path, str]:
    try:
        return {path: sha256 for _, path, sha256 in read_index(index)[1]}
    except InputError:
        return {}


def _reason(
    path: Path, identity: dict[str, str], sha256: str | None, derived: bool, present: set[Path]
) -> str | None:
    """Return why the run of the record at `path` is computed again, None when it is not.

    `present`: folders of current cells, whose records are not old versions of this run.
    """
    if not path.is_file():
        # Folders beside it are earlier configurations, or trials of the present one.
        others = path.parent.parent.glob(f"*/{path.name}")
        older = any(other.parent not in present for other in others)
        return "configuration changed" if older else "never run"
    try:
        record = read_json(path)
    except InputError:
        return "record cut short"
    # Without an index nothing says what the record's bytes were.
    if sha256 is not None and file_sha256(path) != sha256:
        return "record edited since its run; delete it and its index"
    for key, what in (
        ("config_hash", "configuration"),
        ("code", "code"),
        ("variant_hash", "variant"),
    ):
        if key in identity and not same_cell(record, {key: identity[key]}):
            return f"{what} changed"
    if record.get("status") not in FINAL:
        return f"{record.get('status')}: {record.get('reason')}; delete the index to try again"
    # A derived run's weights lie beside its candidate's record.
    return None if derived or has_weights(path, record) else "weights missing or edited"


def stale_theory(graph: Graph, runs: list[Stale]) -> dict[Path, str]:
    """Find the files of the theory that are to be made again.

    Only the workflow sees a change of a study's own code or parameters: a study's rows carry no
    fingerprint.

    Args:
        graph: the work of a study.
        runs: its stale runs.

    Returns:
        File -> `missing`, or that the runs change that it stands on.
    """
    frozen = [job.output for job in graph.jobs if job.rule == "features"]
    found = {path: "missing" for path in (*graph.theory_files, *frozen) if not path.is_file()}
    # The theory measures final runs, never the trials of a search.
    changed = {(run.experiment, run.method) for run in runs if run.point is None}
    study = graph.study
    for name, experiment in study.experiments.items():
        hypergradient = [experiment.hypergradient.method] if experiment.hypergradient else []
        stands_on = {
            "informed": experiment.informed or [],
            "hypergradient": hypergradient,
            "landscape": [cell.method for cell in resolve.measured(study, name)],
        }
        for kind, methods in stands_on.items():
            if any((name, method) in changed for method in methods):
                found.setdefault(graph.theory_file(kind, name), "its runs change")
    for path in _on_changed_features(graph, changed):
        found.setdefault(path, "its runs change")
    return found


def _on_changed_features(graph: Graph, changed: set[tuple[str, str]]) -> Iterator[Path]:
    """Yield frozen features whose backbones are trained again, and what stands on them."""
    frozen = graph.study.frozen
    if frozen is None:
        return
    again = set()
    for name, features in frozen.features.items():
        given = features.parameters
        if features.recipe == BACKBONE and (given["experiment"], given["method"]) in changed:
            again.add(name)
            yield graph.features_file(name)
    for name, dim in frozen.landscapes():
        if frozen.problems[name].features in again:
            yield graph.landscape_file(name, dim)
    for name, dim in frozen.followed():
        if frozen.problems[name].features in again:
            yield graph.rules_file("hypergradients", name, dim)


def report(graph: Graph) -> Iterator[str]:
    """Yield lines to print: one a cell and reason, one a missing file, and the sum.

    Args:
        graph: the work of a study.
    """
    runs = stale_runs(graph)
    theory = stale_theory(graph, runs)
    if not runs and not theory:
        yield "nothing to recompute"
        return
    for (experiment, method, point, reason), group in groupby(
        runs, lambda run: (run.experiment, run.method, run.point, run.reason)
    ):
        members = list(group)
        seeds = " ".join(str(run.seed) for run in members)
        name = f"{experiment} {method}"
        if point is not None:
            name += f" point {point}"
        yield f"{name} seeds {seeds}: {reason}; {_length(members)}"
    yield from (f"{path}: {reason}" for path, reason in theory.items())
    yield f"{len(runs)} runs, {_length(runs)} one after another; {len(theory)} theory files"


def _length(runs: list[Stale]) -> str:
    known = [run.seconds for run in runs if run.seconds is not None]
    unknown = len(runs) - len(known)
    total = sum(known)
    text = f"{total / 3600:.1f} h"
    if total < 120:
        text = f"{total:.0f} s"
    elif total < 7200:
        text = f"{total / 60:.0f} min"
    if unknown:
        return f"about {text} and {unknown} runs of unknown length" if known else "unknown length"
    return f"about {text}"
