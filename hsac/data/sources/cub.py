"""Caltech-UCSD Birds 200-2011 as a few-shot set, from the hub's parquet files.

C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie, The Caltech-UCSD Birds-200-2011 Dataset,
technical report CNS-TR-2011-001, California Institute of Technology, 2011. Class split: W.-Y. Chen,
Y.-C. Liu, Z. Kira, Y.-C. F. Wang, J.-B. Huang, A Closer Look at Few-shot Classification, ICLR 2019
(filelists/CUB of their code).
"""

from pathlib import Path

import numpy as np

from hsac.data.sources._images import TEST, TRAIN, VALIDATION, image_set, read_table, shards

# position in the order of classes, modulo 4 → part
CYCLE = np.array([TRAIN, VALIDATION, TRAIN, TEST], dtype=np.int8)


def build(folder: Path, data: str, side: int = 84) -> dict[str, np.ndarray]:
    """Pool all birds of the original train and test parts, and split them anew by class.

    Of the 200 classes in their numbered order, those at even positions train, those at 1, 5, 9, …
    validate, those at 3, 7, 11, … test: 100, 50 and 50.

    Args:
        folder: Holds the folder below.
        data: Folder of the parquet files.
        side: Side in pixels of the square that each photograph is resized to as a whole.

    Returns:
        The stored arrays, ``image`` uint8 (11788, side, side, 3).

    Raises:
        InputError: For files that are missing or cannot be read.
    """
    files = [path for part in ("train", "test") for path in shards(Path(folder) / data, part)]
    table = read_table(files, "image", "RGB", side)
    label = table.columns["label"]
    return image_set(table.image, label, CYCLE[label % 4], table.names["label"])
