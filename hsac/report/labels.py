"""The true classes of the test items of a run, for metrics that a plugin computes of them."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from hsac.data.store import load_arrays
from hsac.data.variants import load_variant
from hsac.errors import InputError
from hsac.report.columns import Record
from hsac.study.graph import data_root, recorded_variant


def true_labels(record: Record) -> np.ndarray:
    """Read the true class of each test item of a run.

    Args:
        record: The run's record.

    Returns:
        Classes int64 (N,), in the order of the record's ``test_right``. Every run of a variant
        shares them, so they cannot be written to.

    Raises:
        InputError: The run is of episodes, which have no classes of their own, or its variant or
            dataset is not in the data folder.
    """
    config = record["config"]
    if config["setting"] == "few_shot":
        raise InputError(
            f"{record['experiment']}: found episodes, which ask for classes of their own; allowed"
            " are test items with a class"
        )
    return _read(config["dataset"], recorded_variant(config["dataset"], config["variant"]))


@lru_cache(maxsize=16)
def _read(dataset: str, variant_path: Path) -> np.ndarray:
    arrays, sha256 = load_arrays(dataset, data_root())
    variant = load_variant(variant_path, sha256)
    # Graphs call the classes of their nodes y.
    labels = arrays["label"] if "label" in arrays else arrays["y"]
    # A variant that changes labels stores its own, which go before the dataset's.
    found = variant.get("labels", {}).get("test", labels[variant["indices"]["test"]])
    found = np.asarray(found, dtype=np.int64)
    # The cache hands the same array to every caller.
    found.setflags(write=False)
    return found
