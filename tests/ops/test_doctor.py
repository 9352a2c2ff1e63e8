"""`hsac doctor`: each fault made for real, its line, and that the command it names mends it."""

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

from hsac import cli, config, layout
from hsac.data import fetch
from hsac.files import write_json
from hsac.ops import doctor, stale
from hsac.ops.gpu_lease import Card, folder, lease

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
    """Text and command of each finding of a check that is to be mended."""
    return [
        (found.text, found.mend)
        for found in doctor.CHECKS[check](doctor.place(scale))
        if found.mend
    ]


def fault(check, scale="smoke"):
    (found,) = faults(check, scale)
    return found


def shell(command):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stderr


def test_an_empty_checkout_is_fine_and_a_fault_is_a_line_and_a_status(project, capsys):
    assert cli.main(["doctor", "--scale", "smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == doctor.CHECKS.keys()
    assert all(line.split()[1] == "ok" for line in lines)
    assert not (project / "data").exists()
    (project / "results").mkdir()
    (project / "results/smoke").write_text("")
    assert cli.main(["doctor", "--scale", "smoke"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "FIX" in line]
    assert line.startswith("disk          FIX results/smoke: found a file at ")
    shell(line.split("run: ")[1])
    assert not faults("disk")


def test_a_version_that_is_not_the_locked_one_is_named(project):
    lock = (project / "requirements.lock").read_text()
    (project / "requirements.lock").write_text(re.sub("filelock==.*", "filelock==0.1", lock))
    text, mend = fault("environment")
    assert text.startswith("1 packages are not as in requirements.lock: filelock ")
    assert text.endswith("(locked 0.1)")
    assert mend == "pip install -r requirements.txt"


def test_a_package_that_cannot_be_imported_is_named(project, monkeypatch):
    (project / "geoopt.py").write_text(
        "raise OSError('libcudart.so: cannot open shared object file')"
    )
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.delitem(sys.modules, "geoopt", raising=False)
    text, mend = fault("environment")
    assert text == "geoopt cannot be imported: libcudart.so: cannot open shared object file"
    assert mend == "pip install --force-reinstall -r requirements.txt"


def test_a_scale_that_does_not_load_is_named_and_the_rest_is_still_examined(project):
    (project / "config/smoke.yaml").write_text("seeds: [0, one]\n")
    text, mend = fault("configuration")
    assert "config/smoke.yaml" in text
    assert "seeds.1" in text
    assert mend == "${EDITOR:-vi} config/smoke.yaml"
    assert len([name for name, found in doctor.examine("smoke") if found.mend]) == 1
    text, mend = faults("configuration", "absent")[0]
    assert ("config/absent.yaml" in text, mend) == (True, "hsac list")


def test_damaged_data_are_named_and_fetching_mends_them(project):
    stored = fetch("digits", Path("data"))
    assert not faults("data")
    arrays = stored / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:1000])
    text, mend = fault("data")
    assert text == "data/raw/digits: damaged or of another version"
    assert cli.main(mend.split()[1:]) == 0
    assert not faults("data")


def test_a_mirror_that_is_not_there_or_lacks_files_is_named(project, monkeypatch):
    monkeypatch.setenv("HSAC_MIRROR", "nowhere")
    assert fault("data") == (
        "HSAC_MIRROR: found 'nowhere'; allowed is a folder that holds a mirror",
        "unset HSAC_MIRROR",
    )
    (project / "mirror").mkdir()
    (project / "mirror/SHA256SUMS").write_text(f"{'0' * 64}  here/file.gz\n")
    monkeypatch.setenv("HSAC_MIRROR", "mirror")
    assert "1 files that its SHA256SUMS lists are not there: here/file.gz" in fault("data")[0]


def test_the_lock_of_a_killed_workflow_is_named_and_unlocking_mends_it(project):
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
    text, mend = fault("locks")
    assert "no workflow runs here" in text
    assert mend == "snakemake --unlock"
    shell(mend)
    assert not faults("locks")


def test_locks_that_are_held_are_told(project):
    card = Card(0, "c0ffee", 2**34, 2**34)
    script = """
import sys
from pathlib import Path
from hsac.data import obtain
with obtain.lock(Path("data"), "digits"):
    print("held", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder, lease(lambda: [card], lambda one: 3, folder()):
        holder.stdout.readline()
        found = [one.text for one in doctor.locks(doctor.place("smoke"))]
        assert "digits is being made by another process" in found
        assert "GPU c0ffee: 3 of 16 shares are leased" in found
        holder.kill()
    assert [one.text for one in doctor.locks(doctor.place("smoke"))] == ["leases of GPUs: none"]


def test_a_disk_that_is_too_small_for_the_plan_is_named(project, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 5, 5 * 10**8))
    text, _ = fault("disk")
    assert text.startswith("0.5 GB free, while what is left of smoke takes about ")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named_and_chmod_mends_it(project):
    (project / "data").mkdir(mode=0o500)
    text, mend = fault("disk")
    assert "cannot be written" in text
    shell(mend)
    assert not faults("disk")


@pytest.fixture
def finished(project):
    """Settings with a search, and results where all of its runs are finished."""
    digits = config.load("smoke")["experiments"]["digits"] | {
        "methods": ["sgd+fixed@0.3"],
        "rules": {},
    }
    settings = {"experiments": {"digits": digits}, "search": {"points": 2, "seeds": [100]}}
    write_json(project / "config/own.yaml", settings)
    settings = config.load("own")
    write_json(layout.variant_path(settings["experiments"]["digits"]), {"hash": "variant"})
    (cell,) = config.cells(settings)
    finish(settings, Path("results/own"), cell)
    finish_points(settings, Path("results/own"), cell)
    return settings


@pytest.mark.parametrize("which", ["record", "weights", "index", "point"])
def test_a_damaged_record_is_named_and_removing_it_leaves_just_it_to_be_trained(finished, which):
    assert not faults("records", "own")
    (cell,) = config.cells(finished)
    point = config.cell(finished, "digits", cell["method"], 1)
    at = layout.index_path(Path("results/own"), point if which == "point" else cell, 0).parent
    seed = 100 if which == "point" else 3
    name = {"weights": f"seed{seed}.npy", "index": "block0.json"}.get(which, f"seed{seed}.json")
    (at / name).write_bytes((at / name).read_bytes()[:-20])
    text, mend = fault("records", "own")
    assert str(at / (f"seed{seed}.json" if which == "weights" else name)) in text
    assert mend.endswith("; snakemake --config scale=own --cores all")
    shell(mend.partition("; snakemake")[0])
    assert not faults("records", "own")
    left = stale.stale_runs(finished, Path("results/own"))
    lost = [run.seed for run in left if run.reason == "never run"]
    assert lost == ([] if which == "index" else [seed])


def test_looking_through_records_ends_in_time(finished, monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", -1)
    assert "looked at 0 of 2 bundles" in next(doctor.records(doctor.place("own"))).text


def test_files_dated_in_the_future_are_named_and_touching_mends_them(finished):
    for path in Path("results/own").rglob("seed1.json"):
        os.utime(path, (time.time() + 86400, time.time() + 86400))
    text, mend = fault("clock", "own")
    assert text.startswith("1 files are dated in the future: results/own/runs/digits/")
    shell(mend)
    assert not faults("clock", "own")


def test_a_device_that_is_not_there_is_named(project):
    settings = (project / "config/config.yaml").read_text()
    (project / "config/config.yaml").write_text(settings.replace("device: auto", "device: cuda:77"))
    text, mend = fault("device")
    assert text.startswith("device: found 'cuda:77'; allowed here is auto, cpu")
    assert mend.startswith("snakemake --config device=auto")
