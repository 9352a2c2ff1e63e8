"""`hsac doctor`: each fault made for real, its line, and that the command it names fixes it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
from finished_runs import finish, finish_points
from studies import smoke_keys

from hsac import cli
from hsac.data import fetch
from hsac.files import write_json
from hsac.ops import doctor, stale
from hsac.ops.gpu_lease import Card, folder, lease
from hsac.ops.runner import select_bundle
from hsac.study import load, resolve
from hsac.study.graph import Graph

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout with nothing in it yet, as the working directory."""
    for name in ("config", "requirements.lock", "requirements.txt"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HSAC_DATA", "data")
    monkeypatch.setenv("HSAC_MIRROR", "")
    return tmp_path


def faults(check, scale="smoke"):
    """Return text and command of each fault that a check finds."""
    found = doctor.CHECKS[check](doctor.place(scale))
    return [(one.text, one.fix) for one in found if one.fix]


def fault(check, scale="smoke"):
    (found,) = faults(check, scale)
    return found


def shell(command):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def test_a_fault_is_a_line(project, capsys):
    """And an exit status; an empty checkout is fine."""
    assert cli.main(["doctor", "--scale", "smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == doctor.CHECKS.keys()
    assert all(line.split()[1] == "ok" for line in lines)
    assert not (project / "data").exists()
    (project / "results").mkdir()
    (project / "results/smoke").write_text("")
    assert cli.main(["doctor", "--scale", "smoke"]) == 1
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.split()[1] == "FIX"]
    assert line.startswith("disk          FIX results/smoke: found a file at ")
    shell(line.split("; run: ")[1])
    assert not faults("disk")


def test_other_versions_are_named(project):
    lock = (project / "requirements.lock").read_text()
    (project / "requirements.lock").write_text(re.sub("filelock==.*", "filelock==0.1", lock))
    text, fix = fault("environment")
    assert text.startswith("1 packages are not as in requirements.lock: filelock ")
    assert text.endswith("(locked 0.1)")
    assert fix == "pip install -r requirements.txt"


def test_broken_packages_are_named(project, monkeypatch):
    (project / "geoopt.py").write_text(
        "raise OSError('libcudart.so: cannot open shared object file')"
    )
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.delitem(sys.modules, "geoopt", raising=False)
    text, fix = fault("environment")
    assert text == "geoopt cannot be imported: libcudart.so: cannot open shared object file"
    assert fix == "pip install --force-reinstall -r requirements.txt"


def test_scales_that_fail_are_named(project):
    """Each problem on a line, and the rest is still examined."""
    (project / "config/smoke.yaml").write_text("seeds: [0, one]\n")
    text, fix = fault("configuration")
    assert "config/smoke.yaml" in text
    assert "seeds.1" in text
    assert fix == "${EDITOR:-vi} config/smoke.yaml"
    assert len([name for name, found in doctor.examine("smoke") if found.fix]) == 1
    text, fix = faults("configuration", "absent")[0]
    assert "config/absent.yaml" in text
    assert fix == "hsac list"
    (project / "config/smoke.yaml").write_text("seeds: [0, one]\nbundle: 0\n")
    seeds, bundle = (text for text, _ in faults("configuration"))
    assert "smoke.yaml: seeds.1: found 'one'" in seeds
    assert "smoke.yaml: bundle: found 0" in bundle


def test_wrong_folder_is_said(tmp_path, monkeypatch):
    """There is nothing to list there."""
    monkeypatch.chdir(tmp_path)
    text, fix = fault("configuration")
    assert "so this is no project folder" in text
    assert fix.startswith("cd PROJECT")


def test_fetching_fixes_damaged_data(project):
    stored = fetch("digits", Path("data"))
    assert not faults("data")
    arrays = stored / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:1000])
    text, fix = fault("data")
    assert text == "data/raw/digits: damaged or of another version"
    assert cli.main(fix.split()[1:]) == 0
    assert not faults("data")


def test_mirrors_that_lack_are_named(project, monkeypatch):
    monkeypatch.setenv("HSAC_MIRROR", "nowhere")
    assert fault("data") == (
        "HSAC_MIRROR: found 'nowhere'; allowed is a folder that holds a mirror",
        "unset HSAC_MIRROR",
    )
    (project / "mirror").mkdir()
    (project / "mirror/SHA256SUMS").write_text(f"{'0' * 64}  here/file.gz\n")
    monkeypatch.setenv("HSAC_MIRROR", "mirror")
    assert "1 files that its SHA256SUMS lists are not there: here/file.gz" in fault("data")[0]


