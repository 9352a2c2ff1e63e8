"""`hsac plan` counts what the workflow would do, what is done, and what it takes if recorded."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from finished_runs import SECONDS, finish, finish_points
from studies import changed, smoke_keys, unchecked

from hsac import cli
from hsac.data.catalogue import entry, names
from hsac.files import write_json, write_rows
from hsac.ops.plan import plan, stored_bytes
from hsac.ops.timings import COLUMNS, Timings, shape
from hsac.study import load, resolve
from hsac.study.graph import Graph

ROOT = Path(__file__).parents[2]
RESULTS = Path("results/smoke")
EVERYTHING = Counter(
    settings=1,
    fetch=4,
    picture=4,
    variant=5,
    train=17,
    select=1,
    study=6,
    certify=1,
    hypergradient=1,
    measure=5,
    features=1,
    landscape_over_c=1,
    gather=1,
    claims=1,
    tables=1,
    cost=1,
    provenance=1,
    rule_graph=1,
    figures=1,
    page=1,
)
RUNS = {  # two seeds of each method that trains, and of the grid's curvature that is no method
    "digits": 14,
    "disease": 4,
    "glyphs_long_tailed": 6,
    "glyphs_noisy": 6,
    "glyphs_few_shot": 4,
    "data": 0,
    "theory": 0,
    "report": 0,
}
JOBS = {
    "digits": 10,  # seven bundles, the grid's choice, a measurement and a certificate
    "disease": 3,  # bundles and a measurement
    "glyphs_long_tailed": 4,
    "glyphs_noisy": 5,  # also the hypergradient's bias
    "glyphs_few_shot": 3,
    "data": 13,
    "theory": 8,  # also the frozen features of a problem, and its landscape
    "report": 9,
}
SEARCHING = {"methods": ["sgd+fixed@0.3", "sgd+hsac"], "rules": {}}
SEARCHING |= {"hypergradient": {"method": "sgd+hsac"}}


def searched():
    """Return an override with methods that search."""
    digits = smoke_keys("experiments", "digits") | SEARCHING
    search = {"points": 5, "seeds": [100, 101]}
    return {"search": search, "bundle": 4, "experiments": {"digits": digits}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working folder with the configuration and without timings, data or results."""
    shutil.copytree(
        ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("timings.csv")
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HSAC_DATA", "data")
    monkeypatch.setenv("HSAC_MIRROR", "")
    return tmp_path


@pytest.fixture
def study(project):
    return load.load("smoke")


@pytest.fixture
def done(study):
    """Every file of the workflow, none of them computed."""
    graph = Graph(study)
    touch_all(graph)
    for cell in graph.trained:
        finish(graph, cell)


def touch_all(graph):
    """Make every file of the workflow; what its settings hold is right."""
    for job in graph.jobs:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        job.output.write_text("{}")
    write_json(graph.results / "settings.json", graph.study.dump())


def planned(study):
    return plan(Graph(study), Timings(Path("results")))


def part(made, name):
    return next(part for part in made.parts if part.name == name)


def printed(capsys, *arguments):
    """Return the rows of the printed table by name, and the text below it."""
    assert cli.main(["plan", "--scale", "smoke", *arguments]) == 0
    table, _, rest = capsys.readouterr().out.partition("\n\n")
    rows = (re.split(r"\s\s+", line) for line in table.splitlines()[1:])
    return {words[0]: words[1:] for words in rows}, rest


def record(study, rows):
    """Write the file of timings: (experiment, method, device, seconds of the whole run)."""
    made = []
    for experiment, method, device, seconds in rows:
        of = resolve.cell(study, experiment, method)
        values = dict.fromkeys(COLUMNS, 0) | {
            "experiment": experiment,
            "method": method,
            "shape": shape(of.config.dump()),
            "device": device,
            "together": 1,
            "threads": 2,
            "seconds_once": seconds,
        }
        made.append(values)
    write_rows(Path("config/timings.csv"), made)


def test_smoke_is_counted_by_hand(study):
    made = planned(study)
    assert {part.name: part.runs for part in made.parts} == RUNS
    assert {part.name: part.runs_left for part in made.parts} == RUNS
    assert made.rules == EVERYTHING == made.rules_left
    assert {part.name: part.jobs for part in made.parts} == JOBS
    assert made.datasets == ["digits", "disease", "glyphs", "glyphs100"]


@pytest.mark.parametrize("scale", ["default", "paper"])
@pytest.mark.parametrize("bundle", [1, 10])
def test_needs_grow_as_jobs_do(project, scale, bundle):
    """The number of files that jobs need grows as that of the jobs, not as its square."""

    def edges(seeds):
        study = load.load(scale, {"seeds": list(range(seeds)), "bundle": bundle})
        return sum(len(job.needs) for job in Graph(study).jobs)

    assert edges(90) - edges(60) == edges(60) - edges(30) > 0


@pytest.fixture
def workflow(project):
    """The working folder, with the workflow in it."""
    for name in ("Snakefile", "workflow", "profiles", "environment.yml"):
        (project / name).symlink_to(ROOT / name)


@pytest.mark.slow
def test_edges_grow_as_runs_do(workflow):
    def edges(seeds):
        given = ["scale=smoke", "bundle=1", f"seeds={list(range(seeds))}".replace(" ", "")]
        command = [sys.executable, "-m", "snakemake", "--dag", "--forceall", "--config", *given]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.count(" -> ")

    one, two, four = map(edges, (1, 2, 4))
    assert four - two == 2 * (two - one) > 0


DRY_RUN = ["snakemake", "--dry-run", "--quiet", "rules", "--config", "scale=smoke"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    [
        dict,
        lambda: {"bundle": 1, "seeds": [0, 1, 5]},
        searched,
        lambda: {"theory": None, "experiments": without_theory()},
    ],
)
def test_jobs_are_a_dry_runs(workflow, override):
    """The graph lists just the jobs that the workflow would run."""
    given = [f"{key}={json.dumps(value)}" for key, value in override().items()]
    command = [sys.executable, "-m", *DRY_RUN, *given]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    counts = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}
    made = planned(load.load("smoke", override()))
    assert counts.pop("all") == 1  # the target, which makes nothing
    assert counts.pop("total") - 1 == sum(part.jobs for part in made.parts)
    assert counts == made.rules


