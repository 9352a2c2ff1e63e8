"""Backbones are the trained networks, and embed what they have not seen."""

import numpy as np
import pytest
from sets import features, few_shot
from studies import cell_of, recipe_of, smoke_keys

from hsac.data import build_variant, load_variant, write_variant
from hsac.data.store import load_arrays
from hsac.errors import InputError
from hsac.files import read_array, read_json, write_json
from hsac.frozen import networks
from hsac.frozen.features import build
from hsac.ops.runner import run_bundle
from hsac.study.record import write_index

NET = features(recipe="backbone", experiment="digits", method="sgd+euclidean")


@pytest.fixture(scope="module")
def trained(data_folder, tmp_path_factory):
    """A study, the cell of two brief backbones, their variant and index."""
    keys = smoke_keys()
    digits = keys["experiments"]["digits"]
    digits["training"] |= {"epochs": 1, "evaluations": 1}
    digits["model"] |= {"hidden": 8, "dim": 3}
    digits["variant"] |= {"validation": 0.5, "largest": 20}
    folder = tmp_path_factory.mktemp("backbone")
    variant = folder / "variant.json"
    write_variant(build_variant("digits", "digits", recipe_of(digits), data_folder), variant)
    study, cell = cell_of(keys, "digits", "sgd+euclidean")
    index = folder / "block0.json"
    run_bundle(study, cell, [0, 1], variant, data_folder, index)
    return study, cell, variant, index


@pytest.fixture(scope="module")
def found(trained, data_folder):
    study, _, variant, index = trained
    return networks.embedded(study, NET, variant, [index], data_folder)


def test_embeds_what_enters_the_head(trained, found, data_folder):
    """By hand: two layers, ReLU between them."""
    index = trained[3]
    arrays, _ = load_arrays("digits", data_folder)
    made, sources = found
    x = arrays["image"][made["backbone/rows"]].reshape(-1, 64) / 255
    for seed in (0, 1):
        w = read_array(index.parent / f"seed{seed}.npy")
        first, w = w[: 8 * 64].reshape(8, 64), w[8 * 64 :]
        bias, w = w[:8], w[8:]
        second, last = w[:24].reshape(3, 8), w[24:27]
        expected = np.maximum(x @ first.T + bias, 0) @ second.T + last
        np.testing.assert_allclose(made["backbone/x"][seed], expected, rtol=1e-4, atol=1e-5)
        assert sources[f"seed{seed}"] == read_json(index.parent / f"seed{seed}.json")["weights"]


def test_trained_rows_are_left_out(trained, found):
    indices = load_variant(trained[2])["indices"]
    rows, split = found[0]["backbone/rows"], found[0]["backbone/split"]
    np.testing.assert_array_equal(rows[split == 0], np.sort(indices["validation"]))
    np.testing.assert_array_equal(rows[split == 2], np.sort(indices["test"]))
    assert not {*rows} & {*indices["train"]}


def test_features_have_a_backbone_a_seed(found, data_folder):
    arrays, _ = load_arrays("digits", data_folder)
    made = build(arrays | found[0], NET, "frozen.features.net")
    assert made.x.shape[::2] == (2, 3)
    assert "2 networks of digits, sgd+euclidean" in made.words
    np.testing.assert_array_equal(made.label, arrays["label"][found[0]["backbone/rows"]])


def test_episodes_keep_every_class():
    """Base classes set the scale, and no head sees them."""
    arrays = few_shot()
    rows, split = networks._kept({"episodes": {}}, arrays)
    np.testing.assert_array_equal(rows, np.arange(len(arrays["label"])))
    np.testing.assert_array_equal(split, arrays["split"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "diverged"}, "found status diverged; allowed is ok"),
        ({"config_hash": "other"}, "a run of another configuration"),
    ],
)
def test_other_runs_are_no_backbones(trained, data_folder, tmp_path, changes, words):
    study, cell, variant, index = trained
    record = read_json(index.parent / "seed0.json") | changes
    path = tmp_path / "seed0.json"
    write_json(path, record)
    write_index(tmp_path / "block0.json", cell, {0: path})
    with pytest.raises(InputError, match=words):
        networks.embedded(study, NET, variant, [tmp_path / "block0.json"], data_folder)


def test_edited_weights_are_refused(trained, data_folder, tmp_path):
    study, cell, variant, index = trained
    for name in ("seed0.json", "seed0.npy"):
        (tmp_path / name).write_bytes((index.parent / name).read_bytes())
    write_index(tmp_path / "block0.json", cell, {0: tmp_path / "seed0.json"})
    with open(tmp_path / "seed0.npy", "r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\1")
    with pytest.raises(InputError, match="edited or damaged"):
        networks.embedded(study, NET, variant, [tmp_path / "block0.json"], data_folder)
