"""The point that a search chooses: on validation, over its own seeds, the first of equal ones."""

import dataclasses

import pytest
from finished_runs import finish, finish_points
from searches import searching

from hsac.errors import InputError
from hsac.files import read_json, write_json
from hsac.ops import stale
from hsac.study import resolve, search
from hsac.study.graph import Graph, variant_path
from hsac.study.record import read_records


def record(cell, seed, score):
    """Return a trial's record as far as a search reads it."""
    selected = {"validation_accuracy": score, "test_accuracy": 0.5, "validation_nll": 1.0}
    return {
        "experiment": "digits",
        "method": cell.method,
        "seed": seed,
        "status": "ok",
        "config_hash": cell.hash,
        "metrics": {"selected": selected, "oracle": selected},
        "selected_by": "validation_accuracy",
        "gradients": 10,
        "products": 2,
        "seconds": 0.1,
    }


@pytest.fixture
def searched():
    """A study, a searched cell, and records of its trials: the third is best on validation."""
    study = searching({"points": 4, "seeds": [100, 101]})
    cell = resolve.cell(study, "digits", "sgd+hsac")
    scores = [(0.5, 0.6), (0.7, 0.4), (0.6, 0.7), (0.6, 0.7)]
    found = {}
    for trial, pair in zip(resolve.trials(study, cell), scores, strict=True):
        seeds = zip((100, 101), pair, strict=True)
        found[trial.hash] = [record(trial, seed, score) for seed, score in seeds]
    return study, cell, found


def test_the_best_mean_is_chosen(searched):
    """Ties go to the first."""
    study, cell, found = searched
    made = search.outcome(study, cell, found)
    assert made.chosen == 2
    assert [round(point.score, 9) for point in made.points] == [0.55, 0.55, 0.65, 0.65]
    assert made.cost == {"gradients": 80, "products": 16, "seconds": pytest.approx(0.8)}
    assert search.at_point(study, cell, made).hash == made.points[2].config_hash
    said = search.search_facts(study, cell, made)
    assert said.tried == 4
    assert said.chosen.startswith("sgd.lr=")
    assert "hsac.start=" in said.chosen


def test_nothing_of_test_decides(searched):
    study, cell, found = searched
    before = search.outcome(study, cell, found)
    for number, records in enumerate(found.values()):
        for one in records:
            for kind in ("selected", "oracle"):
                one["metrics"][kind]["test_accuracy"] = 1.0 - number / 4
    assert search.outcome(study, cell, found) == before


def test_a_failed_run_counts_as_worst(searched):
    study, cell, found = searched
    best = list(found.values())[2]
    best[0] |= {"status": "diverged"}
    best[1] |= {"status": "diverged", "metrics": None, "gradients": None, "products": None}
    made = search.outcome(study, cell, found)
    assert made.chosen == 3
    assert made.points[2].score == 0
    assert made.points[2].failed == 2
    assert made.cost["gradients"] == 70


def test_unfinished_runs_do_not_choose(searched):
    """A run that ended for want of time says nothing of the method."""
    study, cell, found = searched
    list(found.values())[2][0] |= {"status": "timeout", "reason": "stopped after step 3 of 9"}
    line = r"point 2, seed 100: found timeout .*; a search needs runs that are ok or"
    with pytest.raises(InputError, match=line):
        search.outcome(study, cell, found)


def test_nll_decides_between_equal_accuracies(searched):
    study, cell, found = searched
    for nll, records in zip([3.0, 1.0, 2.0, 1.0], found.values(), strict=True):
        for one in records:
            selected = one["metrics"]["selected"]
            selected |= {"validation_accuracy": 0.5, "validation_nll": nll}
    assert search.outcome(study, cell, found).chosen == 1


def test_each_trial_needs_all_seeds(searched):
    study, cell, found = searched
    next(iter(found.values())).pop()
    with pytest.raises(InputError, match="point 0: found runs of the seeds"):
        search.outcome(study, cell, found)


def test_trials_alike_count_each():
    """Eight trials of which three differ are eight tried, three paid for."""
    alike = {"weights": {"sgd": {"lr": [0.01, 0.1]}}}
    study = searching({"points": 8}, spaces=alike)
    cell = resolve.cell(study, "digits", "sgd+euclidean")
    hashes = {trial.hash: trial for trial in resolve.trials(study, cell)}
    found = {key: [record(one, s, 0.5) for s in (100, 101, 102)] for key, one in hashes.items()}
    made = search.outcome(study, cell, found)
    said = search.search_facts(study, cell, made)
    assert said.tried == 8
    assert said.tuning["different"] == 3
    assert made.cost["gradients"] == 90


