"""`hsac plan` counts what the workflow would do, what of it is done, and what it takes as far as
that is recorded.
"""

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

from hsac import cli, config, layout
from hsac.data.catalogue import entry, names
from hsac.files import write_json, write_rows
from hsac.ops.plan import jobs, plan, stored_bytes
from hsac.ops.timings import COLUMNS, Timings, shape

ROOT = Path(__file__).parents[2]
RESULTS = Path("results/smoke")
EVERYTHING = Counter(
    {
        "settings": 1,
        "fetch": 4,
        "picture": 4,
        "variant": 5,
        "train": 17,
        "select": 1,
        "study": 6,
        "certify": 1,
        "hypergradient": 1,
        "measure": 5,
    }
    | dict.fromkeys(
        ("gather", "claims", "tables", "cost", "provenance", "rule_graph", "figures", "page"), 1
    )
)


STUDIED = {"hypergradient": {"method": "sgd+hsac"}}


def searching(settings):
    """The digits of these settings, with methods that may search."""
    return {
        "digits": (
            settings["experiments"]["digits"]
            | {"methods": ["sgd+fixed@0.3", "sgd+hsac"], "rules": {}}
            | STUDIED
        )
    }


SEARCHED = {"search": {"points": 5, "seeds": [100, 101]}, "bundle": 4, "experiments": searching}


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
def settings(project):
    return config.load("smoke")


@pytest.fixture
def done(settings):
    """Every file of the workflow, none of them computed."""
    for job in jobs(settings, RESULTS):
        job.output.parent.mkdir(parents=True, exist_ok=True)
        job.output.write_text("{}")
    write_json(RESULTS / "settings.json", settings)
    for cell in config.trained_cells(settings):
        finish(settings, RESULTS, cell)


def planned(settings):
    return plan(settings, RESULTS, Timings(Path("results")))


def part(made, name):
    return next(part for part in made.parts if part.name == name)


def printed(capsys, *arguments):
    """Rows of the printed table by name, and the text below it."""
    assert cli.main(["plan", "--scale", "smoke", *arguments]) == 0
    table, _, rest = capsys.readouterr().out.partition("\n\n")
    rows = (re.split(r"\s\s+", line) for line in table.splitlines()[1:])
    return {words[0]: words[1:] for words in rows}, rest


def record(settings, rows):
    """Write the file of timings: (experiment, method, device, seconds of the whole run)."""
    made = []
    for experiment, method, device, seconds in rows:
        of = config.cell(settings, experiment, method)
        values = {"experiment": experiment, "method": method, "shape": shape(of), "device": device}
        values |= (
            dict.fromkeys(COLUMNS[2:], 0)
            | values
            | {
                "together": 1,
                "threads": 2,
                "seconds_once": seconds,
            }
        )
        made.append({name: values[name] for name in COLUMNS})
    write_rows(Path("config/timings.csv"), made)


def test_the_smoke_scale_counted_by_hand(settings):
    made = planned(settings)
    # digits: six methods that train, and of the grid's two curvatures the one that is no method;
    # two seeds each
    runs = {
        "digits": 14,
        "disease": 4,
        "glyphs_long_tailed": 6,
        "glyphs_noisy": 6,
        "glyphs_few_shot": 4,
    }
    runs |= {"data": 0, "theory": 0, "report": 0}
    assert {part.name: part.runs for part in made.parts} == runs
    assert {part.name: part.runs_left for part in made.parts} == runs
    assert made.rules == EVERYTHING == made.rules_left
    # digits: seven bundles, the grid's choice, a measurement and a certificate; others: bundles and
    # a measurement, of glyphs_noisy the hypergradient's bias, too
    jobs = {
        "digits": 10,
        "disease": 3,
        "glyphs_long_tailed": 4,
        "glyphs_noisy": 5,
        "glyphs_few_shot": 3,
    }
    assert {part.name: part.jobs for part in made.parts} == jobs | {
        "data": 13,
        "theory": 6,
        "report": 9,
    }
    assert made.datasets == ["digits", "disease", "glyphs", "glyphs100"]


