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

from hsac.data.sources._images import (
    TEST,
    TRAIN,
    VALIDATION,
    assembled,
    parts_of_classes,
    read_table,
    shards,
)
from hsac.data.unpack import unpack
from hsac.errors import InputError
from hsac.files import read_json

Arrays = dict[str, np.ndarray]
HALVES = ("background", "evaluation")
SIDE, SMALL = 105, 28


def build_parquet(folder: Path, data: str, lists: str) -> tuple[Arrays, Arrays]:
    """From parquet files with the columns image, alphabet, character (``alphabet/character``) and
    drawer.

    ``data``: their folder below ``folder``; ``lists``: that of train.json, val.json and test.json,
    each {half: {alphabet: [character, …]}}. Returns as `build_archives`.
    """
    decoded: Arrays = {}
    for half in HALVES:
        table = read_table(shards(Path(folder) / data, half), "image", "L")
        decoded |= {
            f"{half}/{name}": table.columns[name] for name in ("alphabet", "character", "drawer")
        }
        decoded[f"{half}/image"] = table.image
    return _stored(decoded, Path(folder) / lists), decoded


def build_archives(folder: Path, data: str, lists: str) -> tuple[Arrays, Arrays]:
    """From the upstream archives ``images_background.zip`` and ``images_evaluation.zip``.

    They are unpacked into a temporary folder; what is no picture of a character is passed over.
    Rows are sorted by alphabet, character and drawer; alphabets are numbered by name, background's
    first.

    Returns the stored arrays, ``image`` uint8 (32460, 28, 28) with bright strokes, ``label`` into
    the sorted ``alphabet/character``, ``split`` by Vinyals' class lists; and what was decoded:
    image uint8 (N, 105, 105) with 255 paper and 0 ink, alphabet, character and drawer of each half.
    Raises InputError for a file that is missing or damaged and for lists that do not hold every
    character once.
    """
    decoded: Arrays = {}
    first = 0
    for half in HALVES:
        with tempfile.TemporaryDirectory() as temporary:
            rows = _drawings(
                Path(folder) / data / f"images_{half}.zip", half, Path(temporary) / half
            )
        alphabets = sorted({alphabet for alphabet, *_ in rows})
        number = {alphabet: first + position for position, alphabet in enumerate(alphabets)}
        first += len(alphabets)
        decoded |= {
            f"{half}/image": np.stack([pixels for *_, pixels in rows]),
            f"{half}/alphabet": np.array([number[alphabet] for alphabet, *_ in rows], np.int64),
            f"{half}/character": np.array(
                [f"{alphabet}/{character}" for alphabet, character, *_ in rows]
            ),
            f"{half}/drawer": np.array([drawer for _, _, drawer, _ in rows], np.int64),
        }
    return _stored(decoded, Path(folder) / lists), decoded


def shrink(image: np.ndarray) -> np.ndarray:
    """Images uint8 (N, 105, 105) at 28 × 28 by area, exactly, on every machine.

    Each pixel repeated 4 × 4 makes 420 = 28 · 15 rows and columns; a small pixel is the mean of 15
    × 15 of them, rounded half up. Written as two sums with whole weights.
    """
    fine = np.arange(SIDE * 4)
    weight = np.zeros((SMALL, SIDE), np.float32)
    np.add.at(weight, (fine // 15, fine // 4), 1)
    out = np.empty((len(image), SMALL, SMALL), np.uint8)
    for start in range(0, len(image), 1000):
        # whole numbers up to 255 * 225 < 2**24: float32 adds them without rounding, in any order
        total = weight @ image[start : start + 1000].astype(np.float32) @ weight.T
        out[start : start + 1000] = (2 * total.astype(np.int64) + 225) // 450
    return out


def _stored(decoded: Arrays, lists: Path) -> Arrays:
    character = np.concatenate([decoded[f"{half}/character"] for half in HALVES])
    classes, label = np.unique(character, return_inverse=True)
    named = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
    words = {part: _listed(lists / f"{name}.json") for part, name in named.items()}
    part = parts_of_classes(words, [str(word) for word in classes], str(lists))
    image = np.concatenate([shrink(255 - decoded[f"{half}/image"]) for half in HALVES])
    return assembled(image, label, part[label], list(classes))


def _listed(path: Path) -> list[str]:
    listed = read_json(path)
    try:
        return [
            f"{a}/{c}"
            for half in HALVES
            for a, characters in listed.get(half, {}).items()
            for c in characters
        ]
    except (AttributeError, TypeError):
        raise InputError(f"{path}: found no {{half: {{alphabet: [character]}}}}") from None


def _drawings(archive: Path, half: str, folder: Path) -> list[tuple[str, str, int, np.ndarray]]:
    """Alphabet, character, drawer and pixels of each picture of an archive, sorted; it is unpacked
    into ``folder``.
    """
    unpack(archive, folder)
    rows = []
    for path in (folder / f"images_{half}").glob("*/character*/*.png"):
        named = re.fullmatch(r"\d+_(\d+)", path.stem)
        if named:
            rows.append((path.parts[-3], path.parts[-2], int(named[1]), _pixels(path)))
    if not rows:
        raise InputError(
            f"{archive}: found no images_{half}/ALPHABET/characterNN/NNNN_NN.png in it"
        )
    return sorted(rows, key=lambda row: row[:3])


def _pixels(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            if picture.size == (SIDE, SIDE):
                return np.asarray(picture.convert("L"))
            raise InputError(
                f"{path.name}: found {picture.size} pixels; allowed is {SIDE} x {SIDE}"
            )
    except OSError:
        raise InputError(f"{path.name}: cannot be read as an image") from None
