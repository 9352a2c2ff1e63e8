"""`hsac doctor`: find what could keep a workflow from running here, and the command that fixes it.

Each check is a function of a place. It yields a finding for each fault, and a note at its end.
"""

import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from hsac import imports, plugins
from hsac.data import catalogue, obtain, overview, store
from hsac.documents import read_text
from hsac.errors import InputError
from hsac.files import file_sha256, read_json, workflow_of
from hsac.ops import manifest
from hsac.ops.file_dates import ahead
from hsac.ops.gpu_lease import SLOTS, folder, leases
from hsac.ops.plan import plan
from hsac.ops.timings import Timings
from hsac.study import load
from hsac.study.graph import Graph, check_writable, data_root, results_root
from hsac.study.models import Keys
from hsac.study.record import is_chosen, read_index

LOCK = Path("requirements.lock")
IMPORTED = ("torch", "geoopt", "torch_geometric", "learn2learn", "snakemake")
SNAKEMAKE = Path(".snakemake")
HASHED = 2**28  # bytes of stored data that are hashed here; `hsac data verify` hashes all
SECONDS = 5.0  # that looking through the records of a scale may take
FILES = 100_000  # that are looked at, at most
SPARE = 2**30  # bytes that should be left beside what a plan needs
NO_SCALES = ("claims", "published")  # other files of the configuration's folder
NAMED = 3  # files that a line names; the others are counted
INDEX = re.compile(r"(block|points)\d+")  # the stem of a bundle's index


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        text: one line.
        fix: the command that fixes it, None where nothing is wrong.
    """

    text: str
    fix: str | None = None


@dataclass(frozen=True)
class Place:
    """What is looked at.

    Attributes:
        scale: the name of the scale.
        graph: its work, None where its configuration does not load.
        results: the folder of its results.
        data: the folder of the data.
    """

    scale: str
    graph: Graph | None
    results: Path
    data: Path


def environment(place: Place) -> Iterator[Finding]:
    """Compare installed versions with requirements.lock, and import the large packages.

    Args:
        place: what is looked at; packages are the same for all places.
    """
    locked: dict[str, str] = {}
    if LOCK.is_file():
        locked = dict(re.findall(r"^([\w.-]+)==(\S+)$", read_text(LOCK), re.MULTILINE))
    here = {name: _version(name) for name in locked}
    wrong = []
    for name in _unlike(locked, here):
        wrong.append(f"{name} {here[name] or 'missing'} (locked {locked[name]})")
    if wrong:
        text = f"{len(wrong)} packages are not as in {LOCK}: {_some(wrong)}"
        yield Finding(text, "pip install -r requirements.txt")
    for name in IMPORTED:
        try:
            with imports.quiet():
                import_module("hsac._learn2learn" if name == "learn2learn" else name)
        except Exception as error:  # a broken build raises anything
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            text = f"{name} cannot be imported: {words}"
            yield Finding(text, "pip install --force-reinstall -r requirements.txt")
    same = sum(here[name] == version for name, version in locked.items())
    yield Finding(f"Python {sys.version.split()[0]}, {same} packages as in {LOCK}")


def account(place: Place) -> Iterator[Finding]:
    """Check for what Snakemake asks of the account: a name, a home and a cache.

    Args:
        place: what is looked at; the account is the same for all places.
    """
    # Imports Snakemake, which `environment` reports where it is broken.
    from hsac.ops.account import lacking

    lacks = [*lacking()]
    yield from (Finding(one.text, one.fix) for one in lacks)
    yield Finding(f"user {os.getuid()}, home {os.environ.get('HOME') or 'not set'}")


def _unlike(locked: dict[str, str], here: dict[str, str | None]) -> Iterator[str]:
    """Yield the packages of another version than the locked one, and needed ones that lack."""
    required = [line for line in metadata.requires("hsac") or [] if "extra ==" not in line]
    needed = {re.split(r"[\s;<>=!\[]", line)[0] for line in required}
    for name, version in locked.items():
        found = here[name]
        # the lock also names packages of other platforms, which may lack
        if found != version and (found is not None or name in needed):
            yield name


def _version(name: str) -> str | None:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
    return found.partition("+")[0]  # what follows names a build, as for CUDA, not a version


def configuration(place: Place) -> Iterator[Finding]:
    """Load every scale of the folder.

    Args:
        place: its scale is loaded first, then those of the configuration's folder.
    """
    loaded = []
    for scale in dict.fromkeys([place.scale, *_scales()]):
        try:
            load.load(scale)
            loaded.append(scale)
        except InputError as error:
            fix = _configuration_fix(scale)
            yield from (Finding(line, fix) for line in str(error).splitlines())
    yield Finding(f"scales {', '.join(loaded)}")


def _configuration_fix(scale: str) -> str:
    if not (load.FOLDER / "config.yaml").is_file():
        return "cd PROJECT  # the folder that holds config/"
    path = load.FOLDER / ("config.yaml" if scale == "default" else f"{scale}.yaml")
    return f"${{EDITOR:-vi}} {shlex.quote(str(path))}" if path.is_file() else "hsac list"


def _scales() -> Iterator[str]:
    """Yield the scales of the configuration's folder."""
    for path in sorted(load.FOLDER.glob("*.yaml")):
        if path.stem not in NO_SCALES and _may_be_scale(path):
            yield "default" if path.stem == "config" else path.stem


