"""Finished runs as they lie on disk, without any training."""

import numpy as np

from hsac import config, layout, stale
from hsac.files import file_sha256, write_array, write_json
from hsac.records import write_index

SECONDS = 30.0


def finish(settings, results, cell, **changes):
    """Records, weights and indexes of every bundle of a cell; SECONDS a run on one core."""
    for block, seeds in layout.blocks(config.cell_seeds(settings, cell), settings["bundle"]).items():
        index = layout.index_path(results, cell, block)
        paths = {seed: index.parent / f"seed{seed}.json" for seed in seeds}
        for seed, path in paths.items():
            write_array(path.with_suffix(".npy"), np.array([float(seed)]))
            record = {key: cell[key] for key in ("experiment", "method", "config")}
            record |= {"seed": seed, "status": "ok", "reason": None, "chosen": None, "outer": None, "together": seeds}
            record |= {"config_hash": cell["hash"], "code": stale.code(settings, cell), "variant_hash": "variant"}
            record |= {"weights": file_sha256(path.with_suffix(".npy")), "seconds": SECONDS, "steps": 600}
            record |= {"device": "cpu", "threads": 1}
            write_json(path, record | changes)
        write_index(index, cell, paths)
