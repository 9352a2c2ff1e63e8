"""What the image sources share: decoding parquet in batches, and putting parts together."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from hsac.errors import InputError

BATCH = 1000
TRAIN, VALIDATION, TEST = 0, 1, 2


class Table(NamedTuple):
    """What parquet files hold: ``image`` uint8 (N, H, W) or (N, H, W, 3), the other ``columns``,
    the words of those that are class labels (``names``), and the rows of each file (``sizes``).
    """

    image: np.ndarray
    columns: dict[str, np.ndarray]
    names: dict[str, list[str]]
    sizes: tuple[int, ...]


def read_table(files: Sequence[Path], image: str, mode: str, side: int | None = None) -> Table:
    """Read parquet files with a column of encoded images through ``datasets``, one below the other.

    Images are decoded in batches and converted to ``mode``, L or RGB; with ``side`` each is resized
    to a square (`squared`). Nothing stays on disk. Raises InputError for a file that cannot be
    read, a missing column, or images of several sizes.
    """
    from datasets import load_dataset

    paths = [str(path) for path in files]
    try:
        sizes = tuple(pq.ParquetFile(path).metadata.num_rows for path in paths)
        with (
            tempfile.TemporaryDirectory() as cache
        ):  # for a lock file: streamed rows are not cached
            stream = load_dataset(
                "parquet", data_files=paths, split="train", streaming=True, cache_dir=cache
            )
            if image not in stream.features:
                raise InputError(f"found columns {', '.join(stream.features)}; {image} is needed")
            pixels, columns = _decoded(stream, image, mode, side, sum(sizes))
    except InputError as error:
        raise InputError(f"{paths[0]}: {error}") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{paths[0]}: cannot be read as parquet with images ({_line(error)})"
        ) from None
    labelled = {
        name: feature
        for name, feature in stream.features.items()
        if getattr(feature, "names", None)
    }
    return Table(
        pixels, columns, {name: list(feature.names) for name, feature in labelled.items()}, sizes
    )


def _decoded(
    stream: Any, image: str, mode: str, side: int | None, rows: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Pixels of all rows and the other columns."""
    out, done = np.empty((0, 0, 0), np.uint8), 0
    lists: dict[str, list[Any]] = {name: [] for name in stream.features if name != image}
    for batch in stream.iter(BATCH):
        for picture in batch[image]:
            pixels = np.asarray(squared(picture, mode, side))
            if not done:
                out = np.empty((rows, *pixels.shape), np.uint8)
            if pixels.shape != out.shape[1:]:
                raise InputError(
                    f"found images of {out.shape[1:]} and of {pixels.shape} pixels; allowed is one"
                    " size"
                )
            out[done] = pixels
            done += 1
        for name, values in lists.items():
            values += batch[name]
    return out, {name: _column(values) for name, values in lists.items()}


def squared(picture: Image.Image, mode: str, side: int | None) -> Image.Image:
    """The picture in ``mode``, with ``side`` resized to side × side pixels whatever its shape
    (Lanczos).
    """
    converted = picture.convert(mode)
    return converted if side is None else converted.resize((side, side), Image.Resampling.LANCZOS)


def shards(folder: Path, part: str) -> list[Path]:
    """The files of a part in the hub's naming, ``<part>-00000-of-00002*.parquet``, in order.

    Raises InputError when there is none or one is missing.
    """
    found = sorted(folder.glob(f"{part}-?????-of-?????*.parquet"))
    if not found:
        raise InputError(f"{folder}: found no {part}-*.parquet")
    total = int(found[0].name.removeprefix(f"{part}-").split("-of-")[1][:5])
    if len(found) != total:
        raise InputError(f"{folder}: found {len(found)} files of {part}; its names say {total}")
    return found


def assembled(
    image: np.ndarray, label: np.ndarray, split: np.ndarray, classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """The stored arrays of an image set in which no image is a near copy of another."""
    return {
        "image": image,
        "label": label.astype(np.int64),
        "split": split.astype(np.int8),
        "group": np.arange(len(label), dtype=np.int64),
        "classes": np.array([str(word) for word in classes]),
    }


def parts_of_classes(
    lists: Mapping[int, Sequence[str]], classes: Sequence[str], where: str
) -> np.ndarray:
    """The part of each class, int8, from the lists of class names of each part.

    Raises InputError unless every class is in exactly one list.
    """
    part = np.full(len(classes), -1, np.int8)
    position = {word: number for number, word in enumerate(classes)}
    for number, words in lists.items():
        for word in words:
            if word not in position:
                raise InputError(f"{where}: found class {word!r}, which the images do not have")
            if part[position[word]] != -1:
                raise InputError(
                    f"{where}: found class {word!r} twice; allowed is each class in one list"
                )
            part[position[word]] = number
    if (part < 0).any():
        raise InputError(f"{where}: class {classes[int(np.argmax(part < 0))]!r} is in no list")
    return part


def _column(values: list[Any]) -> np.ndarray:
    column = np.array(values)
    return column.astype(np.int64) if column.dtype.kind in "iu" else column


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
