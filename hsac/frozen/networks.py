"""Backbones: the trained networks of a cell, rebuilt to embed what they were not trained on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hsac.data import load_variant
from hsac.errors import InputError
from hsac.files import JsonObject, read_array
from hsac.frozen.features import Arrays
from hsac.study import resolve
from hsac.study.cell import Cell
from hsac.study.frozen import Features
from hsac.study.models import Study
from hsac.study.record import read_records
from hsac.train.inputs import load_inputs
from hsac.train.loop import Prepared
from hsac.train.setup import prepare
from hsac.train.tasks.images import CHUNK, ImageTask

if TYPE_CHECKING:
    from hsac.data.stored_variant import StoredVariant

POOL, TEST = 0, 2  # codes of the parts that problems are drawn from and judged on


def embedded(
    study: Study, features: Features, variant: Path, indexes: Sequence[Path], root: Path
) -> tuple[Arrays, dict[str, str]]:
    """Embed images by every finished run of a cell.

    Args:
        study: The study.
        features: Features of recipe `backbone`, which names the cell.
        variant: The variant that the cell was trained on.
        indexes: The indexes of its bundles.
        root: The data folder.

    Returns:
        Arrays that the recipe takes beside the dataset's: ``backbone/x`` float32 (B, n, F), what
        enters the head, ``backbone/rows`` (n,), and ``backbone/split`` (n,). And the hash of each
        run's weights, by seed.

    Raises:
        InputError: A record was edited, a run did not end well, or the data are missing.
    """
    cell = resolve.cell(study, features.parameters["experiment"], features.parameters["method"])
    chosen = load_variant(variant)
    inputs = load_inputs(study.device, cell, chosen, root)
    rows, split = _kept(chosen, inputs.arrays)
    found, sources = [], {}
    for path, record in _finished(indexes, cell):
        made = prepare(inputs, [record["seed"]])
        weights = torch.from_numpy(read_array(path.with_suffix(".npy"))).to(made.w)[None]
        curvature = torch.tensor([record["curvature"]["final"]]).to(weights)
        found.append(_embed(made, weights, curvature, torch.from_numpy(rows)))
        sources[f"seed{record['seed']}"] = record["weights"]
    arrays = {"x": np.stack(found), "rows": rows, "split": split}
    return {f"backbone/{name}": array for name, array in arrays.items()}, sources


def _kept(
    variant: "StoredVariant", arrays: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to embed, and the codes of their parts.

    A backbone's validation part is the pool: its final weights have seen no such row. Episodes take
    the classes of the parts apart, and base classes only set the scale.
    """
    if "episodes" in variant:
        return np.arange(len(arrays["label"])), arrays["split"]
    parts = {POOL: variant["indices"]["validation"], TEST: variant["indices"]["test"]}
    rows = np.concatenate([*parts.values()])
    split = np.concatenate([np.full(len(index), code) for code, index in parts.items()])
    order = np.argsort(rows)
    return rows[order], split[order].astype(np.int8)


def _finished(indexes: Iterable[Path], cell: Cell) -> Iterator[tuple[Path, JsonObject]]:
    """Yield path and record of each run, in the order of the seeds."""
    found = [one for index in indexes for one in read_records(index)]
    for path, record in sorted(found, key=lambda one: one[1]["seed"]):
        if record.get("config_hash") != cell.hash:
            raise InputError(f"{path}: found a run of another configuration than {cell.method!r}")
        if record["status"] != "ok":
            raise InputError(
                f"{path}: found status {record['status']}; allowed is ok, as its features are used"
            )
        yield path, record


def _embed(made: Prepared, w: Tensor, c: Tensor, rows: Tensor) -> np.ndarray:
    """Return what enters the head (n, F) for some rows of the dataset."""
    task, state = made.task, None
    with torch.no_grad():
        if isinstance(task, ImageTask):
            state = task.statistics(made.ensemble, w, c, "train")
        chunks = []
        for some in rows.to(w.device).split(CHUNK):
            images = task.pixels(some)
            chunks.append(made.ensemble.call("embed", w, c, images, shared=True, state=state)[0])
    joined: np.ndarray = torch.cat(chunks).float().numpy(force=True)
    return joined