@pytest.mark.parametrize("scale", ["default", "paper"])
@pytest.mark.parametrize("bundle", [1, 10])
def test_what_jobs_need_grows_as_their_number_does(project, scale, bundle):
    def edges(seeds):
        made = jobs(config.load(scale, {"seeds": list(range(seeds)), "bundle": bundle}), RESULTS)
        return sum(len(job.needs) for job in made)

    assert edges(90) - edges(60) == edges(60) - edges(30) > 0


@pytest.mark.slow
def test_edges_of_the_workflow_grow_as_its_runs_do(project):
    for name in ("Snakefile", "workflow", "profiles", "environment.yml"):
        (project / name).symlink_to(ROOT / name)

    def edges(seeds):
        given = ["scale=smoke", "bundle=1", f"seeds={list(range(seeds))}".replace(" ", "")]
        command = [sys.executable, "-m", "snakemake", "--dag", "--forceall", "--config", *given]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.count(
            " -> "
        )

    one, two, four = map(edges, (1, 2, 4))
    assert four - two == 2 * (two - one) > 0


@pytest.mark.slow
@pytest.mark.parametrize("override", [{}, {"bundle": 1, "seeds": [0, 1, 5]}, SEARCHED])
def test_jobs_are_those_of_a_dry_run(project, override):
    for name in ("Snakefile", "workflow", "profiles", "environment.yml"):
        (project / name).symlink_to(ROOT / name)
    override = {
        key: value(config.load("smoke")) if callable(value) else value
        for key, value in override.items()
    }
    given = [f"{key}={json.dumps(value)}" for key, value in override.items()]
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--dry-run",
        "--quiet",
        "rules",
        "--config",
        "scale=smoke",
        *given,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    counts = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}
    made = planned(config.load("smoke", override))
    assert counts.pop("all") == 1  # the target, which makes nothing
    assert counts.pop("total") - 1 == sum(part.jobs for part in made.parts)
    assert counts == made.rules


def test_what_is_done_is_not_left(settings, done):
    made = planned(settings)
    assert made.rules_left == Counter()
    assert not any(part.runs_left or part.jobs_left for part in made.parts)
    assert sum(part.runs for part in made.parts) == 34


def test_a_lost_record_is_left_with_all_that_stands_on_it(settings, done):
    index = layout.index_path(RESULTS, config.cell(settings, "digits", "sgd+fixed@1"), 0)
    (index.parent / "seed1.json").unlink()
    made = planned(settings)
    assert [(part.name, part.runs_left) for part in made.parts if part.runs_left] == [("digits", 1)]
    standing = ("train", "select", "measure", "gather", "claims", "tables", "cost", "provenance")
    standing += ("figures", "page")
    assert made.rules_left == Counter(standing)


def test_a_changed_method_is_left_and_the_others_are_not(settings, done):
    settings["rules"]["curvature"]["learned"] = {"lr": 0.5}
    made = planned(settings)
    assert {part.name: part.runs_left for part in made.parts if part.runs_left} == {
        "digits": 2, "glyphs_long_tailed": 2, "glyphs_noisy": 2,
    }  # fmt: skip
    assert made.rules_left["train"] == 3
    assert made.rules_left["settings"] == 1


def test_points_of_a_search_are_counted_by_the_bundle_and_a_lost_one_leaves_its_own(project):
    settings = config.load("smoke", SEARCHED | {"experiments": searching(config.load("smoke"))})
    cells = config.cells(settings)
    for job in jobs(settings, RESULTS):
        job.output.parent.mkdir(parents=True, exist_ok=True)
        job.output.write_text("{}")
    write_json(RESULTS / "settings.json", settings)
    for cell in cells:
        finish(settings, RESULTS, cell)
        finish_points(settings, RESULTS, cell)
    made = planned(settings)
    assert part(made, "digits").runs == 2 * 5 * 2 + 2 * 2
    assert made.rules["points"] == 2 * 3  # two points of two seeds a job
    assert made.rules_left == Counter()
    index, (points, _) = list(layout.point_bundles(settings, RESULTS, cells[1]).items())[1]
    (layout.index_path(RESULTS, points[1], 0).parent / "seed101.json").unlink()
    made = planned(settings)
    assert part(made, "digits").runs_left == 1
    assert {rule: made.rules_left[rule] for rule in ("points", "tune", "train")} == {
        "points": 1,
        "tune": 1,
        "train": 1,
    }
    assert next(job for job in jobs(settings, RESULTS) if job.output == index).rule == "points"


