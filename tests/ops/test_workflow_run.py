"""A run of the workflow says what it did, and reads its configuration once."""

import logging
import os
import shutil
import signal
from pathlib import Path

import pytest

from hsac.ops import workflow_run
from hsac.ops.workflow_run import LOGGER, open_run

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of the smoke scale in an empty folder."""
    monkeypatch.delenv("HSAC_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(CONFIG, "config")
    return open_run({"scale": "smoke", "seeds": [0, 1, 2]})


@pytest.fixture
def prepared(run):
    """The run, with its eyes on messages and Ctrl-C as long as the test lasts."""
    logger, handler = logging.getLogger(LOGGER), signal.getsignal(signal.SIGINT)
    filters = list(logger.filters)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run.prepare(quiet=True, is_dry=lambda: False)
    yield run
    signal.signal(signal.SIGINT, handler)
    logger.filters[:] = filters


def shown(level: int, text: str) -> str | None:
    """What becomes of a message of Snakemake's."""
    record = logging.LogRecord(LOGGER, level, "", 0, text, None, None)
    passes = logging.getLogger(LOGGER).filter(record)
    return record.getMessage() if passes else None


def finish(run, count: int) -> int:
    """Put empty records where those of some runs are expected, and count all."""
    expected = [one.record for one in run.graph.runs()]
    for path in expected[:count]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return len(expected)


def test_configuration_is_resolved_once(run):
    assert (run.scale, run.override) == ("smoke", {"seeds": [0, 1, 2]})
    assert run.study.dump()["seeds"] == [0, 1, 2]
    assert run.job_settings.is_file()


def test_mirror_is_no_setting(run, monkeypatch):
    """So another mirror makes nothing run again."""
    monkeypatch.delenv("HSAC_MIRROR", raising=False)
    os.mkdir("mirror")
    other = open_run({"scale": "smoke", "seeds": [0, 1, 2], "mirror": "mirror"})
    assert other.study.dump() == run.study.dump()
    assert other.environment()["HSAC_MIRROR"] == "mirror"


def test_jobs_find_settings_and_hsac(run):
    found = run.environment()
    assert Path(found["HSAC_SETTINGS"]) == run.job_settings.resolve()
    assert shutil.which("hsac", path=found["PATH"]) == shutil.which("hsac")
    assert found["HSAC_PLUGINS"] == ""


def test_bad_configuration_is_one_line(run, capsys):
    with pytest.raises(SystemExit) as stopped:
        open_run({"scale": "smok"})
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("hsac: ")
    assert "did you mean 'smoke'" in said
    assert said.count("\n") == 1


def test_quiet_run_shows_warnings_and_errors(prepared):
    assert shown(logging.INFO, "Select jobs to execute...") is None
    assert shown(logging.WARNING, "careful") == "careful"
    assert shown(logging.ERROR, "wrong") == "wrong"


def test_nothing_to_do_is_said(prepared):
    total = finish(prepared, 10**6)
    said = shown(logging.INFO, "Nothing to be done (all requested files are up to date).")
    assert said == f"hsac: nothing to do: {total} of {total} runs are done"


def test_dry_run_speaks_as_snakemake(prepared):
    """Though it is known to be one only after the rules are read."""
    prepared._is_dry = lambda: True
    for said in ("Job stats:", "Nothing to be done (all requested files are up to date)."):
        assert shown(logging.INFO, said) == said


@pytest.mark.parametrize(("count", "resumes"), [(0, False), (5, True), (10**6, False)])
def test_resumed_run_says_so(run, count, resumes, capsys):
    """Only where some runs are done and some are not."""
    total = finish(run, count)
    run.start(lock=False, status_command=None)
    expected = f"hsac: resuming: {count} of {total} runs are done\n" if resumes else ""
    assert capsys.readouterr().err == expected


def test_second_run_is_refused(run, monkeypatch, capsys):
    def busy():
        raise workflow_run.InputError("found another workflow at work here")

    monkeypatch.setattr("hsac.ops.workflow_lock.hold", busy)
    with pytest.raises(SystemExit) as stopped:
        run.start(lock=True, status_command=None)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "hsac: found another workflow at work here\n"


@pytest.mark.parametrize("started", [True, False])
def test_stopped_run_says_one_line(prepared, started, monkeypatch, capsys):
    """No error of a job that was interrupted with it, and no line for a run that failed."""
    registered = []
    monkeypatch.setattr("atexit.register", registered.append)
    total = finish(prepared, 5)
    if started:
        prepared.start(lock=False, status_command=None)
    capsys.readouterr()
    with pytest.raises(KeyboardInterrupt if started else SystemExit):
        os.kill(os.getpid(), signal.SIGINT)
    assert shown(logging.ERROR, "RuleException: CalledProcessError") is None
    prepared.fail(["log"])
    registered[-1]()
    line = f"hsac: stopped by you; 5 of {total} runs are done; the same command goes on\n"
    assert capsys.readouterr().err == line


def test_ignored_signal_stays_ignored(run):
    """A run in the background does not end by a Ctrl-C that is for another."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    filters = list(logging.getLogger(LOGGER).filters)
    try:
        run.prepare(quiet=True, is_dry=lambda: False)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)
        logging.getLogger(LOGGER).filters[:] = filters


def test_results_are_named_when_whole(run, capsys):
    """Not after a part of them was made."""
    run.succeed()
    assert capsys.readouterr().out == ""
    Path("results/smoke").mkdir(parents=True, exist_ok=True)
    Path("results/smoke/index.html").touch()
    run.succeed()
    said = "done: results/smoke/tables, results/smoke/figures, results/smoke/index.html\n"
    assert capsys.readouterr().out == said


def test_failed_run_names_its_log(run, capsys):
    run.fail(["one.log"])
    assert "the workflow stopped; finished runs are kept" in (said := capsys.readouterr().err)
    assert said.endswith("details: one.log\n")
