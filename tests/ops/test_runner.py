"""Records: complete, resumable, and a status for whatever ends a training."""

import copy
import hashlib
import json

import numpy as np
import pytest
import torch
from studies import cell_of, recipe_of, smoke_keys

from hsac.data import build_variant, write_variant
from hsac.errors import InputError
from hsac.files import read_json, write_json
from hsac.models.mlp import Mlp
from hsac.ops import runner
from hsac.report.gather import gather, read_gathered
from hsac.report.tables import experiment_table, failures_table
from hsac.study import resolve, search
from hsac.study.graph import Graph
from hsac.study.record import write_index


@pytest.fixture(scope="module")
def keys():
    keys = smoke_keys()
    keys["experiments"]["digits"]["training"] |= {"epochs": 2, "evaluations": 2}
    keys["experiments"]["disease"]["training"] |= {"epochs": 12, "evaluations": 2}
    return keys


@pytest.fixture(scope="module")
def variants(keys, data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("variants")
    out = {}
    for name in ("digits", "disease"):
        recipe = recipe_of(keys["experiments"][name])
        dataset = keys["experiments"][name]["dataset"]
        out[name] = folder / f"{name}.json"
        write_variant(build_variant(dataset, name, recipe, data_folder), out[name])
    return out


def train_points(study, bundle, variant, data_folder):
    """Train a bundle of trials; returns its index."""
    cells, seeds = list(bundle.cells), list(bundle.seeds)
    runner.run_points(study, cells, seeds, variant, data_folder, bundle.index)
    return bundle.index


def test_bundling_points_changes_no_bit(keys, variants, data_folder, tmp_path, monkeypatch):
    """Points in a bundle are what each would be alone."""
    keys = copy.deepcopy(keys) | {
        "search": {"points": 3, "seeds": [100, 101]},
        "bundle": 10,
    }
    keys["experiments"]["digits"]["methods"] = ["sgd+hsac"]
    study, cell = cell_of(keys, "digits", "sgd+hsac")

    def bundles(results, size):
        given = study.model_copy(update={"bundle": size})
        for bundle in Graph(given, results).trial_bundles(cell):
            yield train_points(study, bundle, variants["digits"], data_folder)

    assert len([*bundles(tmp_path / "whole", 10)]) == 1
    halves = [*bundles(tmp_path / "halves", 2)]
    assert len(halves) == 3
    kept = sorted(path for path in tmp_path.rglob("whole/**/*.npy"))
    assert len(kept) == 6
    for path in kept:  # bit for bit
        other = tmp_path / "halves" / path.relative_to(tmp_path / "whole")
        assert path.read_bytes() == other.read_bytes()

    # Whatever the size of the bundles, nothing is trained again.
    monkeypatch.setattr(runner, "attempt", None)
    before = {path: path.read_bytes() for path in tmp_path.rglob("seed*")}
    for results, size in (("whole", 10), ("whole", 4), ("whole", 2), ("halves", 10)):
        again = [*bundles(tmp_path / results, size)]
        assert search.read_points(again).keys() == {one.hash for one in resolve.trials(study, cell)}
    assert {path: path.read_bytes() for path in tmp_path.rglob("seed*")} == before


def test_dying_bundle_keeps_finished_points(keys, variants, data_folder, tmp_path, monkeypatch):
    keys = copy.deepcopy(keys) | {"search": {"points": 3, "seeds": [100]}}
    keys["experiments"]["digits"]["methods"] = ["sgd+fixed@0.3"]
    study, cell = cell_of(keys, "digits", "sgd+fixed@0.3")
    (bundle,) = Graph(study, tmp_path).trial_bundles(cell)
    trained, real = [], runner.attempt

    def attempt(*given):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(given[1].point)
        return real(*given)

    monkeypatch.setattr(runner, "attempt", attempt)
    with pytest.raises(KeyboardInterrupt):
        train_points(study, bundle, variants["digits"], data_folder)
    assert not bundle.index.exists()
    monkeypatch.setattr(
        runner, "attempt", lambda *given: trained.append(given[1].point) or real(*given)
    )
    train_points(study, bundle, variants["digits"], data_folder)
    assert trained == [0, 1, 2]
    assert len(read_json(bundle.index)["runs"]) == 3


def bundle(keys, variants, data_folder, folder, seeds):
    study, cell = cell_of(keys, "digits", "sgd+fixed@0.3")
    runner.run_bundle(study, cell, seeds, variants["digits"], data_folder, folder / "block0.json")
    return {seed: folder / f"seed{seed}.json" for seed in seeds}


def test_a_bundle_keeps_finished_runs(keys, variants, data_folder, tmp_path):
    first = bundle(keys, variants, data_folder, tmp_path, [0])
    before = first[0].stat().st_mtime_ns
    (tmp_path / "seed1.json").write_text('{"schema": 1, "config_ha')  # cut short by a crash
    (tmp_path / "block0.json").unlink()
    both = bundle(keys, variants, data_folder, tmp_path, [0, 1])
    assert both[0].stat().st_mtime_ns == before
    assert read_json(both[1])["status"] == "ok"
    assert [r["seed"] for r in read_json(tmp_path / "block0.json")["runs"]] == [0, 1]


def test_lost_weights_are_trained_again(keys, variants, data_folder, tmp_path):
    """Weights lie beside the record. Lost or damaged ones are trained again."""
    path = bundle(keys, variants, data_folder, tmp_path, [0])[0]
    weights, record = path.with_suffix(".npy"), path.read_bytes()
    kept = weights.read_bytes()
    assert read_json(path)["weights"] == hashlib.sha256(kept).hexdigest()
    for spoil in (weights.unlink, lambda: weights.write_bytes(kept[:-8])):
        spoil()
        bundle(keys, variants, data_folder, tmp_path, [0])
        assert weights.read_bytes() == kept
    timing = ("seconds", "peak_memory_mib")
    assert {k: v for k, v in read_json(path).items() if k not in timing} == {
        k: v for k, v in json.loads(record).items() if k not in timing
    }


def test_another_configuration_is_trained_again(keys, variants, data_folder, tmp_path):
    path = bundle(keys, variants, data_folder, tmp_path, [0])[0]
    record = read_json(path)
    write_json(path, record | {"code": "0" * 16})
    bundle(keys, variants, data_folder, tmp_path, [0])
    assert read_json(path)["code"] == record["code"]


def test_grid_chooses_on_validation(keys, tmp_path):
    """It counts the cost of all candidates."""
    study, cell = cell_of(keys, "digits", "sgd+grid")
    candidates = resolve.candidates(study, cell)
    scores = {
        "sgd+fixed@0.3": (0.6, 0.9),
        "sgd+fixed@1": (0.7, 0.1),  # (validation, test): test must not decide
    }
    indexes = []
    for candidate in candidates:
        method = candidate.method
        validation, test = scores[method]
        metrics = {"validation_accuracy": validation, "validation_nll": 1.0, "test_accuracy": test}
        record = {
            "seed": 0,
            "status": "ok",
            "code": "a",
            "metrics": {"selected": metrics},
            "method": method,
        }
        record |= {"experiment": "digits", "selected_by": "validation_accuracy"}
        record |= {
            "gradients": 10,
            "products": 1,
            "held_out_batches": 3,
            "steps": 5,
            "seconds": 2.0,
        }
        folder = tmp_path / method
        write_json(folder / "seed0.json", record)
        write_index(folder / "block0.json", candidate, {0: folder / "seed0.json"})
        indexes.append(folder / "block0.json")
    methods = [candidate.method for candidate in candidates]
    runner.select_bundle(cell, methods, indexes, [0], tmp_path / "grid" / "block0.json")
    chosen = read_json(tmp_path / "grid" / "seed0.json")
    assert chosen["chosen"] == "sgd+fixed@1"
    assert chosen["metrics"]["selected"]["test_accuracy"] == 0.1
    assert (
        chosen["gradients"],
        chosen["held_out_batches"],
        chosen["tried"],
        chosen["seconds"],
    ) == (20, 6, 2, 4.0)


def test_a_missing_variant_file_is_named(keys, data_folder, tmp_path):
    study, cell = cell_of(keys, "digits", "sgd+fixed@0.3")
    with pytest.raises(InputError, match=r"nowhere\.json"):
        runner.run_bundle(
            study, cell, [0], tmp_path / "nowhere.json", data_folder, tmp_path / "block0.json"
        )


@pytest.fixture
def trouble(monkeypatch):
    """Train seeds one at a time, and let training raise.

    `trouble(when, error)` raises for the seeds that `when` says.
    """
    monkeypatch.setattr(Mlp, "vmapped", False)
    train_seeds = runner.train_seeds

    def set_up(when, error):
        def raising(study, cell, seeds, *rest):
            if when(seeds):
                raise error
            return train_seeds(study, cell, seeds, *rest)

        monkeypatch.setattr(runner, "train_seeds", raising)

    return set_up


def gathered(folder):
    """The runs of the one bundle in `folder`, every record checked against the schema."""
    gather([folder / "block0.json"], folder)
    return read_gathered(folder / "runs.parquet")


def test_exception_is_its_runs_status(keys, variants, data_folder, tmp_path, trouble):
    """The others go on."""
    trouble(lambda seeds: 1 in seeds, ValueError("no\n  such thing"))
    bundle(keys, variants, data_folder, tmp_path, [0, 1, 2])
    runs = gathered(tmp_path)
    assert runs.status.tolist() == ["ok", "error", "ok"]
    assert runs.reason[1] == "ValueError: no such thing"
    (row,) = (
        experiment_table(runs, "digits", ["sgd+fixed@0.3"], "sgd+fixed@0.3")[["n_ok", "n"]]
        .to_numpy()
        .tolist()
    )
    assert row == [2, 3]
    assert failures_table(runs)[["seed", "status"]].to_numpy().tolist() == [[1, "error"]]
    assert not (tmp_path / "seed1.npy").exists()


def test_only_failed_runs_are_retried(keys, variants, data_folder, tmp_path, trouble):
    trouble(lambda seeds: 1 in seeds, ValueError("no"))
    paths = bundle(keys, variants, data_folder, tmp_path, [0, 1])
    before = paths[0].stat().st_mtime_ns
    trouble(lambda seeds: False, None)
    bundle(keys, variants, data_folder, tmp_path, [0, 1])
    assert gathered(tmp_path).status.tolist() == ["ok", "ok"]
    assert paths[0].stat().st_mtime_ns == before


def test_diverged_run_is_final(keys, variants, data_folder, tmp_path):
    """Its record fits the schema."""
    wild = copy.deepcopy(keys)
    wild["rules"]["weights"]["sgd"]["lr"] = 1e30
    path = bundle(wild, variants, data_folder, tmp_path, [0])[0]
    before = path.stat().st_mtime_ns
    bundle(wild, variants, data_folder, tmp_path, [0])
    assert path.stat().st_mtime_ns == before
    assert gathered(tmp_path).status.tolist() == ["diverged"]


@pytest.mark.parametrize("error", [InputError("data: damaged"), KeyboardInterrupt(), SystemExit(3)])
def test_users_errors_are_no_status(keys, variants, data_folder, tmp_path, trouble, error):
    """What the user can fix or stops is raised."""
    trouble(lambda seeds: True, error)
    with pytest.raises(type(error)):
        bundle(keys, variants, data_folder, tmp_path, [0])
    assert [path.name for path in tmp_path.iterdir()] == [".seeds0-0.lock"]


def test_out_of_memory_halves_the_seeds(
    keys, variants, data_folder, tmp_path, trouble, monkeypatch
):
    """Seeds that do not fit together are trained in parts."""
    trouble(
        lambda seeds: len(seeds) > 2 or 4 in seeds,
        torch.OutOfMemoryError("CUDA out of memory. Tried"),
    )
    monkeypatch.setattr(Mlp, "vmapped", True)
    paths = bundle(keys, variants, data_folder, tmp_path, [0, 1, 2, 3, 4])
    assert gathered(tmp_path).status.tolist() == ["ok"] * 4 + ["out_of_memory"]
    assert [read_json(path)["together"] for path in paths.values()] == [
        [0, 1],
        [0, 1],
        [2],
        [3],
        [4],
    ]


def test_allocator_errors_are_out_of_memory():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert runner.failure(raised.value)[0] == "out_of_memory"
    assert runner.failure(MemoryError()) == ("out_of_memory", "MemoryError")
    assert runner.failure(RuntimeError("shapes differ")) == ("error", "RuntimeError: shapes differ")


def test_timeout_says_the_step_reached(keys, variants, data_folder, tmp_path):
    path = bundle(keys | {"time_limit": 1e-9}, variants, data_folder, tmp_path, [0, 1])[1]
    assert gathered(tmp_path).status.tolist() == ["timeout"] * 2
    assert read_json(path)["reason"] == "stopped after step 0 of 28; allowed are 1e-09 s a run"
    bundle(keys | {"time_limit": 600}, variants, data_folder, tmp_path, [0, 1])
    assert gathered(tmp_path).status.tolist() == ["ok"] * 2


def grid_of_two(keys, variants, data_folder, folder):
    """A grid's cell, its candidates' methods and their indexes, trained with seed 0."""
    study, cell = cell_of(keys, "digits", "sgd+grid")
    candidates = resolve.candidates(study, cell)
    methods = [candidate.method for candidate in candidates]
    indexes = [folder / method / "block0.json" for method in methods]
    for candidate, index in zip(candidates, indexes, strict=True):
        runner.run_bundle(study, candidate, [0], variants["digits"], data_folder, index)
    return cell, methods, indexes


def test_unfinished_candidate_leaves_grid_unfinished(
    keys, variants, data_folder, tmp_path, trouble
):
    trouble(lambda seeds: False, None)
    given = grid_of_two(keys, variants, data_folder, tmp_path)
    index = tmp_path / "grid" / "block0.json"
    runner.select_bundle(*given, [0], index)
    assert gathered(index.parent).status.tolist() == ["ok"]
    (tmp_path / "sgd+fixed@1" / "seed0.json").unlink()
    trouble(lambda seeds: True, ValueError("no"))
    given = grid_of_two(keys, variants, data_folder, tmp_path)
    runner.select_bundle(*given, [0], index)
    assert gathered(index.parent).reason.tolist() == ["candidate sgd+fixed@1: ValueError: no"]


def test_edited_candidate_is_refused(keys, variants, data_folder, tmp_path):
    given = grid_of_two(keys, variants, data_folder, tmp_path)
    path = tmp_path / "sgd+fixed@1" / "seed0.json"
    path.write_text(
        path.read_text().replace('"validation_accuracy":0.', '"validation_accuracy":0.9')
    )
    with pytest.raises(InputError, match=r"fixed@1/seed0\.json: edited or damaged"):
        runner.select_bundle(*given, [0], tmp_path / "grid" / "block0.json")


def test_edited_weights_are_detected(keys, variants, data_folder, tmp_path):
    weights = bundle(keys, variants, data_folder, tmp_path, [0])[0].with_suffix(".npy")
    changed = np.load(weights)
    changed[0] += 1e-9
    np.save(weights, changed)
    with pytest.raises(InputError, match=r"seed0\.npy: edited or damaged"):
        gathered(tmp_path)


def content(folder):
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")
    }


