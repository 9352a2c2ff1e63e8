"""Finished runs as they lie on disk, without any training."""

import numpy as np

from hsac.files import file_sha256, write_array, write_json
from hsac.ops import stale
from hsac.study.record import write_index, write_point_index

SECONDS = 30.0


def finish(graph, cell, **changes):
    """Write records, weights and indexes of a cell's own bundles: SECONDS a run on one core."""
    for bundle in graph.own_bundles(cell):
        paths = {run.seed: write_run(graph, run, changes) for run in bundle.runs()}
        write_index(bundle.index, cell, paths)


def finish_points(graph, cell, changes=lambda trial: {}):
    """Write the same of the trials of a searched cell, with `changes` of a trial's records."""
    for bundle in graph.trial_bundles(cell):
        runs = [(run.seed, write_run(graph, run, changes(run.cell))) for run in bundle.runs()]
        write_point_index(bundle.index, cell, runs)


def write_run(graph, run, changes):
    """Write record and weights of a run; returns the path of the record."""
    write_array(run.record.with_suffix(".npy"), np.array([float(run.seed)]))
    record = {
        "experiment": run.cell.experiment,
        "method": run.cell.method,
        "config": run.cell.config.dump(),
        "config_hash": run.cell.hash,
        "code": stale.code(graph, run.cell),
        "variant_hash": "variant",
        "seed": run.seed,
        "status": "ok",
        "reason": None,
        "chosen": None,
        "outer": None,
        "together": list(run.bundle.seeds),
        "weights": file_sha256(run.record.with_suffix(".npy")),
        "seconds": SECONDS,
        "steps": 600,
        "device": "cpu",
        "threads": 1,
    }
    write_json(run.record, record | changes)
    return run.record
