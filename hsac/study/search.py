"""A method's search: its point is chosen by mean validation accuracy over the search's seeds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import fsum
from pathlib import Path
from typing import Any

from hsac.errors import InputError
from hsac.files import JsonObject, read_json, workflow_of, write_json
from hsac.study import resolve, search_space
from hsac.study.cell import Cell
from hsac.study.graph import Graph
from hsac.study.models import Study
from hsac.study.record import FINAL, read_records, same_cell
from hsac.study.selection import run_score

Record = Mapping[str, Any]
SUMMED = ("gradients", "products", "seconds")


@dataclass(frozen=True)
class Tried:
    """What one trial came to.

    Attributes:
        parameters: what it replaced in the configuration.
        score: mean accuracy on validation over the search's seeds.
        failed: how many of its runs are not ok.
        config_hash: the hash of its cell.
    """

    parameters: dict[str, Any]
    score: float
    failed: int
    config_hash: str


@dataclass(frozen=True)
class SearchOutcome:
    """What the search of a cell came to, as `point.json` holds it.

    Attributes:
        experiment: the experiment.
        method: the method.
        config_hash: the hash of the searched cell.
        seeds: the seeds that every trial was trained on.
        chosen: the number of the best trial.
        points: every trial.
        cost: gradients, products and seconds, summed over all runs; equal trials count once.
        schema: the version of the file.
    """

    experiment: str
    method: str
    config_hash: str
    seeds: list[int]
    chosen: int
    points: list[Tried]
    cost: dict[str, float]
    schema: int = field(default=1)


@dataclass(frozen=True)
class SearchFacts:
    """The fields about its search that the records of a searched cell hold.

    Attributes:
        tried: how many trials there were.
        chosen: the chosen one in words.
        tuning: its number, how many trials differ, the search's seeds, score, failures and cost.
    """

    tried: int
    chosen: str
    tuning: dict[str, Any]

    def dump(self) -> JsonObject:
        """Return the fields as a record holds them."""
        return asdict(self)


def choose(scores: Sequence[tuple[float, float]]) -> int:
    """Return the number of the best trial, of equal ones the first.

    Args:
        scores: of each trial the mean accuracy and the mean of minus the NLL on validation.
    """
    return max(range(len(scores)), key=lambda k: (scores[k], -k))


def outcome(study: Study, cell: Cell, records: Mapping[str, Sequence[Record]]) -> SearchOutcome:
    """Choose the point of a searched cell.

    Args:
        study: the study.
        cell: one of its searched cells.
        records: the records of each trial's cell by its hash.

    Raises:
        InputError: unless every trial has one record of every seed that says something of the
            method: a run that ended for want of time or memory must not choose.
    """
    search = cell.config.search
    assert search is not None
    trials = resolve.trials(study, cell)
    points, scores = [], []
    for trial, parameters in zip(trials, search.points, strict=True):
        # By seed, so that means do not depend on how the runs were bundled.
        found = sorted(records.get(trial.hash, ()), key=lambda record: record["seed"])
        _check_complete(trial, found, search.seeds)
        accuracies, likelihoods = zip(*map(run_score, found), strict=True)
        score = fsum(accuracies) / len(found)
        scores.append((score, sum(likelihoods) / len(found)))
        failed = sum(record["status"] != "ok" for record in found)
        points.append(Tried(parameters, score, failed, trial.hash))
    hashes = sorted({trial.hash for trial in trials})
    # Trials that came out alike were trained once, and so cost once.
    trained = [record for key in hashes for record in records[key]]
    return SearchOutcome(
        experiment=cell.experiment,
        method=cell.method,
        config_hash=cell.hash,
        seeds=search.seeds,
        chosen=choose(scores),
        points=points,
        cost={name: _total([record[name] for record in trained]) for name in SUMMED},
    )


def _check_complete(trial: Cell, found: Sequence[Record], seeds: Sequence[int]) -> None:
    where = f"{trial.experiment} {trial.method}, point {trial.point}"
    present = [record["seed"] for record in found]
    # Lists and not sets, so that a seed that is there twice shows.
    if present != sorted(seeds):
        raise InputError(
            f"{where}: found runs of the seeds {present}; allowed is one of each of {sorted(seeds)}"
        )
    for record in found:
        if record["status"] not in FINAL:
            why = f"found {record['status']} ({record['reason']})"
            needed = " or ".join(FINAL)
            raise InputError(
                f"{where}, seed {record['seed']}: {why}; a search needs runs that are {needed}"
            )


def _total(values: Sequence[int | float | None]) -> int | float:
    """Return the sum in whatever order, without what was not counted of a run that failed."""
    known = [value for value in values if value is not None]
    # Counts stay integers, while seconds are summed exactly, whatever their order.
    if any(isinstance(value, float) for value in known):
        return fsum(known)
    return sum(known)


def tune(study: Study, cell: Cell, indexes: Sequence[Path], output: Path) -> None:
    """Write what the search of a cell comes to.

    Args:
        study: the study.
        cell: one of its searched cells.
        indexes: the indexes of all bundles of its trials.
        output: the `point.json` to write.

    Raises:
        InputError: names a record that was edited or is missing.
    """
    write_json(output, asdict(outcome(study, cell, read_points(indexes))))


def read_points(
    indexes: Iterable[Path],
    read: Callable[[Path], Iterable[tuple[Path, Record]]] = read_records,
) -> dict[str, list[Record]]:
    """Read the records of bundles.

    Args:
        indexes: the bundles' indexes.
        read: how an index is read, into paths and records.

    Returns:
        The records by the hash of their configuration.
    """
    records: dict[str, list[Record]] = {}
    for index in indexes:
        for _, record in read(index):
            records.setdefault(record["config_hash"], []).append(record)
    return records


def read_point(path: Path, cell: Cell) -> SearchOutcome:
    """Read what `tune` wrote for a cell.

    Args:
        path: the cell's `point.json`.
        cell: the searched cell.

    Raises:
        InputError: names the file when it is missing, damaged or another cell's.
    """
    found = read_json(path)
    # The hash covers the trials, so the choice of an earlier search is not taken for this one's.
    if not isinstance(found, dict) or found.get("config_hash") != cell.hash:
        raise InputError(
            f"{path}: not of {cell.experiment} {cell.method}; delete it and run {workflow_of(path)}"
        )
    return SearchOutcome(**(found | {"points": [Tried(**one) for one in found["points"]]}))


def at_point(study: Study, cell: Cell, point: SearchOutcome) -> Cell:
    """Return the cell that is trained for a searched cell: the one at the chosen point.

    Args:
        study: the study.
        cell: one of its searched cells.
        point: what its search came to.
    """
    return resolve.cell(study, cell.experiment, cell.method, point.chosen)


def search_facts(study: Study, cell: Cell, point: SearchOutcome) -> SearchFacts:
    """Return the fields about its search that the records of a searched cell hold.

    Args:
        study: the study.
        cell: one of its searched cells.
        point: what its search came to.
    """
    chosen = point.points[point.chosen]
    names = resolve.named_rules(study, cell.experiment, cell.method)
    return SearchFacts(
        tried=len(point.points),
        chosen=search_space.text(chosen.parameters, names),
        tuning={
            "point": point.chosen,
            "different": len({one.config_hash for one in point.points}),
            "seeds": point.seeds,
            "score": chosen.score,
            "failed": sum(one.failed for one in point.points),
            **point.cost,
        },
    )


def present(graph: Graph, cell: Cell) -> tuple[Cell, SearchOutcome | None]:
    """Return the cell whose configuration the runs of a cell have now.

    Args:
        graph: the work of a study.
        cell: one of its cells.

    Returns:
        (cell at the chosen point, outcome), or (cell, None) where nothing is searched.

    Raises:
        InputError: as `read_point` does.
    """
    if not cell.searched:
        return cell, None
    point = read_point(graph.point_file(cell), cell)
    return at_point(graph.study, cell, point), point


def check(graph: Graph, read: Callable[[Path], Iterable[tuple[Path, Record]]]) -> None:
    """Check that the runs of searched cells are at the points that their searches choose.

    Args:
        graph: the work of a study.
        read: how an index is read, into paths and records.

    Raises:
        InputError: names a run that is at another point.
    """
    for cell in graph.cells:
        if cell.searched:
            _check_point(graph, cell, read)


def _check_point(
    graph: Graph, cell: Cell, read: Callable[[Path], Iterable[tuple[Path, Record]]]
) -> None:
    tried = [bundle.index for bundle in graph.trial_bundles(cell)]
    # The choice is made anew from the records, as `point.json` may be older than they are.
    made = outcome(graph.study, cell, read_points(tried, read))
    expected = search_facts(graph.study, cell, made).dump()
    identity = {"config_hash": made.points[made.chosen].config_hash}
    for index in graph.indexes([cell]):
        for path, record in read_records(index):
            agrees = all(record.get(key) == one for key, one in expected.items())
            if not same_cell(record, identity) or not agrees:
                found = f"{record.get('chosen')!r} of {record.get('tried')} points"
                raise InputError(
                    f"{path}: trained at {found}; the runs of the search choose"
                    f" {expected['chosen']!r} of {expected['tried']};"
                    f" delete {graph.point_file(cell)} and run {workflow_of(path)} again"
                )