def without_theory():
    """Return the experiments of the smoke scale, none of which asks for theory."""
    experiments = smoke_keys("experiments")
    for experiment in experiments.values():
        for key in ("informed", "hypergradient"):
            experiment.pop(key, None)
    return experiments


def test_what_is_done_is_not_left(study, done):
    made = planned(study)
    assert made.rules_left == Counter()
    assert not any(part.runs_left or part.jobs_left for part in made.parts)
    assert sum(part.runs for part in made.parts) == 34


def test_lost_records_leave_what_follows(study, done):
    """A lost record is left, with all that stands on it."""
    folder = Graph(study).folder(resolve.cell(study, "digits", "sgd+fixed@1"))
    (folder / "seed1.json").unlink()
    made = planned(study)
    assert [(part.name, part.runs_left) for part in made.parts if part.runs_left] == [("digits", 1)]
    standing = ("train", "select", "measure", "gather", "claims", "tables", "cost", "provenance")
    standing += ("figures", "page")
    assert made.rules_left == Counter(standing)


def test_only_a_changed_method_is_left(study, done):
    keys = changed(smoke_keys(), "rules", "curvature", "learned", value={"lr": 0.5})
    made = planned(unchecked(keys))
    left = {part.name: part.runs_left for part in made.parts if part.runs_left}
    assert left == {"digits": 2, "glyphs_long_tailed": 2, "glyphs_noisy": 2}
    assert made.rules_left["train"] == 3
    assert made.rules_left["settings"] == 1