def _may_be_scale(path: Path) -> bool:
    """Tell whether a file has a key of a scale, or cannot be read, which loading it then says."""
    try:
        text = read_text(path)
    except InputError:
        return True
    return bool(set(re.findall(r"^(\w+):", text, re.MULTILINE)) & set(Keys.model_fields))


def data(place: Place) -> Iterator[Finding]:
    """Check the mirror and the scale's datasets: intact, or to be fetched.

    Args:
        place: what is looked at.
    """
    try:
        mirror = obtain.mirror_root(load.mirror(place.scale) if place.graph else None)
    except InputError as error:
        fix = "unset HSAC_MIRROR" if "HSAC_MIRROR" in os.environ else "set `mirror: null`"
        yield Finding(str(error), fix)
        return
    if mirror is not None:
        yield from _lacking(mirror)
    here, hashed = [], 0
    for name in place.graph.datasets if place.graph else []:
        stored = store.raw_folder(name, place.data)
        if overview.state(catalogue.entry(name), place.data, mirror) == "by hand":
            text = f"{name}: its files are not here and cannot be fetched"
            yield Finding(text, f"hsac data info {shlex.quote(name)}")
        if not stored.exists():
            continue
        here.append(name)
        hashed += sum(path.stat().st_size for path in stored.iterdir())
        if hashed <= HASHED and not store.is_intact(name, place.data):
            fix = f"hsac data fetch {shlex.quote(name)}"
            yield Finding(f"{stored}: damaged or of another version", fix)
    more = "" if hashed <= HASHED else "; too large to hash all here, `hsac data verify` does"
    yield Finding(f"{len(here)} datasets of {place.scale} here{more}; mirror {mirror or 'not set'}")


def _lacking(mirror: Path) -> Iterator[Finding]:
    lacking = [name for name in obtain.read_sums(mirror) if not (mirror / name).exists()]
    if lacking:
        found = f"{len(lacking)} files that its {obtain.SUMS} lists are not there"
        fix = f"HSAC_MIRROR= hsac data mirror {shlex.quote(str(mirror))}"
        yield Finding(f"mirror {mirror}: {found}: {_some(lacking)}", fix)


