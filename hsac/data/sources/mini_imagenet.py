"""mini-ImageNet from a folder that the user supplies: its images may not be passed on.

S. Ravi, H. Larochelle, Optimization as a Model for Few-Shot Learning, ICLR 2017 (the split; the
idea is that of O. Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016). Images:
O. Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 115, 2015, under
ImageNet's terms (research, non-commercial).
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from hsac.data.sources._images import TEST, TRAIN, VALIDATION, image_set, resized
from hsac.documents import UTF_8
from hsac.errors import InputError
from hsac.files import MACHINE

ADVICE = "`hsac data info mini_imagenet` says what to put there"
LISTS = {"train.csv": TRAIN, "val.csv": VALIDATION, "test.csv": TEST}


def build(folder: Path, data: str, side: int = 84) -> dict[str, np.ndarray]:
    """Read the images that three lists name, in the lists' order.

    Args:
        folder: Holds the folder below.
        data: Folder of ``train.csv``, ``val.csv`` and ``test.csv`` with the columns filename and
            label (WordNet id), and of ``images`` with the files they name.
        side: Side in pixels of the square that each picture is resized to as a whole.

    Returns:
        The stored arrays: ``image`` uint8 (60000, side, side, 3), ``label`` into the sorted WordNet
        ids.

    Raises:
        InputError: Naming the list or image that is missing or cannot be read, and for a class in
            two lists.
    """
    place = Path(folder) / data
    rows = [(part, *row) for name, part in LISTS.items() for row in _rows(place / name)]
    part_of = {label: part for part, _, label in rows}
    # The last list that names a class has it, so that rows of an earlier one disagree.
    for part, _, label in rows:
        if part_of[label] != part:
            found = f"class {label} in two lists"
            raise InputError(f"{place}: found {found}; allowed is each class in one")
    classes = sorted(part_of)
    number = {label: position for position, label in enumerate(classes)}
    pixels = np.empty((len(rows), side, side, 3), np.uint8)
    for position, (_, name, _) in enumerate(rows):
        pixels[position] = _pixels(place / "images" / name, side)
    labels = np.array([number[label] for _, _, label in rows])
    return image_set(pixels, labels, np.array([part for part, _, _ in rows]), classes)


def _rows(path: Path) -> list[tuple[str, str]]:
    """Return file name and label of each line of a list."""
    try:
        with open(path, newline="", encoding=UTF_8) as stream:
            rows = [(row["filename"], row["label"]) for row in csv.DictReader(stream)]
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {ADVICE}") from None
    except (OSError, KeyError, UnicodeDecodeError, csv.Error):
        raise InputError(
            f"{path}: cannot be read as a list with the columns filename and label"
        ) from None
    for name, label in rows:
        # A list must not reach outside the folder of images.
        if not name or not label or Path(name).name != name:
            raise InputError(
                f"{path}: found file name {name!r}; allowed is a name without folders, and a label"
            )
    if not rows:
        raise InputError(f"{path}: found no line; allowed are lines of filename,label")
    return rows


def _pixels(path: Path, side: int) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            return np.asarray(resized(picture, "RGB", side))
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {ADVICE}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        if error.errno in MACHINE:
            raise
        raise InputError(f"{path}: cannot be read as an image") from None
