"""The point that a method's search chooses: on validation, over the seeds of the search, every
point alike.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum
from pathlib import Path
from typing import Any

from hsac import config, layout, spaces
from hsac.errors import InputError
from hsac.files import read_json, write_json
from hsac.study.record import FINAL, read_records, same_cell
from hsac.study.selection import run_score

Record = dict[str, Any]
SUMMED = ("gradients", "products", "seconds")


def choose(scores: Sequence[tuple[float, float]]) -> int:
    """The point of the best score; of equal ones the first."""
    return max(range(len(scores)), key=lambda k: (scores[k], -k))


def outcome(
    settings: dict[str, Any], the_cell: dict[str, Any], records: Mapping[str, Sequence[Record]]
) -> Record:
    """What a searched cell's search comes to, given the records of each point's cell by that cell's
    hash.

    ``points``: parameters, mean validation score over the seeds of the search and runs that are not
    ok, of every point; ``chosen``: the best one's number; ``cost``: of all runs, points that came
    out alike counted once. Raises InputError unless every point has one record of every seed that
    says something of the method: a run that ended for want of time or memory must not choose.
    """
    search = the_cell["config"]["search"]
    cells = config.point_cells(settings, the_cell)
    points, scores = [], []
    for one, parameters in zip(cells, search["points"], strict=True):
        found = sorted(records.get(one["hash"], ()), key=lambda record: record["seed"])
        if [record["seed"] for record in found] != sorted(search["seeds"]):
            raise InputError(
                f"{the_cell['experiment']} {the_cell['method']}, point {one['point']}: found runs"
                f" of the seeds {[record['seed'] for record in found]}; allowed is one of each of"
                f" {sorted(search['seeds'])}"
            )
        for record in found:
            if record["status"] not in FINAL:
                run = (
                    f"{the_cell['experiment']} {the_cell['method']}, point {one['point']}, seed"
                    f" {record['seed']}"
                )
                why = f"found {record['status']} ({record['reason']})"
                raise InputError(f"{run}: {why}; a search needs runs that are {' or '.join(FINAL)}")
        accuracies, likelihoods = zip(*map(run_score, found), strict=True)
        scores.append((fsum(accuracies) / len(found), sum(likelihoods) / len(found)))
        failed = sum(record["status"] != "ok" for record in found)
        points.append(
            {
                "parameters": parameters,
                "score": scores[-1][0],
                "failed": failed,
                "config_hash": one["hash"],
            }
        )
    trained = [record for key in sorted({one["hash"] for one in cells}) for record in records[key]]
    return {
        "schema": 1,
        "experiment": the_cell["experiment"],
        "method": the_cell["method"],
        "config_hash": the_cell["hash"],
        "seeds": search["seeds"],
        "chosen": choose(scores),
        "points": points,
        "cost": {name: _total([record[name] for record in trained]) for name in SUMMED},
    }


def _total(values: Sequence[int | float | None]) -> int | float:
    """The sum in whatever order; what was not counted, of a run that failed, left out."""
    known = [value for value in values if value is not None]
    return fsum(known) if any(isinstance(value, float) for value in known) else sum(known)


def tune(
    settings: dict[str, Any], the_cell: dict[str, Any], indexes: Sequence[Path], output: Path
) -> None:
    """Write what the search of a cell comes to; ``indexes``: of all bundles of its points. Raises
    InputError naming a record that was edited or is missing.
    """
    write_json(output, outcome(settings, the_cell, read_points(indexes)))


def read_points(
    indexes: Sequence[Path], read: Callable[[Path], Iterable[tuple[Path, Record]]] = read_records
) -> dict[str, list[Record]]:
    """The records of bundles by the hash of their configuration."""
    records: dict[str, list[Record]] = {}
    for index in indexes:
        for _, record in read(index):
            records.setdefault(record["config_hash"], []).append(record)
    return records


def read_point(path: Path, the_cell: dict[str, Any]) -> Record:
    """What ``tune`` wrote for a cell. Raises InputError naming the file when it is missing, damaged
    or another's.
    """
    found = read_json(path)
    if not isinstance(found, dict) or found.get("config_hash") != the_cell["hash"]:
        raise InputError(
            f"{path}: not of {the_cell['experiment']} {the_cell['method']}; delete it and run"
            " `snakemake`"
        )
    return found


def trained(settings: dict[str, Any], the_cell: dict[str, Any], point: Record) -> dict[str, Any]:
    """The cell that a searched cell's runs are of: that of the chosen point."""
    return config.cell(settings, the_cell["experiment"], the_cell["method"], point["chosen"])


def told(settings: dict[str, Any], the_cell: dict[str, Any], point: Record) -> Record:
    """What the records of a searched cell say of the search."""
    points = point["points"]
    chosen = points[point["chosen"]]
    names = config.named_parts(settings, the_cell["experiment"], the_cell["method"])
    return {
        "tried": len(points),
        "chosen": spaces.text(chosen["parameters"], names),
        "tuning": {
            "point": point["chosen"],
            "different": len({one["config_hash"] for one in points}),
            "seeds": point["seeds"],
            "score": chosen["score"],
            "failed": sum(one["failed"] for one in points),
            **point["cost"],
        },
    }


def present(
    settings: dict[str, Any], results: Path, the_cell: dict[str, Any]
) -> tuple[dict[str, Any], Record | None]:
    """The cell whose configuration the runs of a cell have, and what its search came to: of a
    searched cell as its ``point.json`` says, of another the cell itself and None. Raises InputError
    as `read_point` does.
    """
    if not config.searched(the_cell):
        return the_cell, None
    point = read_point(layout.point_path(results, the_cell), the_cell)
    return trained(settings, the_cell, point), point


def check(
    settings: dict[str, Any], results: Path, read: Callable[[Path], Iterable[tuple[Path, Record]]]
) -> None:
    """Raises InputError naming a run of a searched method that is not at the point that the runs of
    the search choose; ``read``: the records that an index names.
    """
    for the_cell in filter(config.searched, config.cells(settings)):
        made = outcome(
            settings,
            the_cell,
            read_points([*layout.point_bundles(settings, results, the_cell)], read),
        )
        expected = told(settings, the_cell, made)
        identity = {"config_hash": made["points"][made["chosen"]]["config_hash"]}
        for index in layout.indexes(settings, results, [the_cell]):
            for path, record in read_records(index):
                if not same_cell(record, identity) or any(
                    record.get(key) != one for key, one in expected.items()
                ):
                    found = f"{record.get('chosen')!r} of {record.get('tried')} points"
                    raise InputError(
                        f"{path}: trained at {found}; the runs of the search choose"
                        f" {expected['chosen']!r} of {expected['tried']}; delete"
                        f" {layout.point_path(results, the_cell)} and run `snakemake` again"
                    )
