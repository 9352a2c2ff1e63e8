"""What a user sees of a run that is stopped, resumes and has nothing left to do."""

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from copied import TINY, copy_workflow, environment, smoke_scale

SEEDS = [0, 1, 2, 3]
PATIENCE_S = 300.0


@pytest.fixture(autouse=True)
def heard():
    """Let what is started here hear Ctrl-C, even where these tests run in a background."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def project(tmp_path, data_folder, monkeypatch):
    """The workflow's files in a folder of their own, with data and a scale of four runs."""
    digits = smoke_scale()["experiments"]["digits"]
    kept = {key: value for key, value in digits.items() if key not in ("informed", "hypergradient")}
    few = kept | {"training": TINY, "methods": ["sgd+fixed@0.3"]}
    copy_workflow(tmp_path, {"seeds": SEEDS, "bundle": 1, "experiments": {"digits": few}})
    shutil.copytree(data_folder, tmp_path / "data")
    monkeypatch.delenv("HSAC_DATA", raising=False)
    return tmp_path


def records(folder: Path) -> int:
    return len(list(folder.glob("results/tiny/runs/*/*/*/seed*.json")))


def snakemake(folder: Path, terminal: bool, stop: bool = False) -> tuple[int, str]:
    """Run the workflow, on request until a run is done and Ctrl-C is pressed: status and output."""
    command = [sys.executable, "-m", "snakemake", "results/tiny/runs.parquet", "--cores", "1"]
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    os.set_blocking(ours, False)
    process = subprocess.Popen(
        [*command, "--config", "scale=tiny"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env=environment(),
    )
    os.close(theirs)
    said, end, before = b"", time.monotonic() + PATIENCE_S, records(folder)
    while process.poll() is None:
        assert time.monotonic() < end, said.decode()
        time.sleep(0.05)
        said += _read(ours)
        if stop and records(folder) > before:
            # as a terminal does: to the jobs, too
            os.killpg(process.pid, signal.SIGINT)
            stop = False
    said += _read(ours)
    os.close(ours)
    return process.returncode, said.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 2**20)
    except OSError:  # nothing to read, or all is read
        return b""


def lines(said: str) -> list[str]:
    """What is said besides the progress bar, without colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said).replace("\r\n", "\n")
    shown = [line.rpartition("\r")[2] for line in plain.splitlines()]
    noise = re.compile(r"hsac tiny: |Using workflow specific profile|$")
    return [line for line in shown if not noise.match(line)]


def test_cache_that_cannot_be_written(project, monkeypatch):
    """One line in place of Snakemake's traceback."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "Snakefile"))
    status, said = snakemake(project, terminal=False)
    assert status == 2, said
    (line,) = lines(said)
    assert line.startswith("hsac: XDG_CACHE_HOME: Snakemake's cache ")
    assert line.endswith('run: export XDG_CACHE_HOME="$(mktemp -d)"')


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "pipe"])
def test_each_run_says_one_line(project, terminal):
    """Stopped by Ctrl-C, then resumed, then with nothing to do."""
    status, said = snakemake(project, terminal, stop=True)
    done = records(project)
    assert status == 1, said
    count = f"{done} of {len(SEEDS)} runs are done"
    assert lines(said) == [f"hsac: stopped by you; {count}; the same command goes on"]

    status, said = snakemake(project, terminal)
    assert status == 0, said
    assert lines(said) == [f"hsac: resuming: {count}"]

    status, said = snakemake(project, terminal)
    assert status == 0, said
    assert lines(said) == ["hsac: nothing to do: 4 of 4 runs are done"]