def test_interrupted_move_finishes_without_training(keys, variants, data_folder, tmp_path, trouble):
    """A bundle that was killed while it moved its records is finished."""
    bundle(keys, variants, data_folder, tmp_path, [0, 1])
    before = content(tmp_path)
    (tmp_path / ".seeds0-1.whole").mkdir()
    for name in ("seed1.json", "seed1.npy"):
        (tmp_path / name).rename(tmp_path / ".seeds0-1.whole" / name)
    (tmp_path / ".seeds0-1.staged").mkdir()
    (tmp_path / ".seeds0-1.staged" / "seed0.json").write_text("half")
    (tmp_path / "block0.json").unlink()
    trouble(lambda seeds: True, AssertionError("nothing is to be trained"))
    bundle(keys, variants, data_folder, tmp_path, [0, 1])
    assert content(tmp_path) == before
    assert [path.name for path in tmp_path.glob(".*")] == [".seeds0-1.lock"]


def test_lost_record_comes_back_bitwise(keys, variants, data_folder, tmp_path):
    """It is trained with the same others again, and these stay."""
    paths = bundle(keys, variants, data_folder, tmp_path, [0, 1, 2])
    before = content(tmp_path)
    paths[1].write_bytes(before["seed1.json"][:1000])
    bundle(keys, variants, data_folder, tmp_path, [0, 1, 2, 3])
    after = content(tmp_path)
    assert after["seed1.npy"] == before["seed1.npy"]
    assert all(
        after[name] == before[name]
        for name in ("seed0.json", "seed2.json", "seed0.npy", "seed2.npy")
    )
    assert json.loads(after["seed1.json"])["together"] == [0, 1, 2]
    assert json.loads(after["seed3.json"])["together"] == [3]
