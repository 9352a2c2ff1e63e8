"""Finished runs as they lie on disk, without any training."""

import numpy as np

from hsac import config, layout
from hsac.files import file_sha256, write_array, write_json
from hsac.ops import stale
from hsac.study.record import write_index, write_point_index

SECONDS = 30.0


def finish(settings, results, cell, **changes):
    """Records, weights and indexes of every bundle of a cell; SECONDS a run on one core."""
    for block, seeds in layout.blocks(
        config.cell_seeds(settings, cell), settings["bundle"]
    ).items():
        write_index(
            layout.index_path(results, cell, block),
            cell,
            records(settings, results, cell, seeds, changes),
        )


def finish_points(settings, results, cell, changes=lambda point: {}):
    """The same of the points of a searched cell; `changes` of a point's records."""
    for index, (points, seeds) in layout.point_bundles(settings, results, cell).items():
        made = [records(settings, results, point, seeds, changes(point)) for point in points]
        write_point_index(index, cell, [run for paths in made for run in paths.items()])


def records(settings, results, cell, seeds, changes):
    """Records and weights of seeds trained together, by seed."""
    folder = layout.index_path(results, cell, 0).parent
    paths = {seed: folder / f"seed{seed}.json" for seed in seeds}
    for seed, path in paths.items():
        write_array(path.with_suffix(".npy"), np.array([float(seed)]))
        record = {key: cell[key] for key in ("experiment", "method", "config")}
        record |= {
            "seed": seed,
            "status": "ok",
            "reason": None,
            "chosen": None,
            "outer": None,
            "together": seeds,
        }
        record |= {
            "config_hash": cell["hash"],
            "code": stale.code(settings, cell),
            "variant_hash": "variant",
        }
        record |= {
            "weights": file_sha256(path.with_suffix(".npy")),
            "seconds": SECONDS,
            "steps": 600,
        }
        record |= {"device": "cpu", "threads": 1}
        write_json(path, record | changes)
    return paths