def test_without_timings_nothing_is_guessed(project, capsys):
    rows, rest = printed(capsys)
    assert rows["total"] == ["34", "34", "53", "53", *["?"] * 5]
    assert "no timing recorded for 17 of 17 cells" in rest
    assert "digits: all 7; disease: all 2;" in rest
    assert "no GPU timing recorded" in rest
    assert "timings: none" in rest


def test_hours_are_sums_of_what_is_recorded_and_say_at_least(settings, capsys):
    record(
        settings, [("disease", "adam+fixed@0.3", "cpu", 360), ("disease", "adam+hsac", "cpu", 1440)]
    )
    rows, rest = printed(capsys)
    assert rows["disease"][4:8] == [
        "2",
        "2",
        "?",
        "?",
    ]  # two seeds, two threads: 2 · 2 · (0.1 h + 0.4 h)
    assert rows["total"][4:8] == ["≥ 2", "≥ 2", "?", "?"]
    assert "no timing recorded for 15 of 17 cells" in rest
    assert "no GPU timing recorded" in rest
    assert "timings: cpu (config/timings.csv)" in rest


def test_gpu_hours_come_from_gpus_only(settings, capsys):
    record(settings, [("disease", "adam+hsac", "Some GPU", 1800)])
    rows, rest = printed(capsys)
    assert "digits: all 7; disease: adam+fixed@0.3; " in rest
    assert rows["disease"][4:8] == ["?", "?", "≥ 1", "≥ 1"]
    assert "no GPU timing" not in rest


def test_finished_runs_time_the_new_seeds(settings, done, capsys):
    rows, _ = printed(capsys, "--override", '{"seeds": [0, 1, 2]}')
    assert rows["disease"][:4] == ["6", "2", "3", "3"]
    hours = [float(rows["disease"][i]) for i in (4, 5)]
    assert hours == pytest.approx([6 * SECONDS / 3600, 2 * SECONDS / 3600], rel=0.05)
    size = sum(path.stat().st_size for path in RESULTS.glob("runs/disease/*/*/seed*")) / 4 * 6
    number, unit = rows["disease"][8].split()
    assert float(number) * {"B": 1, "kB": 1e3}[unit] == pytest.approx(size, rel=0.01)


def test_data_say_what_must_be_had_and_how_large_it_is(project, capsys):
    digits = config.load("smoke")["experiments"]["digits"] | {"seeds": [0]}
    override = {"experiments": {"digits": digits | {"dataset": "fashion_mnist"}}}
    _, rest = printed(capsys, "--override", json.dumps(override))
    assert (
        "data fashion_mnist: can be fetched, 2 files whose sizes are not recorded; about 56.1 MB"
        " stored" in rest
    )


def test_sizes_on_disk_are_foretold(data_folder, project):
    for name in ("digits", "disease"):
        there, foretold = (
            stored_bytes(entry(name), data_folder),
            stored_bytes(entry(name), project / "nowhere"),
        )
        assert foretold == pytest.approx(there, rel=0.2)
    assert all(stored_bytes(entry(name), project / "nowhere") > 0 for name in names())


def test_ten_thousand_runs_take_seconds(project):
    before = time.process_time()
    settings = config.load("default", {"seeds": list(range(133)), "bundle": 1})
    made = plan(settings, layout.results_root("default"), Timings(Path("results")))
    assert sum(part.runs for part in made.parts) > 10_000
    assert time.process_time() - before < 6  # a third of it here


def test_it_answers_without_torch():
    script = (
        "import sys, hsac.cli, hsac.ops.plan; assert not {'torch', 'datasets', 'pandas'} &"
        " set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_unknown_scale_is_one_line(project, capsys):
    assert cli.main(["plan", "--scale", "smok"]) == 2
    assert "did you mean 'smoke'" in capsys.readouterr().err
