"""A run of the workflow as a process: its lock, its progress bar, Ctrl-C and what it says.

Snakemake calls `start`, `succeed` and `fail` through its handlers `onstart`, `onsuccess` and
`onerror`. It has none for three moments: before it looks at files, when there is nothing to do,
and when the user stops it. We catch them from the log and from SIGINT.
"""

import atexit
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from hsac import plugins
from hsac.data import obtain
from hsac.errors import InputError
from hsac.files import digest, write_json
from hsac.ops import (
    account,
    buildable,
    file_dates,
    manifest,
    progress,
    slurm_accounting,
    workflow_lock,
)
from hsac.study import load
from hsac.study.graph import Graph, check_writable, data_root

LOGGER = "snakemake.logging"  # the logger of Snakemake's messages
INTERRUPTED = 130  # as a shell reports a process that Ctrl-C ended
BUILDING = "Building DAG"  # how its message begins before it looks at any file
NOTHING_TO_DO = "Nothing to be done"  # how its message begins when no job is left


def open_run(config: Mapping[str, Any], words: Iterable[str] | None = None) -> "WorkflowRun":
    """Resolve what a call of Snakemake is about.

    Args:
        config: What `--config` says.
        words: The words that say it, `key=value`, as Snakemake keeps them.

    Returns:
        The run.

    Raises:
        SystemExit: The configuration is faulty or the account lacks something, and a line for each
            has been printed; or the user pressed Ctrl-C.
    """
    # Snakemake leaves files and folders to Python to close, which warns of it where it is asked to.
    warnings.simplefilter("ignore", ResourceWarning)
    try:
        account.check()
        return WorkflowRun(config, words or ())
    except InputError as error:
        _give_up(error)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