def locks(place: Place) -> Iterator[Finding]:
    """Look for locks: Snakemake's of this folder, datasets being made, leases of GPUs.

    Args:
        place: what is looked at.
    """
    kept = sorted((SNAKEMAKE / "locks").glob("*"))
    running = _workflows(Path.cwd())
    if kept and not running:
        text = f"{kept[0].parent}: {len(kept)} locks, and no workflow runs here on this machine"
        yield Finding(text, "snakemake --unlock")
    for process in running:
        yield Finding(f"a workflow runs here, process {process}")
    for path in sorted((place.data / "locks").glob("*.lock")):
        try:
            FileLock(path).acquire(blocking=False).lock.release()
        except Timeout:
            yield Finding(f"{path.stem} is being made by another process")
    taken = leases(folder())
    for card, shares in taken.items():
        yield Finding(f"GPU {card}: {shares} of {SLOTS} shares are leased")
    yield Finding(f"leases of GPUs: {len(taken) or 'none'}")


def _workflows(here: Path) -> list[int]:
    """Return the Snakemake processes whose working directory is `here`; none without /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if _runs_snakemake(entry) and (entry / "cwd").resolve() == here.resolve():
                found.append(int(entry.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def _runs_snakemake(process: Path) -> bool:
    words = (process / "cmdline").read_bytes().split(b"\0")
    names = [Path(os.fsdecode(word)).name for word in words[:3]]  # python -m snakemake
    return any("snakemake" in name for name in names)


def disk(place: Place) -> Iterator[Finding]:
    """Check that the folders can be written, and hold what the scale's plan comes to.

    Args:
        place: what is looked at.
    """
    for where in (place.data, place.results, SNAKEMAKE):
        try:
            check_writable(where)
        except InputError as error:
            name, file = shlex.quote(str(where)), where.is_file()
            yield Finding(str(error), f"mv {name} {name}.old" if file else f"chmod -R u+rwX {name}")
    results = place.results.absolute()
    there = next(path for path in (results, *results.parents) if path.exists())
    free, needed = shutil.disk_usage(there).free, _still_needed(place)
    room, left = f"{free / 1e9:.3g} GB free", f"{needed / 1e9:.2g} GB"
    if free < needed + SPARE:
        text = f"{room}, while what is left of {place.scale} takes about {left}"
        spare = f"{SPARE / 1e9:.2g} GB should stay free"
        yield Finding(f"{text} and {spare}", "du -sh results/* data/*  # delete some")
    yield Finding(f"{room}; results still to come take {left} as far as is known")


def _still_needed(place: Place) -> float:
    """Return the bytes of the runs that are left, as far as they are known."""
    if place.graph is None:
        return 0.0
    made = plan(place.graph, Timings(place.results.parent))
    with_runs = [part for part in made.parts if part.runs]
    return sum(part.bytes.known * part.runs_left / part.runs for part in with_runs)


def records(place: Place) -> Iterator[Finding]:
    """Check the scale's records against the digests in their indexes, for SECONDS at most.

    Args:
        place: what is looked at.
    """
    started, intact = time.monotonic(), 0
    named = place.results.glob("runs/*/*/*/*[0-9].json")
    indexes = sorted(path for path in named if INDEX.fullmatch(path.stem))
    for number, index in enumerate(indexes):
        if time.monotonic() - started > SECONDS:
            looked = f"looked at {number} of {len(indexes)} bundles in {SECONDS:g} s"
            yield Finding(f"{looked}; `hsac job gather` reads all")
            break
        for fault in _bundle(index, place):
            intact += fault is None
            if fault:
                yield fault
    yield Finding(f"{intact} records of {place.scale} are as their runs wrote them")


def _bundle(index: Path, place: Place) -> Iterator[Finding | None]:
    """Yield what is wrong with the index of a bundle, or with each of its records."""
    again = workflow_of(index).strip("`")
    try:
        listed = read_index(index)[1]
    except InputError as error:
        yield Finding(str(error).split(";")[0], f"rm {shlex.quote(str(index))}; {again}")
        return
    for _, path, sha256 in listed:
        fault = _fault(path, sha256)
        gone = f"rm -f {shlex.quote(str(path))} {shlex.quote(str(index))}"
        yield Finding(f"{path}: {fault}", f"{gone}; {again}") if fault else None


def _fault(path: Path, sha256: str) -> str | None:
    """Return what is wrong with a record or the weights beside it."""
    if not path.is_file():
        return "missing"
    if file_sha256(path) != sha256:
        return "edited or cut short since its run"
    record = read_json(path)
    if isinstance(record, dict) and record.get("weights") and not is_chosen(record):
        try:
            # the header and the length are read, not all weights
            np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return "its weights are missing or cut short"
    return None


def artefacts(place: Place) -> Iterator[Finding]:
    """Compare tables, claims, figures and the like with the manifest of the last run.

    Args:
        place: what is looked at.
    """
    if place.graph is None:
        return
    if not manifest.path(place.graph).exists():
        yield Finding(f"no {manifest.NAME} in {place.results} yet: a run of the workflow writes it")
        return
    again = workflow_of(place.results / "runs").strip("`")
    for output, files in manifest.differing(place.graph).items():
        changed = _some(map(str, files))
        yield Finding(f"{output}: not as the last run left it ({changed})", again)
    yield Finding(f"artefacts compared with {manifest.path(place.graph)}")


def clock(place: Place) -> Iterator[Finding]:
    """Look for files that are dated in the future.

    What is made of them is made again until then.

    Args:
        place: what is looked at.
    """
    folders = (place.results, place.data, load.FOLDER)
    found = list(ahead(folders, FILES))
    if found:
        there = " ".join(shlex.quote(str(folder)) for folder in folders if folder.exists())
        text = f"{len(found)} files are dated in the future: {_some(map(str, found))}"
        yield Finding(text, f"find {there} -newermt '1 minute' -exec touch {{}} +")
    yield Finding(time.strftime("%Y-%m-%d %H:%M:%S here"))


def device(place: Place) -> Iterator[Finding]:
    """Check the device that the study asks for, and look for GPUs that torch cannot use.

    Args:
        place: what is looked at.
    """
    import torch  # takes seconds, so only this check waits for it

    from hsac.ops.device import choose_device

    asked = place.graph.study.device if place.graph else "auto"
    try:
        found = choose_device(asked)
    except InputError as error:
        fix = "snakemake --config device=auto  # or that key of the configuration"
        yield Finding(str(error), fix)
        return
    cards = torch.cuda.device_count()
    if asked == "auto" and not cards and Path("/proc/driver/nvidia/gpus").is_dir():
        text = f"GPUs are here, but torch {torch.__version__} uses none"
        yield Finding(text, "pip install -r requirements.txt")
    name = torch.cuda.get_device_name(found) if found.type == "cuda" else f"{os.cpu_count()} cores"
    yield Finding(f"device {asked}: {found.type}, {max(1, cards)} x {name}")


CHECKS: dict[str, Callable[[Place], Iterator[Finding]]] = {
    check.__name__: check
    for check in (
        environment,
        account,
        configuration,
        data,
        locks,
        disk,
        records,
        artefacts,
        clock,
        device,
    )
}


def _some(names: Iterable[str]) -> str:
    listed = [*names]
    more = f" and {len(listed) - NAMED} more" if listed[NAMED:] else ""
    return ", ".join(listed[:NAMED]) + more


def place(scale: str) -> Place:
    """Return a scale as it lies in the working directory.

    Args:
        scale: its name.
    """
    results, data = results_root(scale), data_root()
    try:
        return Place(scale, Graph(load.load(scale)), results, data)
    except InputError:
        return Place(scale, None, results, data)


def examine(
    scale: str, track: Callable[[list[str]], Iterable[str]] = iter
) -> Iterator[tuple[str, Finding]]:
    """Yield the findings of every check by its name.

    Args:
        scale: the name of the scale.
        track: wraps the names of the checks, to show how far they are.

    Yields:
        Name and finding. A check that cannot be done is a finding.
    """
    at = place(scale)
    with plugins.using(at.graph.study.plugins if at.graph else []):
        for name in track([*CHECKS]):
            try:
                for found in CHECKS[name](at):
                    yield name, found
            except (InputError, OSError) as error:
                yield name, Finding(f"cannot be checked: {error}", "see there")
