"""CIFAR-FS: the images of CIFAR-100 under few-shot class lists.

L. Bertinetto, J. F. Henriques, P. H. S. Torr, A. Vedaldi, Meta-learning with Differentiable
Closed-form Solvers, ICLR 2019; class lists as in T. Deleu et al., Torchmeta, arXiv:1909.06576,
2019. Images: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical
report, University of Toronto, 2009.
"""

from pathlib import Path

import numpy as np

from hsac import documents
from hsac.data.sources import hub
from hsac.data.sources._images import TEST, TRAIN, VALIDATION, parts_of_classes
from hsac.errors import InputError

SPELT = {"cra": "crab"}  # the hub's names of CIFAR-100's classes that the lists spell otherwise


def build(
    folder: Path, data: str, lists: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Pool CIFAR-100's train and test images, 600 a class, and split them by class.

    Classes are in the order of CIFAR-100, named as the lists name them.

    Args:
        folder: Holds the two folders below.
        data: Folder of CIFAR-100's parquet files.
        lists: Folder of train.json, val.json and test.json, each a list of [superclass, class].

    Returns:
        The stored arrays, 64 classes for training, 16 for validation and 20 for test, and what was
        decoded.

    Raises:
        InputError: For a missing file and for lists that do not hold every class once.
    """
    arrays, decoded = hub.build(folder, data, image="img", label="fine_label")
    named = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
    words = {part: _words(Path(folder) / lists / f"{name}.json") for part, name in named.items()}
    classes = [SPELT.get(str(word), str(word)) for word in arrays["classes"]]
    part = parts_of_classes(words, classes, f"{Path(folder) / lists}")
    # The official split by image gives way to one by class.
    return {**arrays, "classes": np.array(classes), "split": part[arrays["label"]]}, decoded


def _words(path: Path) -> list[str]:
    listed = documents.read_json(path)
    pairs = listed if isinstance(listed, list) else [None]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise InputError(f"{path}: found no list of [superclass, class]")
    return [str(word) for _, word in listed]
