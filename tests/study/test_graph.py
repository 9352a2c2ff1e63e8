"""The one list of the work: jobs, bundles, runs, and where their files lie."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from searches import searching
from studies import CONFIG, changed, smoke, smoke_keys, unchecked

from hsac.errors import InputError
from hsac.study import load, resolve
from hsac.study.graph import SELECT, TRAIN, Graph, blocks, check_writable, data_root, variant_inputs

RESULTS = Path("results/smoke")
SEEDS = st.lists(st.integers(0, 300), unique=True, max_size=30)


@pytest.fixture
def graph():
    return Graph(smoke())


@given(SEEDS, st.integers(1, 40))
def test_blocks_hold_each_seed_once(seeds, size):
    made = blocks(seeds, size)
    assert sorted(seed for block in made.values() for seed in block) == sorted(seeds)
    assert all(block == sorted(block) and len(block) <= size for block in made.values())
    assert all(seed // size == number for number, block in made.items() for seed in block)


@given(SEEDS, st.integers(0, 300), st.integers(1, 40))
def test_a_seed_more_keeps_blocks(seeds, more, size):
    """A further seed leaves the bundles that it is not in as they are."""
    before, after = blocks(seeds, size), blocks({*seeds, more}, size)
    assert after.keys() == before.keys() | {more // size}
    kept = before.keys() - {more // size}
    assert all(after[number] == before[number] for number in kept)


def test_every_run_is_listed_once(graph):
    """Each trained cell's seeds, in one bundle each, and nothing of a grid's."""
    runs = list(graph.runs())
    found = Counter((run.cell.experiment, run.cell.method, run.seed) for run in runs)
    cells = graph.trained
    assert found == Counter((c.experiment, c.method, seed) for c in cells for seed in (0, 1))
    assert len({run.record for run in runs}) == len(runs) == 34
    assert not any(run.cell.derived for run in runs)


@pytest.mark.parametrize("scale", load.SCALES)
def test_no_record_is_made_twice(scale):
    """No two runs of a shipped scale share a record, nor two bundles an index."""
    graph = Graph(load.load(scale, folder=CONFIG))
    records = [run.record for bundle in graph.bundles for run in bundle.runs()]
    assert len(set(records)) == len(records)
    assert len(graph.by_index) == len(graph.bundles)


def test_runs_of_searches_are_listed():
    """Those of each trial on the search's seeds, then the cell's own; of trials alike the first."""
    alike = {"weights": {"sgd": {"lr": [0.01, 0.1]}}}
    graph = Graph(searching({"points": 8}, {"methods": ["sgd+fixed@0.3"]}, spaces=alike))
    runs = [(run.cell.point, run.seed) for run in graph.runs()]
    points = sorted({point for point, _ in runs if point is not None})
    assert len(points) == 3
    assert points[0] == 0
    trials = [(point, seed) for point in points for seed in (100, 101, 102)]
    assert sorted(runs[:-2]) == trials
    assert runs[-2:] == [(None, 0), (None, 1)]


def test_bundles_are_seeds_by_division():
    keys = smoke_keys() | {"seeds": [0, 3, 4, 9], "bundle": 4}
    graph = Graph(unchecked(keys))
    cell = resolve.cell(graph.study, "digits", "sgd+hsac")
    found = {bundle.index.name: bundle.seeds for bundle in graph.own_bundles(cell)}
    assert found == {"block0.json": (0, 3), "block1.json": (4,), "block2.json": (9,)}
    grid = graph.own_bundles(resolve.cell(graph.study, "digits", "sgd+grid"))
    assert {bundle.rule for bundle in grid} == {SELECT}
    assert {bundle.rule for bundle in graph.own_bundles(cell)} == {TRAIN}


def test_records_lie_with_their_cell(graph):
    """The folder is named by the hash, so that a changed cell is a new folder."""
    for run in graph.runs():
        cell = run.cell
        folder = RESULTS / "runs" / cell.experiment / cell.method / cell.hash
        assert graph.folder(cell) == folder
        assert run.record == folder / f"seed{run.seed}.json"
        assert run.bundle.index == folder / "block0.json"
    keys = changed(smoke_keys(), "rules", "curvature", "hsac", value={"radius": 0.5})
    other = Graph(unchecked(keys))
    moved = {run.record for run in graph.runs()} - {run.record for run in other.runs()}
    assert {path.parent.parent.name for path in moved} == {"sgd+hsac", "sam+hsac", "adam+hsac"}


def test_bundles_are_found_by_index(graph):
    assert len(graph.by_index) == len(graph.bundles)
    for bundle in graph.bundles:
        assert graph.by_index[bundle.index] is bundle
        assert bundle.index in graph.indexes([bundle.of])


def test_a_choice_names_its_candidates(graph):
    """A grid's bundle is chosen among the bundles of the same seeds of what it chooses from."""
    (bundle,) = (one for one in graph.bundles if one.rule == SELECT)
    among = graph.candidates(bundle)
    assert [path.parent.parent.name for path in among] == ["sgd+fixed@0.3", "sgd+fixed@1"]
    assert all(graph.by_index[path].seeds == bundle.seeds for path in among)


@pytest.mark.parametrize(
    ("bundle", "numbers"),
    [
        # a job a run
        (1, [([k], [seed]) for seed in (8, 9, 10) for k in range(4)]),
        # the seeds of a block stay together
        (5, [([0, 1], [8, 9]), ([2, 3], [8, 9]), ([0, 1, 2, 3], [10])]),
        (10, [([0, 1, 2, 3], [8, 9]), ([0, 1, 2, 3], [10])]),
    ],
)
def test_trials_are_bundled_by_runs(bundle, numbers):
    graph = Graph(searching({"points": 4, "seeds": [8, 9, 10]}, bundle=bundle))
    cell = resolve.cell(graph.study, "digits", "sgd+hsac")
    found = graph.trial_bundles(cell)
    made = [([trial.point for trial in one.cells], list(one.seeds)) for one in found]
    assert made == numbers
    assert [one.index.name for one in found] == [f"points{k}.json" for k in range(len(numbers))]
    assert {one.index.parent for one in found} == {graph.point_file(cell).parent}


