"""What the present code and configuration would compute again, why, and about how long that takes.

The same fingerprints and paths as the workflow's, so nothing is listed that a plain `snakemake`
would leave. No torch here: it answers in a second or two, before anything runs.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from hsac import config, layout, tuning
from hsac.errors import InputError
from hsac.files import digest, file_sha256, read_json
from hsac.ops.timings import Timings
from hsac.study import fingerprint
from hsac.study.record import FINAL, read_index, same_cell, whole


@dataclass(frozen=True)
class Stale:
    """A run to compute again: its cell and seed, why, and the seconds it is likely to take (None:
    no timing is recorded; 0: it is chosen among other runs, not trained). `point`: the number of
    the point that a search tries.
    """

    experiment: str
    method: str
    seed: int
    reason: str
    seconds: float | None
    point: int | None = None


def stale_runs(settings: dict[str, Any], results: Path) -> list[Stale]:
    """The runs of the settings that `results` has no finished record of, made by the present code
    from the present variant and unedited since; in the order of the configuration.

    A variant whose file is missing is taken as unchanged: a run is trained again only when it comes
    out different. So is the choice of a search that is to be run again.
    """
    found = []
    seen: set[Path] = set()
    timings = Timings(results.parent)
    trained = config.trained_cells(settings)
    present = {layout.index_path(results, cell, 0).parent for cell in trained}
    cells = config.cells(settings)
    tried = [index for cell in cells for index in layout.point_bundles(settings, results, cell)]
    points = {path: sha256 for index in tried for path, sha256 in _digests(index).items()}
    for cell in [*trained, *filter(config.derived, cells)]:
        of = _trained(settings, results, cell)
        identity = {"config_hash": of["hash"], "code": code(settings, of)}
        variant = layout.variant_path(settings["experiments"][cell["experiment"]])
        if variant.is_file():
            identity["variant_hash"] = read_json(variant)["hash"]
        for block, seeds in layout.blocks(
            config.cell_seeds(settings, cell), settings["bundle"]
        ).items():
            index = layout.index_path(results, cell, block)
            if index in seen:
                continue
            seen.add(index)
            digests = points if cell["point"] is not None else _digests(index)
            for seed in seeds:
                path = index.parent / f"seed{seed}.json"
                reason = _reason(path, identity, digests.get(path), config.derived(cell), present)
                if reason is not None:
                    seconds = 0.0 if config.derived(cell) else timings.seconds(cell, len(seeds))
                    found.append(
                        Stale(
                            cell["experiment"], cell["method"], seed, reason, seconds, cell["point"]
                        )
                    )
    return found


def _trained(settings: dict[str, Any], results: Path, cell: dict[str, Any]) -> dict[str, Any]:
    """The cell whose configuration the runs of a cell have: of a searched one, that of the point
    that it chose, or, where nothing says which, that its first record is of.
    """
    try:
        return tuning.present(settings, results, cell)[0]
    except InputError:
        points = {one["hash"]: one for one in reversed(config.point_cells(settings, cell))}
        for path in sorted(layout.point_path(results, cell).parent.glob("seed*.json")):
            with contextlib.suppress(InputError):
                return points.get(read_json(path).get("config_hash"), cell)
        return cell


def code(settings: dict[str, Any], cell: dict[str, Any]) -> str:
    """Fingerprint that a record of the cell made now would carry; a derived one's is that of its
    candidates.
    """
    if not config.derived(cell):
        return fingerprint.of_training(cell["config"])
    cells = [
        config.cell(settings, cell["experiment"], method)
        for method in config.candidates(settings, cell)
    ]
    return digest([fingerprint.of_training(one["config"]) for one in cells])


def _digests(index: Path) -> dict[Path, str]:
    try:
        return {path: sha256 for _, path, sha256 in read_index(index)[1]}
    except InputError:
        return {}


def _reason(
    path: Path, identity: dict[str, str], sha256: str | None, derived: bool, present: set[Path]
) -> str | None:
    """Why the run of the record at `path` is computed again; None when it is not. `present`: the
    folders of trained cells, whose runs are no older ones of this.
    """
    if not path.is_file():
        others = [
            other
            for other in path.parent.parent.glob(f"*/{path.name}")
            if other.parent not in present
        ]
        return "configuration changed" if any(others) else "never run"
    try:
        record = read_json(path)
    except InputError:
        return "record cut short"
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
    return None if derived or whole(path, record) else "weights missing or edited"


def stale_theory(settings: dict[str, Any], results: Path, runs: list[Stale]) -> dict[Path, str]:
    """Files of the theory that are missing, or that stand on one of the stale `runs`, and which of
    the two.

    A change of a study's own code or parameters is the workflow's to see: a study's rows carry no
    fingerprint.
    """
    found = {
        path: "missing" for path in layout.theory_paths(settings, results) if not path.is_file()
    }
    changed = {(run.experiment, run.method) for run in runs if run.point is None}
    for name, experiment in settings["experiments"].items():
        measured = [cell["method"] for cell in config.measured_cells(settings, name)]
        certified = experiment.get("informed", [])
        studied = [experiment["hypergradient"]["method"]] if "hypergradient" in experiment else []
        for path, methods in (
            (layout.informed_path(results, name), certified),
            (layout.hypergradient_path(results, name), studied),
            (layout.landscape_path(results, name), measured),
        ):
            if any((name, method) in changed for method in methods):
                found.setdefault(path, "its runs change")
    return found


def report(settings: dict[str, Any], results: Path) -> Iterator[str]:
    """Lines to print: one a cell and reason, one a missing file, and the sum."""
    runs = stale_runs(settings, results)
    theory = stale_theory(settings, results, runs)
    if not runs and not theory:
        yield "nothing to recompute"
        return
    for (experiment, method, point, reason), group in groupby(
        runs, lambda run: (run.experiment, run.method, run.point, run.reason)
    ):
        members = list(group)
        seeds = " ".join(str(run.seed) for run in members)
        name = f"{experiment} {method}" + (f" point {point}" if point is not None else "")
        yield f"{name} seeds {seeds}: {reason}; {_length(members)}"
    yield from (f"{path}: {reason}" for path, reason in theory.items())
    yield f"{len(runs)} runs, {_length(runs)} one after another; {len(theory)} theory files"


def _length(runs: list[Stale]) -> str:
    known = [run.seconds for run in runs if run.seconds is not None]
    unknown = len(runs) - len(known)
    total = sum(known)
    text = (
        f"{total:.0f} s"
        if total < 120
        else f"{total / 60:.0f} min"
        if total < 7200
        else f"{total / 3600:.1f} h"
    )
    if unknown:
        return f"about {text} and {unknown} runs of unknown length" if known else "unknown length"
    return f"about {text}"
