"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people.

B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum, Human-level Concept Learning through Probabilistic
Program Induction, Science 350, 2015. Class lists: O. Vinyals et al., Matching Networks for One Shot
Learning, NeurIPS 2016, as in T. Deleu et al., Torchmeta, arXiv:1909.06576, 2019.
"""

import re
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from hsac import documents
from hsac.data.sources._images import (
    TEST,
    TRAIN,
    VALIDATION,
    converted,
    image_set,
    parts_of_classes,
    read_table,
    shards,
)
from hsac.data.unpack import unpack
from hsac.errors import InputError
from hsac.files import MACHINE

Arrays = dict[str, np.ndarray]
HALVES = ("background", "evaluation")
SIDE, SMALL = 105, 28


def build_parquet(folder: Path, data: str, lists: str) -> tuple[Arrays, Arrays]:
    """Read the drawings from parquet files.

    Args:
        folder: Holds the two folders below.
        data: Folder of the files, which have the columns image, alphabet, character
            (``alphabet/character``) and drawer.
        lists: Folder of train.json, val.json and test.json, each {half: {alphabet: [character,
            …]}}.

    Returns:
        As `build_archives`.

    Raises:
        InputError: As `build_archives`.
    """
    decoded: Arrays = {}
    for half in HALVES:
        table = read_table(shards(Path(folder) / data, half), "image", "L")
        for name in ("alphabet", "character", "drawer"):
            decoded[f"{half}/{name}"] = table.columns[name]
        decoded[f"{half}/image"] = table.image
    return _stored(decoded, Path(folder) / lists), decoded


def build_archives(folder: Path, data: str, lists: str) -> tuple[Arrays, Arrays]:
    """Read the drawings from the upstream archives.

    The archives are unpacked into a temporary folder. What is no picture of a character is passed
    over. Rows are sorted by alphabet, character and drawer. Alphabets are numbered by name,
    background's first.

    Args:
        folder: Holds the two folders below.
        data: Folder of ``images_background.zip`` and ``images_evaluation.zip``.
        lists: Folder of the class lists, as for `build_parquet`.

    Returns:
        The stored arrays and what was decoded. Stored are ``image`` uint8 (32460, 28, 28) with
        bright strokes, ``label`` into the sorted ``alphabet/character``, ``split`` by Vinyals'
        class lists. Decoded are image uint8 (N, 105, 105) with 255 paper and 0 ink, alphabet,
        character and drawer of each half.

    Raises:
        InputError: For a file that is missing or damaged, and for lists that do not hold every
            character once.
    """
    decoded: Arrays = {}
    first = 0
    for half in HALVES:
        archive = Path(folder) / data / f"images_{half}.zip"
        with tempfile.TemporaryDirectory() as temporary:
            rows = _drawings(archive, half, Path(temporary) / half)
        alphabets = sorted({alphabet for alphabet, *_ in rows})
        number = {alphabet: first + position for position, alphabet in enumerate(alphabets)}
        first += len(alphabets)
        numbers = [number[alphabet] for alphabet, *_ in rows]
        characters = [f"{alphabet}/{character}" for alphabet, character, *_ in rows]
        drawers = [drawer for _, _, drawer, _ in rows]
        decoded[f"{half}/image"] = np.stack([pixels for *_, pixels in rows])
        decoded[f"{half}/alphabet"] = np.array(numbers, np.int64)
        decoded[f"{half}/character"] = np.array(characters)
        decoded[f"{half}/drawer"] = np.array(drawers, np.int64)
    return _stored(decoded, Path(folder) / lists), decoded


def shrink(image: np.ndarray) -> np.ndarray:
    """Shrink images to 28 × 28 by area, exactly, on every machine.

    Each pixel repeated 4 × 4 makes 420 = 28 · 15 rows and columns. A small pixel is the mean of 15
    × 15 of them, rounded half up. Written as two sums with whole weights.

    Args:
        image: uint8 (N, 105, 105).

    Returns:
        uint8 (N, 28, 28).
    """
    fine = np.arange(SIDE * 4)
    weight = np.zeros((SMALL, SIDE), np.float32)
    np.add.at(weight, (fine // 15, fine // 4), 1)
    out = np.empty((len(image), SMALL, SMALL), np.uint8)
    for start in range(0, len(image), 1000):
        # Whole numbers up to 255 * 225 < 2**24: float32 adds them without rounding, in any order.
        total = weight @ image[start : start + 1000].astype(np.float32) @ weight.T
        out[start : start + 1000] = (2 * total.astype(np.int64) + 225) // 450
    return out


def _stored(decoded: Arrays, lists: Path) -> Arrays:
    character = np.concatenate([decoded[f"{half}/character"] for half in HALVES])
    classes, label = np.unique(character, return_inverse=True)
    named = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
    words = {part: _listed(lists / f"{name}.json") for part, name in named.items()}
    part = parts_of_classes(words, [str(word) for word in classes], str(lists))
    # Upstream's ink is dark, stored strokes are bright.
    image = np.concatenate([shrink(255 - decoded[f"{half}/image"]) for half in HALVES])
    return image_set(image, label, part[label], list(classes))


def _listed(path: Path) -> list[str]:
    listed = documents.read_json(path)
    try:
        names = []
        for half in HALVES:
            for alphabet, characters in listed.get(half, {}).items():
                names += [f"{alphabet}/{character}" for character in characters]
        return names
    except (AttributeError, TypeError):
        raise InputError(f"{path}: found no {{half: {{alphabet: [character]}}}}") from None


def _drawings(archive: Path, half: str, folder: Path) -> list[tuple[str, str, int, np.ndarray]]:
    """Unpack an archive; return alphabet, character, drawer and pixels of its pictures, sorted."""
    unpack(archive, folder)
    rows = []
    for path in (folder / f"images_{half}").glob("*/character*/*.png"):
        # Archives also hold what file managers leave behind.
        named = re.fullmatch(r"\d+_(\d+)", path.stem)
        if named:
            rows.append((path.parts[-3], path.parts[-2], int(named[1]), _pixels(path)))
    if not rows:
        wanted = f"images_{half}/ALPHABET/characterNN/NNNN_NN.png"
        raise InputError(f"{archive}: found no {wanted} in it")
    # The file system decides the order of a glob. Pixels have no order.
    return sorted(rows, key=lambda row: row[:3])


def _pixels(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            if picture.size == (SIDE, SIDE):
                return np.asarray(converted(picture, "L"))
            raise InputError(
                f"{path.name}: found {picture.size} pixels; allowed is {SIDE} x {SIDE}"
            )
    except OSError as error:
        if error.errno in MACHINE:
            raise
        raise InputError(f"{path.name}: cannot be read as an image") from None
