"""Node classification: which nodes and which feature columns a variant gives the model."""

import numpy as np
import pytest
import torch

from hsac.data import build_variant, load_graph, load_variant, write_variant
from hsac.train import run
from hsac.train.tasks import CROSS_ENTROPY, NodeTask

LIKE = torch.zeros(1, dtype=torch.float64)


@pytest.fixture(scope="module")
def variant(data_folder, tmp_path_factory):
    """A variant of disease without two of its columns, as it is read back."""
    recipe = {"recipe": "node_split", "without": [0, 7]}
    path = tmp_path_factory.mktemp("variants") / "v.json"
    write_variant(build_variant("disease", "v", recipe, data_folder), path)
    return load_variant(path)


def test_columns_that_are_left_out_do_not_reach_the_model(variant, data_folder):
    task = NodeTask("disease", variant, data_folder, [0], LIKE)
    x = load_graph("disease", data_folder).x.double()
    assert task.inputs == 10
    assert torch.equal(task.graph[0], x[:, [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]])
    del variant["columns"]
    whole = NodeTask("disease", variant, data_folder, [0], LIKE)
    assert torch.equal(whole.graph[0], x)


@pytest.mark.parametrize("recipe", ["node_split", "public_split"])
def test_a_graph_trains_by_nodes_whatever_the_recipe(variant, data_folder, recipe):
    some = {part: rows[:20] for part, rows in variant["indices"].items()}  # others are in no part
    chosen = variant | {"recipe": {"recipe": recipe}, "indices": some}
    config = {"dataset": "disease", "training": {"batch": 1}, "loss": CROSS_ENTROPY}
    task, sizes = run._task(config, chosen, data_folder, [0], LIKE)
    assert isinstance(task, NodeTask)
    assert sizes["classes"] == 2
    assert {part: len(rows) for part, rows in task.rows.items()} == {
        "train": 20,
        "validation": 20,
        "test": 20,
    }
    np.testing.assert_array_equal(task.rows["test"].numpy(), some["test"])
