"""What the image sources share: decoding parquet in batches, and putting parts together."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from hsac.errors import InputError
from hsac.files import MACHINE

BATCH = 1000
WIDE = ("PNG", "PPM")  # formats whose grey of 16 bits Pillow may open with 32
# The values of a stored ``split``, as `hsac.data.store` reads them.
TRAIN, VALIDATION, TEST = 0, 1, 2


class Table(NamedTuple):
    """The content of parquet files with images.

    Attributes:
        image: uint8 (N, H, W) or (N, H, W, 3).
        columns: The other columns by name.
        names: Names of the classes, for columns that are class labels.
        sizes: Number of rows of each file.
    """

    image: np.ndarray
    columns: dict[str, np.ndarray]
    names: dict[str, list[str]]
    sizes: tuple[int, ...]


def read_table(files: Sequence[Path], image: str, mode: str, side: int | None = None) -> Table:
    """Read parquet files with a column of encoded images through ``datasets``, one below the other.

    Images are decoded in batches. Nothing stays on disk.

    Args:
        files: The files.
        image: The column of images.
        mode: What they are converted to, L or RGB.
        side: Side of the square that each is resized to (`resized`). None leaves them as they are.

    Returns:
        Images and other columns of all rows.

    Raises:
        InputError: For a file that cannot be read, a missing column, or images of several sizes.
        OSError: For a full disk and the like.
    """
    from datasets import load_dataset

    paths = [str(path) for path in files]
    try:
        # A stream does not tell its length, and the images are to be put into one array.
        sizes = tuple(pq.ParquetFile(path).metadata.num_rows for path in paths)
        # The cache gets a lock file only: streamed rows are not cached.
        with tempfile.TemporaryDirectory() as cache:
            stream = load_dataset(
                "parquet", data_files=paths, split="train", streaming=True, cache_dir=cache
            )
            if image not in stream.features:
                raise InputError(f"found columns {', '.join(stream.features)}; {image} is needed")
            pixels, columns = _decoded(stream, image, mode, side, sum(sizes))
    except InputError as error:
        raise InputError(f"{paths[0]}: {error}") from None
    except (OSError, ValueError) as error:
        # A full disk says nothing of the files.
        if isinstance(error, OSError) and error.errno in MACHINE:
            raise
        reason = " ".join(str(error).split())
        raise InputError(f"{paths[0]}: cannot be read as parquet with images ({reason})") from None
    names = {}
    for name, feature in stream.features.items():
        # Only columns of class labels have names.
        if getattr(feature, "names", None):
            names[name] = list(feature.names)
    return Table(pixels, columns, names, sizes)


def _decoded(
    stream: Any, image: str, mode: str, side: int | None, rows: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the pixels of all rows and the other columns."""
    out, done = np.empty((0, 0, 0), np.uint8), 0
    lists: dict[str, list[Any]] = {name: [] for name in stream.features if name != image}
    for batch in stream.iter(BATCH):
        for picture in batch[image]:
            pixels = np.asarray(resized(picture, mode, side))
            # The size is known from the first image only.
            if not done:
                out = np.empty((rows, *pixels.shape), np.uint8)
            if pixels.shape != out.shape[1:]:
                found = f"images of {out.shape[1:]} and of {pixels.shape} pixels"
                raise InputError(f"found {found}; allowed is one size")
            out[done] = pixels
            done += 1
        for name, values in lists.items():
            values += batch[name]
    return out, {name: _column(values) for name, values in lists.items()}


def resized(picture: Image.Image, mode: str, side: int | None) -> Image.Image:
    """Convert a picture and resize it to a square, whatever its shape (Lanczos).

    Args:
        picture: The picture.
        mode: What it is converted to, L or RGB.
        side: Side of the square in pixels. None leaves the size as it is.

    Returns:
        The new picture.

    Raises:
        InputError: As `converted`.
    """
    made = converted(picture, mode)
    return made if side is None else made.resize((side, side), Image.Resampling.LANCZOS)


def converted(picture: Image.Image, mode: str) -> Image.Image:
    """Convert a picture to 8 bits a channel.

    Args:
        picture: The picture. Grey of 16 bits is scaled: 65535 becomes 255.
        mode: What it is converted to, L or RGB.

    Returns:
        The new picture.

    Raises:
        InputError: For grey of 32 bits and for floating point, whose white is not known.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in WIDE):
        # Pillow's own conversion makes white of all that is above 255.
        deep = np.asarray(picture).astype(np.int64)
        picture = Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        found = f"a picture of mode {picture.mode} (32 bits)"
        raise InputError(f"found {found}; allowed are 8 or 16 bits a channel")
    return picture.convert(mode)


def shards(folder: Path, part: str) -> list[Path]:
    """Find the files of a part, ``<part>-00000-of-00002*.parquet`` in the hub's naming.

    Args:
        folder: Their folder.
        part: The hub's name of the part.

    Returns:
        The files in order.

    Raises:
        InputError: When there is none or one is missing.
    """
    found = sorted(folder.glob(f"{part}-?????-of-?????*.parquet"))
    if not found:
        raise InputError(f"{folder}: found no {part}-*.parquet")
    # A name may go on after the total: train-00000-of-00001-1359597a978bc4fa.parquet.
    total = int(found[0].name.removeprefix(f"{part}-").split("-of-")[1][:5])
    if len(found) != total:
        raise InputError(f"{folder}: found {len(found)} files of {part}; its names say {total}")
    return found


def image_set(
    image: np.ndarray, label: np.ndarray, split: np.ndarray, classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Make the stored arrays of an image set in which no image is a near copy of another.

    Args:
        image: uint8 (N, H, W) or (N, H, W, 3).
        label: Labels (N,) into ``classes``.
        split: Part (N,) of each image: 0 train, 1 validation, 2 test.
        classes: Names of the classes.

    Returns:
        The arrays by name, each image a group of its own.
    """
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
    """Find the part of each class from lists of class names.

    Args:
        lists: Names of the classes of each part.
        classes: Names of all classes.
        where: What error lines name as the place of the lists.

    Returns:
        The part (K,) of each class, int8.

    Raises:
        InputError: Unless every class is in exactly one list.
    """
    part = np.full(len(classes), -1, np.int8)
    position = {word: number for number, word in enumerate(classes)}
    for number, words in lists.items():
        for word in words:
            if word not in position:
                raise InputError(f"{where}: found class {word!r}, which the images do not have")
            if part[position[word]] != -1:
                found = f"class {word!r} twice"
                raise InputError(f"{where}: found {found}; allowed is each class in one list")
            part[position[word]] = number
    if (part < 0).any():
        raise InputError(f"{where}: class {classes[int(np.argmax(part < 0))]!r} is in no list")
    return part


def _column(values: list[Any]) -> np.ndarray:
    # The hub's labels are integers of any width, stored ones are int64.
    column = np.array(values)
    return column.astype(np.int64) if column.dtype.kind in "iu" else column
