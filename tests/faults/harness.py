"""The workflow in a folder of its own, how to disturb it, and what must be the same afterwards.

`python tests/faults/harness.py --output docs/faults.md` disturbs the smoke scale in every way and
writes the table.
"""

import argparse
import contextlib
import hashlib
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
COMPARED = (
    "runs.parquet",
    "trajectories.parquet",
    "claims.json",
    "tables/*",
    "theory/*.csv",
    "theory/*/*.csv",
)
# One file of each of these patterns is cut in half.
TRUNCATED = (
    "results/*/runs/*/*/*/seed*.json",
    "results/*/runs/*/*/*/block*.json",
    "results/*/runs.parquet",
    "data/variants/*/*.json",
)


@dataclass(frozen=True)
class Project:
    """A copy of the workflow's files.

    Attributes:
        folder: where the copy is.
        scale: the scale whose results it makes.
        targets: what to make of them; all if none is given.
    """

    folder: Path
    scale: str
    targets: tuple[str, ...] = ()

    @classmethod
    def copy(
        cls, folder: Path, scale: str, settings: str | None = None, targets: tuple[str, ...] = ()
    ) -> "Project":
        """Make a project; ``settings`` is the scale's file where the repository has none."""
        folder.mkdir(parents=True)
        for name in ("Snakefile", "workflow", "config", "profiles", "environment.yml"):
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
        if settings is not None:
            (folder / f"config/{scale}.yaml").write_text(settings)
        return cls(folder, scale, targets)

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.scale

    def start(self, log: Path) -> subprocess.Popen:
        """Start the plain command as leader of its own process group, its output in ``log``."""
        command = [sys.executable, "-m", "snakemake", *self.targets, "--cores", "2"]
        command += ["--config", f"scale={self.scale}"]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
        for name in ("HSAC_DATA", "SNAKEMAKE_PROFILE"):
            env.pop(name, None)
        own = {"cwd": self.folder, "env": env, "start_new_session": True}
        with open(log, "w") as out:
            streams = {"stdout": out, "stderr": out, "stdin": subprocess.DEVNULL}
            return subprocess.Popen(command, **own, **streams)

    def run(self) -> tuple[int, str]:
        """Run the plain command; return its exit status and what it said."""
        log = self.folder / "said.log"
        status = self.start(log).wait()
        return status, log.read_text()

    def content(self) -> dict[str, bytes]:
        """Return what an undisturbed run must agree with, byte for byte."""
        found = [path for pattern in COMPARED for path in self.results.glob(pattern)]
        paths = sorted(filter(Path.is_file, found))
        return {path.relative_to(self.results).as_posix(): path.read_bytes() for path in paths}

    def records(self) -> dict[str, str]:
        """Return the SHA-256 of every run record.

        A run that is computed again takes other seconds, so its record is another.
        """
        paths = self.results.glob("runs/*/*/*/seed*.json")
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@dataclass
class Row:
    """A fault, and what came of it.

    Attributes:
        fault: what was done.
        tried: how often.
        lost: finished runs that were lost or computed again.
        differing: bytes that differ at the end from an undisturbed run.
        said: what the command said.
        seen: SHA-256 of the records at the last look.
    """

    fault: str
    tried: int = 0
    lost: int = 0
    differing: int = 0
    said: str = ""
    seen: dict[str, str] = field(default_factory=dict, repr=False)

    def look(self, project: Project) -> None:
        """Count the finished runs that were there at an earlier look and are not the same now."""
        now = project.records()
        self.lost += sum(now.get(path) != sha256 for path, sha256 in self.seen.items())
        self.seen = now

    def end(self, project: Project, undisturbed: dict[str, bytes]) -> None:
        """Look a last time, and compare."""
        self.look(project)
        self.seen = {}
        self.differing += differing(project.content(), undisturbed)


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> int:
    """The number of bytes in which two results differ."""
    out = 0
    for name in {*one} | {*other}:
        a, b = one.get(name, b""), other.get(name, b"")
        out += sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b))
    return out


def faults(said: str) -> list[str]:
    """The lines by which the suite says what is wrong."""
    anywhere = re.sub(
        r"process \d+ on \S+(?=\))", "process N on HOST", re.sub(r"/\S*/project:", "FOLDER:", said)
    )
    return list(
        dict.fromkeys(
            re.sub(r"/\S*/project\S*?/", "", line) for line in anywhere.splitlines() if _ours(line)
        )
    )


def _ours(line: str) -> bool:
    news = ("the workflow stopped", "resuming: ", "nothing to do: ")
    return line.startswith("hsac: ") and not any(one in line for one in news)


def workers(group: int) -> list[int]:
    """The processes of a group that do a stage's work."""
    out = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            command = stat.with_name("cmdline").read_bytes().split(b"\0")
            if int(fields[2]) == group and any(part.endswith(b"/hsac") for part in command[:2]):
                out.append(int(stat.parent.name))
    return sorted(out)


