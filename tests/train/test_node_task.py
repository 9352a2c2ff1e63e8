"""Node classification: which nodes and which feature columns a variant gives the model."""

import numpy as np
import pytest
import torch
from studies import cell_of, smoke_keys

from hsac.data import build_variant, load_graph, load_variant, write_variant
from hsac.data.store import load_arrays
from hsac.train.setup import Inputs, build_task
from hsac.train.tasks.graphs import NodeTask

LIKE = torch.zeros(1, dtype=torch.float64)


@pytest.fixture(scope="module")
def variant(data_folder, tmp_path_factory):
    """A variant of disease without two of its columns, as it is read back."""
    recipe = {"recipe": "node_split", "without": [0, 7]}
    path = tmp_path_factory.mktemp("variants") / "v.json"
    write_variant(build_variant("disease", "v", recipe, data_folder), path)
    return load_variant(path)


@pytest.fixture(scope="module")
def arrays(data_folder):
    return load_arrays("disease", data_folder)[0]


def test_graph_is_undirected(variant, arrays, data_folder):
    """Both directions of every edge, as the data package reads them, and each node's own."""
    edge = load_graph("disease", data_folder).edge_index
    _, source, target, _ = NodeTask(arrays, variant, [0], LIKE).graph
    loops = torch.arange(len(arrays["x"])).expand(2, -1)
    assert torch.equal(torch.stack([source, target]), torch.cat([edge, loops], 1))


def test_left_out_columns_never_reach_model(variant, arrays):
    task = NodeTask(arrays, variant, [0], LIKE)
    x = torch.from_numpy(arrays["x"]).double()
    assert task.inputs == 10
    assert torch.equal(task.graph[0], x[:, [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]])
    without = {key: value for key, value in variant.items() if key != "columns"}
    whole = NodeTask(arrays, without, [0], LIKE)
    assert torch.equal(whole.graph[0], x)


@pytest.mark.parametrize("recipe", ["node_split", "public_split"])
def test_graph_trains_by_nodes(variant, arrays, recipe):
    """Whatever the recipe."""
    some = {part: rows[:20] for part, rows in variant["indices"].items()}  # others are in no part
    chosen = variant | {"recipe": {"recipe": recipe}, "indices": some}
    _, cell = cell_of(smoke_keys(), "disease", "adam+fixed@0.3")
    inputs = Inputs(cell, chosen, arrays, torch.device("cpu"))
    task, sizes = build_task(inputs, [0], LIKE)
    assert isinstance(task, NodeTask)
    assert sizes["classes"] == 2
    assert {part: len(rows) for part, rows in task.rows.items()} == {
        "train": 20,
        "validation": 20,
        "test": 20,
    }
    np.testing.assert_array_equal(task.rows["test"].numpy(), some["test"])
