"""Read what a training needs from disk.

Nothing that computes imports this module. So data on disk, the catalogue and downloads are no part
of a training's fingerprint: what they give is checked by hash.
"""

from pathlib import Path

import torch

from hsac.data.catalogue import entry
from hsac.data.store import load_arrays
from hsac.data.stored_variant import StoredVariant
from hsac.errors import InputError
from hsac.study.cell import Cell
from hsac.train.setup import Inputs


def choose_device(wanted: str) -> torch.device:
    """Choose the device to train on.

    Args:
        wanted: `auto`, which is the first GPU or else the CPU, or a device as torch names it.

    Returns:
        The device.

    Raises:
        InputError: The GPU asked for is not there.
    """
    count = torch.cuda.device_count()
    if wanted == "auto":
        return torch.device("cuda:0" if count else "cpu")
    device = torch.device(wanted)
    # `cuda` without a number is the first GPU.
    if device.type == "cuda" and (device.index or 0) >= count:
        there = ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(count))])
        raise InputError(f"device: found {wanted!r}; allowed here is {there}")
    return device


def load_inputs(device: str, cell: Cell, variant: StoredVariant, root: Path) -> Inputs:
    """Read the dataset of a cell, and put it beside what else trains the cell.

    Args:
        device: Where to train, as `choose_device` takes it.
        cell: The cell.
        variant: The variant, as `hsac.data.load_variant` reads it.
        root: The data folder.

    Returns:
        The inputs of `hsac.train.setup.prepare`.

    Raises:
        InputError: The device is not there, or the dataset is missing, damaged, of another kind
            than the variant, or other than the one that the variant was cut from.
    """
    dataset = cell.config.dataset
    # Rows may be of images or of a graph. Episodes are of images only.
    graph = "episodes" not in variant and entry(dataset).kind == "graph"
    arrays, sha256 = load_arrays(dataset, root, "graph" if graph else "images")
    # In other data the variant's row numbers would mean other rows.
    if variant["data_sha256"] != sha256:
        name, cut_from = variant["name"], variant["data_sha256"]
        raise InputError(
            f"variant {name} of {dataset}: cut from data {cut_from[:16]}, found {sha256[:16]};"
            " delete the file"
        )
    return Inputs(cell, variant, arrays, choose_device(device))