def test_an_outcome_is_read_back(searched, tmp_path):
    study, cell, found = searched
    made = search.outcome(study, cell, found)
    path = tmp_path / "point.json"
    write_json(path, dataclasses.asdict(made))
    assert search.read_point(path, cell) == made
    assert read_json(path)["schema"] == 1
    other = resolve.cell(study, "digits", "sgd+euclidean")
    with pytest.raises(InputError, match=r"point\.json: not of digits sgd\+euclidean"):
        search.read_point(path, other)


def of_one(cell, score):
    """Return what the records of a trial say beside what `finish_points` writes."""
    made = record(cell, 100, score)
    return {key: value for key, value in made.items() if key not in ("seed", "seconds")}


def tuned(graph, cell):
    """Choose the point of a searched cell from the records of its trials, and read it."""
    indexes = [bundle.index for bundle in graph.trial_bundles(cell)]
    search.tune(graph.study, cell, indexes, graph.point_file(cell))
    return search.read_point(graph.point_file(cell), cell)


@pytest.fixture
def graph(tmp_path, monkeypatch):
    """The work of a study where everything that a search of two methods needs is finished."""
    monkeypatch.setenv("HSAC_DATA", str(tmp_path / "data"))
    methods = ["sgd+fixed@0.3", "sgd+hsac"]
    study = searching({"points": 3, "seeds": [100]}, digits={"methods": methods})
    graph = Graph(study, tmp_path / "results")
    write_json(variant_path(study.experiments["digits"]), {"hash": "variant"})
    for cell in graph.cells:
        finish_points(graph, cell, lambda one: of_one(one, 0.5))
        point = tuned(graph, cell)
        trained = search.at_point(study, cell, point)
        said = search.search_facts(study, cell, point).dump()
        said |= {"config": trained.config.dump(), "config_hash": trained.hash}
        finish(graph, cell, **said)
    return graph


def trial_record(graph, number):
    """Return the path of the record of a trial of sgd+hsac."""
    return graph.folder(resolve.cell(graph.study, "digits", "sgd+hsac", number)) / "seed100.json"


def test_present_is_the_chosen_trial(graph):
    """Runs of a searched cell have the configuration of the point that it chose."""
    for cell in graph.cells:
        found, point = search.present(graph, cell)
        assert point == tuned(graph, cell)
        assert found == resolve.trials(graph.study, cell)[point.chosen]
        trial = resolve.trials(graph.study, cell)[1]
        assert search.present(graph, trial) == (trial, None)


def test_stale_knows_trials_and_choice(graph):
    assert not stale.stale_runs(graph)
    trial_record(graph, 2).unlink()
    (run,) = stale.stale_runs(graph)
    assert (run.method, run.point, run.seed, run.reason) == ("sgd+hsac", 2, 100, "never run")
    line = "sgd+hsac point 2 seeds 100: never run"
    assert any(line in one for one in stale.report(graph))
    path = graph.point_file(resolve.cell(graph.study, "digits", "sgd+hsac"))
    write_json(path, read_json(path) | {"chosen": 1})
    found = [run for run in stale.stale_runs(graph) if run.point is None]
    reason = "configuration changed"
    assert [(run.seed, run.reason) for run in found] == [(0, reason), (1, reason)]
    path.unlink()  # chosen again; as before, for all that is known
    assert not [run for run in stale.stale_runs(graph) if run.point is None]


def test_stale_knows_an_edited_trial(graph):
    edited = trial_record(graph, 1)
    write_json(edited, read_json(edited) | {"seconds": 1.0})
    (run,) = stale.stale_runs(graph)
    assert (run.method, run.point) == ("sgd+hsac", 1)
    assert run.reason.startswith("record edited")


def test_indexes_name_records_in_folders(graph):
    """An index of trials lies with its cell, and the records in their trials' folders."""
    cell = resolve.cell(graph.study, "digits", "sgd+hsac")
    (bundle,) = graph.trial_bundles(cell)
    paths = [trial_record(graph, number) for number in range(3)]
    assert [path for path, _ in read_records(bundle.index)] == paths
    assert [run.record for run in bundle.runs()] == paths
    paths[1].write_text("{}")
    with pytest.raises(InputError, match="edited or damaged since its run"):
        tuned(graph, cell)


def test_other_choices_are_refused(graph):
    """Runs at a point that the records of the search do not choose are named."""
    search.check(graph, read_records)
    cell = resolve.cell(graph.study, "digits", "sgd+hsac")
    finish_points(graph, cell, lambda one: of_one(one, 0.9 if one.point == 1 else 0.5))
    line = "trained at 'as configured' of 3 points; the runs of the search choose 'sgd.lr="
    with pytest.raises(InputError, match=line) as caught:
        search.check(graph, read_records)
    assert f"; delete {graph.point_file(cell)} and run" in str(caught.value)
    assert cell.hash in str(graph.point_file(cell))