class WorkflowRun:
    """One call of Snakemake for a scale.

    Attributes:
        scale: The scale.
        override: Top-level keys of its configuration that the call replaces, without `mirror`.
        study: What both come to.
        graph: The work of the study.
        mirror: The mirror of datasets. None without one.
        job_settings: The file with the settings, for the jobs.
        stopped: Whether the user pressed Ctrl-C.
    """

    def __init__(self, config: Mapping[str, Any], words: Iterable[str] = ()) -> None:
        """Resolve the settings, and know their plugins until the process ends.

        Args:
            config: What `--config` says, `scale` among it.
            words: The words that say it, `key=value`.

        Raises:
            InputError: The configuration is faulty, or a folder cannot be written.
        """
        self.override = load.from_command_line(config, words)
        self.scale: str = self.override.pop("scale")
        self.mirror = obtain.mirror_root(load.mirror(self.scale, self.override))
        self.override.pop(load.UNRESOLVED, None)
        self.study = load.load(self.scale, self.override)
        self.graph = Graph(self.study)
        self.stopped = False
        self._quiet = False
        self._is_dry: Callable[[], bool] = bool
        self._executes: Callable[[], bool] = bool
        self._started = False
        self._bar: subprocess.Popen[bytes] | None = None
        self._results = self.graph.results
        known = ExitStack()
        known.enter_context(plugins.using(self.study.plugins))
        atexit.register(known.close)
        for root in (self._results, data_root()):
            check_writable(root)
        # Not an input of the rules: otherwise any changed key would look like a reason to train
        # everything.
        content = self.study.dump()
        self.job_settings = Path(".snakemake/settings", f"{digest(content)}.json")
        if not self.job_settings.is_file():
            # Once for these settings, as it imports torch.
            buildable.check(self.study)
            write_json(self.job_settings, content)

    def environment(self) -> dict[str, str]:
        """Return the variables that jobs need, wherever they run.

        Returns:
            Mirror, plugin folders, settings and the path to this environment's `hsac`. None of
            them makes a job run again.
        """
        return {
            "HSAC_MIRROR": str(self.mirror or ""),
            "HSAC_PLUGINS": os.pathsep.join(self.study.plugins),
            "HSAC_SETTINGS": str(self.job_settings.resolve()),
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]),
        }

    def prepare(
        self, quiet: bool, is_dry: Callable[[], bool], executes: Callable[[], bool] = lambda: True
    ) -> None:
        """Remove locks of a dead run, and watch Snakemake's messages and Ctrl-C from now on.

        Args:
            quiet: Whether to show only errors and warnings. Snakemake's own `--quiet all` drops
                these, too.
            is_dry: Tells whether this is a dry run, in which Snakemake speaks for itself. It is
                asked late: Snakemake does not know while it reads the rules.
            executes: Tells as late whether Snakemake runs jobs, or would in a dry run. It does not
                where it only draws a graph or marks files as done.
        """
        workflow_lock.clear()
        self._quiet, self._is_dry, self._executes = quiet, is_dry, executes
        logging.getLogger(LOGGER).addFilter(self._let_through)
        # a run in the background may have to ignore the signal
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._stop)

    def start(self, lock: bool, status_command: str | None) -> None:
        """Take the folder's lock, see to file dates, say what is done and draw the progress bar.

        Args:
            lock: Whether to keep other runs out of the folder.
            status_command: The command that asks Slurm what became of jobs. None without Slurm.

        Raises:
            SystemExit: Another run is at work in the folder, or the command cannot work.
        """
        try:
            slurm_accounting.check(status_command)
            held = workflow_lock.hold() if lock else None
        except InputError as error:
            _give_up(error)
        self._started = True
        # From now on artefacts change, and `_record` writes it anew.
        manifest.path(self.graph).unlink(missing_ok=True)
        if held:
            atexit.register(held.close)
        late = file_dates.redate([self._results, data_root()])
        if late:
            cause = "by a clock that was ahead; they are dated now"
            _say(f"{late} files were dated in the future, {cause}")
        done, total = progress.count_done(self.graph)
        if 0 < done < total:
            _say(f"resuming: {done} of {total} runs are done")
        if sys.stderr.isatty():
            self._draw_bar()

    def succeed(self) -> None:
        """Say where the results are, unless only a part of them was asked for."""
        self._end_bar()
        self._record()
        if (self._results / "index.html").is_file():
            names = ", ".join(f"{self._results}/{name}" for name in ("tables", "figures"))
            print(f"done: {names}, {self._results}/index.html", flush=True)

    def fail(self, logs: Iterable[str]) -> None:
        """Say that the run ended before its end, unless the user stopped it.

        Args:
            logs: Snakemake's log files.
        """
        self._end_bar()
        self._record()
        if not self.stopped:
            kept = "finished runs are kept and a plain re-run goes on"
            _say(f"the workflow stopped; {kept}; details: {' '.join(logs)}")

    def _record(self) -> None:
        """Write the manifest."""
        try:
            manifest.write(self.graph)
        except InputError as error:
            _say(str(error))

    def _discard_damaged(self) -> None:
        """Delete artefacts that are not as the last run left them, which makes them due."""
        dry = self._is_dry()
        try:
            damaged = manifest.differing(self.graph)
        except InputError as error:
            _say(str(error))
            if not dry:
                manifest.path(self.graph).unlink(missing_ok=True)
            return
        for output, files in damaged.items():
            done = "a run makes it again" if dry else f"{output} is deleted and made again"
            _say(f"{files[0]}: not as the last run left it ({manifest.NAME}); {done}")
            if not dry:
                manifest.remove(output)

    def _draw_bar(self) -> None:
        command = [sys.executable, "-m", "hsac", "job", "progress", "--scale", self.scale]
        command += ["--override", json.dumps(self.override), "--process", str(os.getpid())]
        # The child inherits the ignored SIGINT: `_end_bar` ends it before anything is said.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._bar = subprocess.Popen(command)
        finally:
            signal.signal(signal.SIGINT, handler)
        atexit.register(self._end_bar)

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.terminate()
            self._bar.wait()
            self._bar = None

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Stop on Ctrl-C. A second one ends Snakemake at once."""
        self.stopped = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        atexit.register(self._say_stopped)
        if self._started:
            raise KeyboardInterrupt  # Snakemake ends its jobs and calls `fail`
        raise SystemExit(INTERRUPTED)  # KeyboardInterrupt would give a traceback

    def _say_stopped(self) -> None:
        self._end_bar()
        _say(f"stopped by you; {self._runs_done()}; the same command goes on")

    def _let_through(self, record: logging.LogRecord) -> bool:
        """Decide whether a message of Snakemake's is shown."""
        if record.getMessage().startswith(BUILDING) and self._executes():
            self._discard_damaged()
        if self._is_dry():
            return True
        if self.stopped:
            # the jobs were interrupted, too, and their failures are no news
            return False
        if record.levelno >= logging.WARNING:
            return True
        if record.getMessage().startswith(NOTHING_TO_DO):
            # An older version or a killed run has left none.
            if self._executes() and not manifest.path(self.graph).exists():
                self._record()
            record.msg, record.args = f"hsac: nothing to do: {self._runs_done()}", None
            return True
        return not self._quiet

    def _runs_done(self) -> str:
        done, total = progress.count_done(self.graph)
        return f"{done} of {total} runs are done"


def _give_up(error: InputError) -> NoReturn:
    """End the process with the error's line: Snakemake adds no message to this exit."""
    _say(str(error))
    raise SystemExit(2)


def _say(lines: str) -> None:
    for line in lines.splitlines():
        print(f"hsac: {line}", file=sys.stderr, flush=True)