def test_trials_are_counted_by_bundle(project):
    """A lost trial leaves its own bundle, the choice that stands on it, and what this trains."""
    graph = Graph(load.load("smoke", searched()))
    touch_all(graph)
    for cell in graph.cells:
        finish(graph, cell)
        finish_points(graph, cell)
    made = planned(graph.study)
    assert part(made, "digits").runs == 2 * 5 * 2 + 2 * 2
    assert made.rules["points"] == 2 * 3  # two trials of two seeds a job
    assert made.rules_left == Counter()
    bundle = graph.trial_bundles(graph.cells[1])[1]
    bundle.record(bundle.cells[1], 101).unlink()
    made = planned(graph.study)
    assert part(made, "digits").runs_left == 1
    left = {rule: made.rules_left[rule] for rule in ("points", "tune", "train")}
    assert left == {"points": 1, "tune": 1, "train": 1}
    assert next(job for job in graph.jobs if job.output == bundle.index).rule == "points"


def test_without_timings_nothing_is_guessed(project, capsys):
    rows, rest = printed(capsys)
    assert rows["total"] == ["34", "34", "55", "55", *["?"] * 5]
    assert "no timing recorded for 17 of 17 cells" in rest
    assert "digits: all 7; disease: all 2;" in rest
    assert "no GPU timing recorded" in rest
    assert "timings: none" in rest


def test_hours_say_at_least(study, capsys):
    """They are sums of what is recorded, here 2 seeds · 2 threads · (0.1 h + 0.4 h)."""
    rows = [("disease", "adam+fixed@0.3", "cpu", 360), ("disease", "adam+hsac", "cpu", 1440)]
    record(study, rows)
    rows, rest = printed(capsys)
    assert rows["disease"][4:8] == ["2", "2", "?", "?"]
    assert rows["total"][4:8] == ["≥ 2", "≥ 2", "?", "?"]
    assert "no timing recorded for 15 of 17 cells" in rest
    assert "no GPU timing recorded" in rest
    assert "timings: cpu (config/timings.csv)" in rest


def test_gpu_hours_are_of_gpus(study, capsys):
    record(study, [("disease", "adam+hsac", "Some GPU", 1800)])
    rows, rest = printed(capsys)
    assert "digits: all 7; disease: adam+fixed@0.3; " in rest
    assert rows["disease"][4:8] == ["?", "?", "≥ 1", "≥ 1"]
    assert "no GPU timing" not in rest


def test_finished_runs_time_new_seeds(study, done, capsys):
    rows, _ = printed(capsys, "--override", '{"seeds": [0, 1, 2]}')
    assert rows["disease"][:4] == ["6", "2", "3", "3"]
    hours = [float(rows["disease"][i]) for i in (4, 5)]
    assert hours == pytest.approx([6 * SECONDS / 3600, 2 * SECONDS / 3600], rel=0.05)
    size = sum(path.stat().st_size for path in RESULTS.glob("runs/disease/*/*/seed*")) / 4 * 6
    number, unit = rows["disease"][8].split()
    assert float(number) * {"B": 1, "kB": 1e3}[unit] == pytest.approx(size, rel=0.01)


def test_data_to_fetch_have_sizes(project, capsys):
    digits = smoke_keys("experiments", "digits") | {"seeds": [0], "dataset": "fashion_mnist"}
    _, rest = printed(capsys, "--override", json.dumps({"experiments": {"digits": digits}}))
    line = "data fashion_mnist: can be fetched, 2 files whose sizes are not recorded; about 56.1 MB"
    assert f"{line} stored" in rest


def test_sizes_on_disk_are_foretold(data_folder, project):
    for name in ("digits", "disease"):
        there = stored_bytes(entry(name), data_folder)
        foretold = stored_bytes(entry(name), project / "nowhere")
        assert foretold == pytest.approx(there, rel=0.2)
    assert all(stored_bytes(entry(name), project / "nowhere") > 0 for name in names())


def test_ten_thousand_runs_take_seconds(project):
    before = time.process_time()
    made = planned(load.load("default", {"seeds": list(range(133)), "bundle": 1}))
    assert sum(part.runs for part in made.parts) > 10_000
    assert time.process_time() - before < 6  # a third of it here


def test_it_answers_without_torch():
    heavy = "{'torch', 'datasets', 'pandas'}"
    script = f"import sys, hsac.cli, hsac.ops.plan; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_unknown_scale_is_one_line(project, capsys):
    assert cli.main(["plan", "--scale", "smok"]) == 2
    assert "did you mean 'smoke'" in capsys.readouterr().err
