"""The true classes of test items, in the order of the record's answers."""

import numpy as np
import pytest

from hsac.errors import InputError
from hsac.report import labels
from hsac.report.labels import true_labels


def record(setting: str = "classification") -> dict:
    config = {"setting": setting, "dataset": "toy", "variant": {"name": "plain"}}
    return {"experiment": "toy", "config": config}


@pytest.fixture
def read(monkeypatch):
    """Stand in for the data folder: six rows, of which a variant tests three."""
    labels._read.cache_clear()
    variant = {"indices": {"test": np.array([4, 0, 5])}}
    arrays = {"label": np.array([2, 0, 0, 1, 1, 0])}
    monkeypatch.setattr(labels, "load_arrays", lambda dataset, root: (arrays, "sha"))
    monkeypatch.setattr(labels, "load_variant", lambda path, sha256: variant)
    yield variant, arrays
    labels._read.cache_clear()


def test_labels_follow_the_variants_order(read):
    assert true_labels(record()).tolist() == [1, 2, 0]


def test_nodes_of_a_graph_have_labels(read):
    _, arrays = read
    arrays["y"] = arrays.pop("label")
    assert true_labels(record()).tolist() == [1, 2, 0]


def test_labels_of_the_variant_go_first(read):
    variant, _ = read
    variant["labels"] = {"test": np.array([0, 0, 1])}
    assert true_labels(record()).tolist() == [0, 0, 1]


def test_shared_labels_cannot_be_written(read):
    with pytest.raises(ValueError, match="read-only"):
        true_labels(record())[0] = 3


def test_episodes_have_no_labels():
    with pytest.raises(InputError, match="toy: found episodes"):
        true_labels(record("few_shot"))