def kills(
    make: Callable[[], Project],
    undisturbed: dict[str, bytes],
    how: str,
    count: int,
    mean: float,
    seed: int,
) -> Row:
    """Kill (SIGKILL) at random moments, each run resumed by the plain command until it is done.

    Args:
        make: makes a project; called for as many runs as the kills take.
        undisturbed: content of a run that nothing disturbed.
        how: ``group`` kills all processes of a run, ``main`` Snakemake alone, so that its jobs
            live on, ``worker`` one of these jobs.
        count: number of kills.
        mean: seconds between kills on average.
        seed: of the moments.
    """
    what = {
        "group": "kill -9 of the workflow",
        "main": "kill -9 of Snakemake alone",
        "worker": "kill -9 of a worker",
    }
    row, draw = Row(what[how]), random.Random(f"{how} {seed}")
    while row.tried < count:
        project = make()
        status = -1
        while status != 0:
            process = project.start(project.folder / "said.log")
            status = _disturbed(process, how, row, count, mean, draw)
            said = (project.folder / "said.log").read_text()
            if status > 0 and (how != "worker" or "another workflow" in said):
                raise RuntimeError(said)
            row.look(project)
        row.end(project, undisturbed)
        shutil.rmtree(project.folder)
    row.said = "nothing, a plain re-run goes on"
    return row


def _disturbed(
    process: subprocess.Popen, how: str, row: Row, count: int, mean: float, draw: random.Random
) -> int:
    """Kill as `kills` says until the process ends; its exit status."""
    while True:
        try:
            return process.wait(draw.expovariate(1 / mean) if row.tried < count else None)
        except subprocess.TimeoutExpired:
            victims = workers(process.pid) if how == "worker" else [process.pid]
            if not victims:
                continue
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if how == "group" else os.kill)(draw.choice(victims), signal.SIGKILL)
                row.tried += 1


def two_at_once(project: Project, undisturbed: dict[str, bytes]) -> Row:
    """Start a second workflow while the first is at work."""
    row = Row("two workflows at once")
    first = project.start(project.folder / "first.log")
    while not workers(first.pid):
        time.sleep(0.2)
    status, said = project.run()
    row.tried, row.said = 1, "; ".join(faults(said)) + f" (status {status})"
    if first.wait() != 0:
        raise RuntimeError((project.folder / "first.log").read_text())
    row.end(project, undisturbed)
    return row


def truncated(project: Project, undisturbed: dict[str, bytes], pattern: str) -> Row:
    """Cut a file of finished results in half, take away what was made of it, and run again.

    The error line is followed: the files that it names are deleted.
    """
    path = sorted(project.folder.glob(pattern))[0]
    row = Row(f"a truncated {path.name}", 1)
    row.seen = {name: sha256 for name, sha256 in project.records().items() if name != str(path)}
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    shutil.rmtree(project.results / "tables")
    if path.suffix == ".json":
        (project.results / "runs.parquet").unlink()
    status, said = project.run()
    row.said = "; ".join(faults(said)[:1])
    if status == 0:
        row.said = "made again"
    else:
        for name in re.findall(r"[\w/.+@-]+\.(?:json|parquet|npy)", "\n".join(faults(said))):
            (project.folder / name).unlink(missing_ok=True)
        status, said = project.run()
        if status:
            raise RuntimeError(said)
    row.seen.pop(str(path), None)
    row.end(project, undisturbed)
    return row