def test_unlocking_fixes_a_killed_workflow(project):
    (project / "Snakefile").write_text(
        "rule a:\n    output: 'a'\n    shell: 'touch started; sleep 60'\n"
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet"]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as running:
        for _ in range(600):
            if Path("started").exists():
                break
            time.sleep(0.1)
        found = [one.text for one in doctor.locks(doctor.place("smoke"))]
        assert not faults("locks")
        assert f"a workflow runs here, process {running.pid}" in found
        os.killpg(running.pid, signal.SIGKILL)
    text, fix = fault("locks")
    assert "no workflow runs here" in text
    assert fix == "snakemake --unlock"
    shell(fix)
    assert not faults("locks")


def test_held_locks_are_told(project):
    card = Card(0, "c0ffee", 2**34, 2**34)
    script = """
import sys
from pathlib import Path
from hsac.data import obtain
with obtain.lock(Path("data"), "digits"):
    print("held", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder, lease(lambda: [card], lambda one: 3, folder()):
        holder.stdout.readline()
        found = [one.text for one in doctor.locks(doctor.place("smoke"))]
        assert "digits is being made by another process" in found
        assert "GPU c0ffee: 3 of 16 shares are leased" in found
        holder.kill()
    assert [one.text for one in doctor.locks(doctor.place("smoke"))] == ["leases of GPUs: none"]


def test_small_disks_are_named(project, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 5, 5 * 10**8))
    text, _ = fault("disk")
    assert text.startswith("0.5 GB free, while what is left of smoke takes about ")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_chmod_fixes_a_locked_folder(project):
    (project / "data").mkdir(mode=0o500)
    text, fix = fault("disk")
    assert "cannot be written" in text
    shell(fix)
    assert not faults("disk")


@pytest.fixture
def finished(project):
    """The work of a study with a search, all of whose runs are finished."""
    digits = smoke_keys("experiments", "digits") | {"methods": ["sgd+fixed@0.3"], "rules": {}}
    del digits["informed"]
    search = {"points": 2, "seeds": [100]}
    write_json(project / "config/own.yaml", {"experiments": {"digits": digits}, "search": search})
    graph = Graph(load.load("own"))
    write_json(graph.variant("digits"), {"hash": "variant"})
    (cell,) = graph.cells
    finish(graph, cell)
    finish_points(graph, cell)
    return graph


@pytest.mark.parametrize(
    ("which", "seed", "spoilt"),
    [
        ("record", 3, "seed3.json"),
        ("weights", 3, "seed3.npy"),
        ("index", None, "block0.json"),
        ("trial", 100, "seed100.json"),
    ],
)
def test_removing_fixes_damaged_records(finished, which, seed, spoilt):
    """A damaged record is named, and when it is removed just this run is left to be trained."""
    assert not faults("records", "own")
    (cell,) = finished.cells
    trial = resolve.cell(finished.study, "digits", cell.method, 1)
    at = finished.folder(trial if which == "trial" else cell)
    (at / spoilt).write_bytes((at / spoilt).read_bytes()[:-20])
    text, fix = fault("records", "own")
    assert str((at / spoilt).with_suffix(".json")) in text
    assert fix.endswith("; snakemake --config scale=own")
    shell(fix.partition("; snakemake")[0])
    assert not faults("records", "own")
    left = stale.stale_runs(finished)
    lost = [run.seed for run in left if run.reason == "never run"]
    assert lost == ([] if seed is None else [seed])


def test_chosen_runs_have_no_weights(project):
    """The weights of a grid's run lie beside the record of the candidate."""
    digits = smoke_keys("experiments", "digits") | {"methods": ["sgd+fixed@0.3", "sgd+grid"]}
    del digits["informed"]
    write_json(project / "config/own.yaml", {"experiments": {"digits": digits}, "theory": None})
    graph = Graph(load.load("own"))
    evaluation = {"validation_accuracy": 0.5, "validation_nll": 1.0}
    facts = {"metrics": {"selected": evaluation}, "selected_by": "validation_accuracy"}
    facts |= {"gradients": 1, "products": 0, "held_out_batches": 0}
    for cell in graph.trained:
        finish(graph, cell, **facts)
    (grid,) = graph.derived
    methods = [cell.method for cell in resolve.candidates(graph.study, grid)]
    for bundle in graph.own_bundles(grid):
        candidates = graph.candidates(bundle)
        select_bundle(grid, methods, candidates, list(bundle.seeds), bundle.index)
    assert not faults("records", "own")
    chosen = graph.candidates(bundle)[0].with_name(f"seed{bundle.seeds[0]}.npy")
    chosen.unlink()
    assert fault("records", "own")[0].startswith(f"{chosen.with_suffix('.json')}: its weights")


def test_checking_records_ends_in_time(finished, monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", -1)
    assert "looked at 0 of 2 bundles" in next(doctor.records(doctor.place("own"))).text


def test_touching_fixes_dates(finished):
    for path in Path("results/own").rglob("seed1.json"):
        os.utime(path, (time.time() + 86400, time.time() + 86400))
    text, fix = fault("clock", "own")
    assert text.startswith("1 files are dated in the future: results/own/runs/digits/")
    shell(fix)
    assert not faults("clock", "own")


def test_absent_devices_are_named(project):
    settings = (project / "config/config.yaml").read_text()
    (project / "config/config.yaml").write_text(settings.replace("device: auto", "device: cuda:77"))
    text, fix = fault("device")
    assert text.startswith("device: found 'cuda:77'; allowed here is auto, cpu")
    assert fix.startswith("snakemake --config device=auto")


@pytest.mark.parametrize("content", ["# für".encode("latin-1"), "seeds: [1]".encode("utf-16")])
def test_one_bad_file_is_one_fault(project, content):
    """Whatever a file of another scale holds, this scale is examined."""
    (project / "config/other.yaml").write_bytes(content)
    found = [one for _, one in doctor.examine("smoke") if one.fix]
    assert [one.fix for one in found] == ["${EDITOR:-vi} config/other.yaml"]
    assert "config/other.yaml: found" in found[0].text
    assert "allowed is UTF-8" in found[0].text