def test_trials_alike_share_a_bundle():
    """Trials that came out alike are in one bundle only."""
    alike = {"weights": {"sgd": {"lr": [0.01, 0.1]}}}
    graph = Graph(searching({"points": 8}, spaces=alike, bundle=4))
    found = graph.trial_bundles(resolve.cell(graph.study, "digits", "sgd+euclidean"))
    hashes = [trial.hash for bundle in found for trial in bundle.cells]
    assert len(set(hashes)) == len(hashes) == len(found) == 3


def test_only_searched_cells_have_trials(graph):
    assert not any(graph.trial_bundles(cell) for cell in graph.cells)
    assert graph.point_files(graph.cells) == []
    searched = Graph(searching({"points": 2}))
    points = searched.point_files(searched.cells)
    assert points == [searched.folder(cell) / "point.json" for cell in searched.cells]


def test_jobs_follow_what_they_need(graph):
    """Each file is made by one job, after the jobs whose files it needs."""
    made = set()
    for job in graph.jobs:
        assert job.output not in made
        assert made.issuperset(job.needs)
        made.add(job.output)


def test_trials_come_before_the_choice():
    graph = Graph(searching({"points": 2}, {"methods": ["sgd+fixed@0.3"]}))
    (cell,) = graph.cells
    jobs = {job.output: job for job in graph.jobs}
    (own,) = graph.own_bundles(cell)
    tune = jobs[graph.point_file(cell)]
    assert tune.rule == "tune"
    assert list(tune.needs) == [bundle.index for bundle in graph.trial_bundles(cell)]
    assert graph.point_file(cell) in jobs[own.index].needs


def test_every_job_has_an_owner(graph):
    owners = {job.owner for job in graph.jobs}
    assert owners == {*graph.study.experiments, "data", "theory", "report"}
    assert set(graph.theory_files) == {
        *(graph.theory_file("", name) for name in graph.studies),
        *(graph.theory_file("landscape", name) for name in graph.study.experiments),
        graph.theory_file("informed", "digits"),
        graph.theory_file("hypergradient", "glyphs_noisy"),
        graph.landscape_file("digits_clean", 4),
    }


def test_no_theory_is_no_job():
    """`theory` left out means none: no study, nothing measured, and the same trainings."""
    keys = smoke_keys()
    del keys["frozen"]
    before = Graph(unchecked(keys))
    for experiment in keys["experiments"].values():
        for key in ("informed", "hypergradient"):
            experiment.pop(key, None)
    del keys["theory"]
    graph = Graph(smoke({"theory": None, "frozen": None, "experiments": keys["experiments"]}))
    left_out = Graph(unchecked(keys))
    assert left_out.jobs == graph.jobs
    assert graph.theory_files == graph.studies == []
    assert graph.bundles == before.bundles
    rules = {job.rule for job in before.jobs} - {job.rule for job in graph.jobs}
    assert rules == {"study", "certify", "hypergradient", "measure"}


def test_datasets_count_those_of_labels():
    keys = smoke_keys()
    human = {"name": "v", "recipe": "label_noise", "kind": "human"}
    human |= {"labels": "cifar10n", "column": "worse_label"}
    keys["experiments"]["digits"] |= {"dataset": "cifar10", "variant": human}
    found = Graph(unchecked(keys)).datasets
    assert found[:2] == ["cifar10", "cifar10n"]
    assert len(found) == len(set(found))


HUMAN = {"kind": "human", "labels": "cifar10n", "column": "worse_label"}


@pytest.mark.parametrize(
    ("variant", "others"),
    [
        ({"recipe": "label_noise"} | HUMAN, ["d/raw/cifar10n/manifest.json"]),
        ({"recipe": "episodes", "split": "classes.json"}, ["classes.json"]),
        ({"recipe": "plain"}, []),
    ],
)
def test_a_variant_names_its_inputs(monkeypatch, variant, others):
    monkeypatch.setenv("HSAC_DATA", "d")
    digits = smoke_keys("experiments", "digits")
    digits |= {"dataset": "cifar10", "variant": {"name": "v"} | variant}
    study = unchecked(smoke_keys() | {"experiments": {"digits": digits}})
    found = variant_inputs(study.experiments["digits"])
    assert found == [Path("d/raw/cifar10/manifest.json"), *map(Path, others)]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "there").write_text("")
    check_writable(tmp_path / "new" / "folder")
    with pytest.raises(InputError, match=r"found a file at .*there; allowed is a folder"):
        check_writable(tmp_path / "there" / "in")


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("", "data"),
        (".", "."),
        ("d/", "d"),
        ("~/d", "/home/me/d"),
        ("my d/ü", "my d/ü"),
        ("/x", "/x"),
    ],
)
def test_data_folder_is_a_path(monkeypatch, given, root):
    """Empty is as if not set, and `~` is the home folder."""
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("HSAC_DATA", given)
    assert data_root() == Path(root)


@pytest.mark.parametrize("given", ["/x/d{run}", "{", "d\n", "~nobody-here/d"])
def test_odd_data_folders_are_refused(monkeypatch, given):
    monkeypatch.setenv("HSAC_DATA", given)
    with pytest.raises(InputError, match=r"^HSAC_DATA: found .*; allowed is a folder") as caught:
        data_root()
    assert "\n" not in str(caught.value)