def clock(project: Project, undisturbed: dict[str, bytes], days: int) -> Row:
    """Give half of all files times so many days from now, and run again."""
    row = Row(f"files of a clock {abs(days)} days {'ahead' if days > 0 else 'behind'}", 1)
    row.seen = project.records()
    when = time.time() + 86400 * days
    for path in sorted([*project.results.rglob("*"), *(project.folder / "data").rglob("*")])[::2]:
        os.utime(path, (when, when))
    status, said = project.run()
    if status:
        raise RuntimeError(said)
    trained = sum(f"rule {name}:" in said for name in ("train", "points"))
    idle = "Nothing to be done" in said
    row.said = "nothing to be done" if idle else "files made again as their times ask"
    row.said += "; no run" if not trained else ""
    row.end(project, undisturbed)
    return row


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """Mount a small file system at ``folder``, which only root can."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def can_mount(folder: Path) -> bool:
    """Whether small file systems can be mounted here."""
    try:
        with mounted(folder, "64k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def full_disk(project: Project, undisturbed: dict[str, bytes]) -> Row:
    """Fill the disk in the middle of a run, then give it room."""
    row, half = Row("full disk", 1), f"{sum(map(len, undisturbed.values())) // 2048}k"
    with mounted(project.folder / "results", half):
        status, said = project.run()
        row.said = next(
            (line for line in faults(said) if "No space left" in line),
            f"status {status}: {faults(said)}",
        )
        row.look(project)
        remount(project.folder / "results", "size=256m")
        status, said = project.run()
        if status:
            raise RuntimeError(said)
        row.end(project, undisturbed)
    return row


def read_only(project: Project, undisturbed: dict[str, bytes]) -> Row:
    """A results folder that cannot be written, then one that can."""
    row = Row("read-only folder", 1)
    with mounted(project.folder / "results", "256m"):
        remount(project.folder / "results", "ro")
        status, said = project.run()
        row.said = "; ".join(faults(said)) + f" (status {status})"
        remount(project.folder / "results", "rw")
        status, said = project.run()
        if status:
            raise RuntimeError(said)
        row.end(project, undisturbed)
    return row


def table(rows: list[Row], about: str) -> str:
    """Write the rows as Markdown."""
    counts = "times tried | finished runs lost or trained again | differing bytes"
    lines = [f"| fault | {counts} | what is said |", "| --- | ---: | ---: | ---: | --- |"]
    lines += [f"| {r.fault} | {r.tried} | {r.lost} | {r.differing} | {r.said} |" for r in rows]
    return about + "\n" + "\n".join(lines) + "\n"


ABOUT = """# Faults

What was done to the workflow at its {scale} scale, and what was lost. After every fault the same
command was run again, nothing else done but what the printed line says. Compared with a run that
nothing disturbed are `runs.parquet`, `trajectories.parquet`, `claims.json`, every file of `tables/`
and the rows under `theory/`, byte for byte. A finished run is lost or trained again when its
record, which holds the seconds it took, is not the one that was there before the fault. Kills are
SIGKILL at random moments, on average {mean:g} s apart (seed {seed}). Written by

    {command}

Not covered: a disk that loses or alters what it said it has stored, and a file system without locks
(`flock`), where Snakemake's own lock keeps a second workflow out and `snakemake --unlock` frees a
folder after a kill. Files are on the disk before their names are (`fsync`), so a loss of power
leaves old files or whole ones; it was not tried.
"""


def everything(  # noqa: C901 - a list of faults, each one line
    scale: str, settings: str | None, count: int, mean: float, seed: int, scratch: Path
) -> Iterator[Row]:
    """Try every fault on a scale, and print each row on standard error as it comes.

    ``count`` kills each are of the whole workflow and of workers, a fifth as many of Snakemake
    alone. The other faults are tried once.
    """
    whole = Project(scratch / "undisturbed" / "project", scale)
    if not whole.folder.exists():  # else a plain run does nothing, or what is left of it
        Project.copy(whole.folder, scale, settings)
    status, said = whole.run()
    if status:
        raise RuntimeError(said)
    undisturbed, made = whole.content(), 0

    def place() -> Path:
        nonlocal made
        made += 1
        shutil.rmtree(scratch / str(made), ignore_errors=True)
        return scratch / str(made) / "project"

    def new() -> Project:
        return Project.copy(place(), scale, settings)

    def finished() -> Project:
        folder = place()
        shutil.copytree(whole.folder, folder)
        return Project(folder, scale)

    def killed() -> Iterator[Row]:
        for how, n in (("group", count), ("worker", count), ("main", max(1, count // 5))):
            yield kills(new, undisturbed, how, n, mean, seed)

    def others() -> Iterator[Row]:
        yield two_at_once(new(), undisturbed)
        for days in (400, -400):
            yield clock(finished(), undisturbed, days)
        for pattern in TRUNCATED:
            yield truncated(finished(), undisturbed, pattern)
        if can_mount(scratch / "probe"):
            yield full_disk(new(), undisturbed)
            yield read_only(new(), undisturbed)

    for row in itertools.chain(killed(), others()):
        print(row, file=sys.stderr, flush=True)
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--kills", type=int, default=25, help="of the workflow, and as many of workers")
    add("--mean", type=float, default=15.0, help="seconds between kills on average")
    add("--seed", type=int, default=0, help="of the moments")
    add("--scratch", type=Path, default=Path("build/faults"), help="folder to work in")
    add("--output", type=Path, default=Path("docs/faults.md"), help="the table to write")
    args = parser.parse_args()
    options = f"--kills {args.kills} --mean {args.mean:g} --seed {args.seed}"
    command = f"python tests/faults/harness.py {options}"
    about = ABOUT.format(scale="smoke", mean=args.mean, seed=args.seed, command=command)
    rows = []
    for row in everything("smoke", None, args.kills, args.mean, args.seed, args.scratch.absolute()):
        rows.append(row)
        args.output.write_text(table(rows, about))
    if any(row.lost or row.differing for row in rows):
        sys.exit("something was lost: see the table")


if __name__ == "__main__":
    main()
