"""The workflow as a user runs it, on a configuration of two tiny experiments."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from copied import ROOT, TINY, copy_workflow, smoke_scale, snakemake


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The workflow's files in a folder of their own, with a tiny scale, run once."""
    smoke = smoke_scale()
    digits = smoke["experiments"]["digits"] | {
        "training": TINY,
        "methods": ["sgd+fixed@0.3", "sgd+grid", "sgd+learned"],
        "informed": ["sgd+fixed@0.3"],
        "hypergradient": {"method": "sgd+fixed@0.3"},
    }
    disease = smoke["experiments"]["disease"] | {
        "training": TINY | {"epochs": 3},
        "methods": ["adam+fixed@0.3"],
    }
    experiments = {"digits": digits, "disease": disease}
    tiny = {"seeds": [0, 1], "theory": smoke["theory"], "experiments": experiments}
    folder = copy_workflow(tmp_path_factory.mktemp("project"), tiny)
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def jobs(folder, *arguments):
    """Count the jobs of each rule that a dry run would do."""
    done = snakemake(folder, *arguments, "--dry-run", "--quiet", "rules")
    lines = [line.split() for line in (done.stdout + done.stderr).splitlines()]
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}


def test_bare_dry_run_lists_jobs():
    """At the root of the project."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--nolock"]
    command += ["--config", "seeds=[0,1,2,3,4,5,6,7,8,9,999]"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_doctor_finds_nothing_after_it(project):
    """A run that ended well leaves nothing to fix."""
    command = [sys.executable, "-m", "hsac", "doctor", "--scale", "tiny"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "records       ok  10 records" in done.stdout


def test_misspelt_target_is_named(project):
    done = snakemake(project, "reslts")
    assert done.returncode != 0
    assert "No rule to produce reslts" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        ("tables", "tables"),
        ("runs.parquet", "gather"),
        ("runs/digits/sgd+learned/*/block0.json", "train"),
    ],
)
def test_deleted_file_is_made_again(project, pattern, rule):
    (path,) = (project / "results/tiny").glob(pattern)
    aside = path.rename(project / "aside")
    try:
        assert jobs(project).get(rule) == 1
    finally:
        aside.rename(path)


def test_future_dates_are_no_obstacle(project):
    """Files dated in the future are dated now, and nothing in them changes."""
    results = project / "results/tiny"
    future = (results / "runs.parquet").stat().st_mtime + 4e7
    made = [results / "runs.parquet", *(results / "cost").rglob("*")]
    dated = [path for path in made if path.is_file()]
    for path in dated:
        os.utime(path, (future, future))
    tables = {path: path.read_bytes() for path in (results / "tables").iterdir()}
    done = snakemake(project)
    assert done.returncode == 0, done.stderr
    assert f"{len(dated)} files were dated in the future" in done.stderr
    assert (results / "runs.parquet").stat().st_mtime < future - 3e7
    assert {path: path.read_bytes() for path in tables} == tables


def test_outputs(project):
    results = project / "results/tiny"
    for kind in ("csv", "md", "tex"):
        assert (results / f"tables/digits.{kind}").stat().st_size > 0
    for kind in ("png", "pdf"):
        assert (results / f"figures/accuracy_by_method.{kind}").stat().st_size > 0
        assert (results / f"data/disease.{kind}").stat().st_size > 0
    page = (results / "index.html").read_text()
    assert "<html" in page[:500]
    assert 'id="figure-data-disease"' in page
    runs = pd.read_parquet(results / "runs.parquet")
    assert {"setting", "dataset", "variant", "model", "method", "seed", "status"} <= set(
        runs.columns
    )
    assert len(runs) == 8
    claims = json.loads((results / "claims.json").read_text())
    assert all({"setting", "claim", "verdict"} <= set(claim) for claim in claims)


def test_theory_is_part_of_it(project):
    theory = project / "results/tiny/theory"
    rows = pd.read_csv(theory / "landscape/digits.csv")
    # the grid's candidates are measured, too
    assert set(rows["method"]) == {"sgd+fixed@0.3", "sgd+fixed@1"}
    assert rows["top_eigenvalue"].gt(0).all()
    assert set(pd.read_csv(theory / "informed/digits.csv")["posterior"]) == {"prior", "trained on"}
    assert set(pd.read_csv(theory / "hypergradient/digits.csv")["objective"]) == {"loss", "worst"}
    assert len(pd.read_csv(project / "results/tiny/tables/hypergradient_bias.csv")) == 18
    for study in ("approximation", "convergence", "coverage", "lipschitz"):
        assert len(pd.read_csv(theory / f"{study}.csv")) > 3
    assert (project / "results/tiny/tables/certificates.csv").stat().st_size > 0


def test_snakemakes_own_report(project, tmp_path):
    done = snakemake(project, "--report", str(tmp_path / "report.zip"))
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "report.zip") as report:
        names = {Path(name).name for name in report.namelist()}
    assert {
        "digits.csv",
        "digits.png",
        "accuracy_by_method.png",
        "approximation.png",
        "index.html",
    } <= names


def test_second_run_does_nothing(project):
    assert "Nothing to be done" in snakemake(project, "--dry-run").stdout


def flip(path):
    """Change one bit in the middle of a file, and none of its dates."""
    data, dates = bytearray(path.read_bytes()), path.stat()
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))


def test_damaged_artefacts_are_made_again(project):
    """A flipped bit changes neither size nor date, and a dry run only names it."""
    results = project / "results/tiny"
    damaged = ["runs.parquet", "claims.json", "tables/digits.csv", "theory/lipschitz.csv"]
    damaged += ["figures/accuracy_by_method.png", "index.html", "settings.json"]
    before = {name: (results / name).read_bytes() for name in [*damaged, "manifest.json"]}
    listed = json.loads(before["manifest.json"])
    assert {*damaged, "cost/cost.csv", "trajectories.parquet", "data/digits.pdf"} <= {*listed}
    for name in damaged:
        flip(results / name)
    told = snakemake(project, "--dry-run")
    done = snakemake(project)
    assert done.returncode == 0, done.stderr
    for name in damaged:
        line = f"hsac: results/tiny/{name}: not as the last run left it (manifest.json); "
        assert f"{line}a run makes it again\n" in told.stdout + told.stderr
        assert f"{line}results/tiny/" in done.stderr
    # the page shows when trainings ran, not when it was made
    assert {name: (results / name).read_bytes() for name in before} == before
    assert "Nothing to be done" in snakemake(project, "--dry-run").stdout


def test_mirror_makes_nothing_run_again(project, tmp_path):
    assert "Nothing to be done" in snakemake(project, f"mirror={tmp_path}", "--dry-run").stdout


def test_bad_mirror_is_one_line(project, tmp_path, monkeypatch):
    """It names a mirror that is no folder."""
    monkeypatch.delenv("HSAC_MIRROR", raising=False)
    done = snakemake(project, f"mirror={tmp_path / 'nowhere'}", "--dry-run")
    assert done.returncode == 2
    assert f"hsac: mirror: found '{tmp_path / 'nowhere'}'" in done.stderr
    assert "Traceback" not in done.stderr


def test_new_seed_trains_only_itself(project):
    # one new bundle a trained cell: three of digits, one of disease
    assert jobs(project, "seeds=[0,1,10]")["train"] == 4


def test_changed_bundles_are_trained_again(project):
    """Though the settings, which the bundles that there are have, change as well."""
    assert jobs(project, "seeds=[0,1,2]")["train"] == 4
    # the first bundle of each cell is another, the second new
    assert jobs(project, "bundle=1")["train"] == 8


def test_new_method_trains_only_itself(project):
    settings = yaml.safe_load((project / "config/tiny.yaml").read_text())["experiments"]
    settings["digits"]["methods"].append("sgd+hsac")
    assert jobs(project, f"experiments={json.dumps(settings)}")["train"] == 1


def test_changed_hyperparameter_trains_its_users(project):
    """And no other method."""
    settings = yaml.safe_load((project / "config/tiny.yaml").read_text())["experiments"]
    settings["digits"]["rules"]["curvature"]["learned"] = {"lr": 0.02}
    assert jobs(project, f"experiments={json.dumps(settings)}")["train"] == 1


def test_bad_configuration_is_one_line(project):
    """Without a traceback, and with status 2."""
    done = snakemake(project, "seeds=[0,one]")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if "profile" not in line]
    assert len(said) == 1
    assert "seeds.1" in said[0]
    assert "'one'" in said[0]


def test_stored_parts_are_disjoint(project):
    files = list((project / "data/variants").rglob("*.json"))
    assert len(files) == 2
    for path in files:
        parts = list(json.loads(path.read_text())["indices"].values())
        assert sum(map(len, parts)) == len(set().union(*parts))


def record_times(project):
    records = (project / "results/tiny/runs").rglob("seed*.json")
    return sorted(path.stat().st_mtime_ns for path in records)


def test_truncated_data_keep_finished_runs(project):
    """The data file is named, and finished runs stay."""
    folder = project / "data/raw/digits"
    arrays = folder / "arrays.npz"
    whole = arrays.read_bytes()
    before = record_times(project)
    try:
        arrays.write_bytes(whole[: len(whole) // 2])
        done = snakemake(project, "seeds=[0,1,20]")
        assert done.returncode != 0
        assert arrays.name in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        arrays.write_bytes(whole)
    after = record_times(project)
    assert before == [time for time in after if time in before]
