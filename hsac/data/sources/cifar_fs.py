"""CIFAR-FS: the images of CIFAR-100 under few-shot class lists.

L. Bertinetto, J. F. Henriques, P. H. S. Torr, A. Vedaldi, Meta-learning with Differentiable
Closed-form Solvers, ICLR 2019; class lists as in T. Deleu et al., Torchmeta, arXiv:1909.06576,
2019. Images: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical
report, University of Toronto, 2009.
"""

from pathlib import Path

import numpy as np

from hsac.data.sources import hub
from hsac.data.sources._images import TEST, TRAIN, VALIDATION, parts_of_classes
from hsac.errors import InputError
from hsac.files import read_json

SPELT = {"cra": "crab"}  # the hub's names of CIFAR-100's classes that the lists spell otherwise


def build(
    folder: Path, data: str, lists: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """CIFAR-100's train and test images pooled, 600 a class, in the class order of CIFAR-100, named
    as the lists do.

    ``data``: the folder of CIFAR-100's parquet files below ``folder``; ``lists``: that of
    train.json, val.json and test.json, each a list of [superclass, class].

    Returns the stored arrays, ``split`` by class: 64 train, 16 validate, 20 test; and what was
    decoded. Raises InputError for a missing file and for lists that do not hold every class once.
    """
    arrays, decoded = hub.build(folder, data, image="img", label="fine_label")
    named = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
    words = {part: _words(Path(folder) / lists / f"{name}.json") for part, name in named.items()}
    classes = [SPELT.get(str(word), str(word)) for word in arrays["classes"]]
    part = parts_of_classes(words, classes, f"{Path(folder) / lists}")
    return {**arrays, "classes": np.array(classes), "split": part[arrays["label"]]}, decoded


def _words(path: Path) -> list[str]:
    listed = read_json(path)
    if not (
        isinstance(listed, list)
        and all(isinstance(pair, list) and len(pair) == 2 for pair in listed)
    ):
        raise InputError(f"{path}: found no list of [superclass, class]")
    return [str(word) for _, word in listed]
