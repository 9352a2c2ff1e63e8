"""`hsac doctor`: what could keep a workflow from running here, and the command that mends it. Each
check is a function of a place; it yields findings, and a note where there is nothing to mend.
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
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from hsac import config, layout, plugins
from hsac.data import catalogue, obtain, overview, store
from hsac.errors import InputError
from hsac.files import file_sha256, read_json
from hsac.ops.file_dates import ahead
from hsac.ops.gpu_lease import SLOTS, folder, leases
from hsac.ops.plan import plan
from hsac.ops.timings import Timings
from hsac.study.record import read_index

LOCK = Path("requirements.lock")
IMPORTED = ("torch", "geoopt", "torch_geometric", "learn2learn", "snakemake")
SNAKEMAKE = Path(".snakemake")
HASHED = 2**28  # bytes of stored data that are hashed here; `hsac data verify` hashes all
SECONDS = 5.0  # that looking through the records of a scale may take
FILES = 100_000  # that are looked at, at most
SPARE = 2**30  # bytes that should be left beside what a plan needs
NAMED = 3  # files that a line names; the others are counted


@dataclass(frozen=True)
class Finding:
    """What was found, and the command that mends it; None where nothing is wrong."""

    text: str
    mend: str | None = None


@dataclass(frozen=True)
class Place:
    """What is looked at: a scale, its settings (None where they do not load), and the folders of
    results and data.
    """

    scale: str
    settings: dict[str, Any] | None
    results: Path
    data: Path


def environment(place: Place) -> Iterator[Finding]:
    """Installed versions against requirements.lock, and whether the large packages can be imported."""
    locked = (
        dict(re.findall(r"^([\w.-]+)==(\S+)$", LOCK.read_text(), re.MULTILINE))
        if LOCK.is_file()
        else {}
    )
    here = {name: _version(name) for name in locked}
    needed = {
        re.split(r"[\s;<>=!\[]", line)[0]
        for line in metadata.requires("hsac") or []
        if "extra ==" not in line
    }
    wrong = [
        f"{name} {here[name] or 'missing'} (locked {version})"
        for name, version in locked.items()
        if here[name] not in (version, None) or (here[name] is None and name in needed)
    ]
    if wrong:
        text = f"{len(wrong)} packages are not as in {LOCK}: {_some(wrong)}"
        yield Finding(text, "pip install -r requirements.txt")
    for name in IMPORTED:
        try:
            import_module("hsac._learn2learn" if name == "learn2learn" else name)
        except Exception as error:  # a broken build raises anything
            words = (str(error).strip() or type(error).__name__).splitlines()[0]
            yield Finding(
                f"{name} cannot be imported: {words}",
                "pip install --force-reinstall -r requirements.txt",
            )
    same = sum(here[name] == version for name, version in locked.items())
    yield Finding(f"Python {sys.version.split()[0]}, {same} packages as in {LOCK}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name).partition("+")[
            0
        ]  # of a build for CUDA, the part after it differs
    except metadata.PackageNotFoundError:
        return None


def configuration(place: Place) -> Iterator[Finding]:
    """Whether every scale of the folder loads."""
    loaded = []
    for scale in dict.fromkeys([place.scale, *_scales()]):
        try:
            config.load(scale)
            loaded.append(scale)
        except InputError as error:
            path = config.FOLDER / ("config.yaml" if scale == "default" else f"{scale}.yaml")
            yield Finding(str(error), f"${{EDITOR:-vi}} {path}" if path.is_file() else "hsac list")
    yield Finding(f"scales {', '.join(loaded)}")


def _scales() -> Iterator[str]:
    """The scales of the configuration's folder: files with keys that a configuration may have."""
    for path in sorted(config.FOLDER.glob("*.yaml")):
        keys = re.findall(r"^(\w+):", path.read_text(), re.MULTILINE)
        if set(keys) & set(config.schema()["properties"]):
            yield "default" if path.stem == "config" else path.stem


def data(place: Place) -> Iterator[Finding]:
    """The mirror, and the scale's datasets: whole where they are here, to be had where they are
    not.
    """
    try:
        mirror = obtain.mirror_root(config.mirror(place.scale) if place.settings else None)
    except InputError as error:
        yield Finding(
            str(error), "unset HSAC_MIRROR" if "HSAC_MIRROR" in os.environ else "set `mirror: null`"
        )
        return
    if mirror is not None:
        lacking = [name for name in obtain.read_sums(mirror) if not (mirror / name).exists()]
        if lacking:
            text = (
                f"mirror {mirror}: {len(lacking)} files that its {obtain.SUMS} lists are not there:"
                f" {_some(lacking)}"
            )
            yield Finding(text, f"HSAC_MIRROR= hsac data mirror {shlex.quote(str(mirror))}")
    here, hashed = [], 0
    for name in layout.datasets(place.settings) if place.settings else []:
        found, stored = catalogue.entry(name), store.raw_folder(name, place.data)
        state = overview.state(found, place.data, mirror)
        if state == "by hand":
            yield Finding(
                f"{name}: its files are not here and cannot be fetched", f"hsac data info {name}"
            )
        if not stored.exists():
            continue
        here.append(name)
        hashed += sum(path.stat().st_size for path in stored.iterdir())
        if hashed <= HASHED and not store.is_intact(name, place.data):
            yield Finding(f"{stored}: damaged or of another version", f"hsac data fetch {name}")
    more = "" if hashed <= HASHED else "; too large to hash all here, `hsac data verify` does"
    yield Finding(f"{len(here)} datasets of {place.scale} here{more}; mirror {mirror or 'not set'}")


def locks(place: Place) -> Iterator[Finding]:
    """Snakemake's lock of this folder, those of datasets that are being made, leases of GPUs."""
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
    yield from (
        Finding(f"GPU {card}: {shares} of {SLOTS} shares are leased")
        for card, shares in taken.items()
    )
    yield Finding(f"leases of GPUs: {len(taken) or 'none'}")


def _workflows(here: Path) -> list[int]:
    """Processes of Snakemake whose working directory is `here`; where there is no /proc, none."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if (
                any(b"snakemake" in Path(os.fsdecode(w)).name.encode() for w in words[:3])
                and (entry / "cwd").resolve() == here.resolve()
            ):
                found.append(int(entry.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def disk(place: Place) -> Iterator[Finding]:
    """Whether the folders can be written, and hold what the scale's plan comes to."""
    for where in (place.data, place.results, SNAKEMAKE):
        try:
            layout.check_writable(where)
        except InputError as error:
            name, file = shlex.quote(str(where)), where.is_file()
            yield Finding(str(error), f"mv {name} {name}.old" if file else f"chmod -R u+rwX {name}")
    there = next(
        path
        for path in (place.results.absolute(), *place.results.absolute().parents)
        if path.exists()
    )
    free = shutil.disk_usage(there).free
    needed = 0.0
    if place.settings:
        made = plan(place.settings, place.results, Timings(place.results.parent))
        needed = sum(
            part.bytes.known * part.runs_left / part.runs for part in made.parts if part.runs
        )
    if free < needed + SPARE:
        text = (
            f"{free / 1e9:.3g} GB free, while what is left of {place.scale} takes about"
            f" {needed / 1e9:.2g} GB"
        )
        yield Finding(
            f"{text} and {SPARE / 1e9:.2g} GB should stay free",
            "du -sh results/* data/*  # delete some",
        )
    yield Finding(
        f"{free / 1e9:.3g} GB free; results still to come take {needed / 1e9:.2g} GB as far as is"
        " known"
    )


def records(place: Place) -> Iterator[Finding]:
    """The scale's records against the digests in their indexes, for SECONDS at most."""
    started, sound, indexes = (
        time.monotonic(),
        0,
        sorted(place.results.glob("runs/*/*/*/*[0-9].json")),
    )
    indexes = [path for path in indexes if re.fullmatch(r"(block|points)\d+", path.stem)]
    again = "snakemake" + (f" --config scale={place.scale}" if place.scale != "default" else "")
    for number, index in enumerate(indexes):
        if time.monotonic() - started > SECONDS:
            yield Finding(
                f"looked at {number} of {len(indexes)} bundles in {SECONDS:g} s; `hsac job gather`"
                " reads all"
            )
            break
        try:
            listed = read_index(index)[1]
        except InputError as error:
            yield Finding(
                str(error).split(";")[0], f"rm {shlex.quote(str(index))}; {again} --cores all"
            )
            continue
        for _, path, sha256 in listed:
            fault = _fault(path, sha256)
            sound += fault is None
            if fault:
                gone = f"rm -f {shlex.quote(str(path))} {shlex.quote(str(index))}"
                yield Finding(f"{path}: {fault}", f"{gone}; {again} --cores all")
    yield Finding(f"{sound} records of {place.scale} are as their runs wrote them")


def _fault(path: Path, sha256: str) -> str | None:
    """What is wrong with a record or the weights beside it."""
    if not path.is_file():
        return "missing"
    if file_sha256(path) != sha256:
        return "edited or cut short since its run"
    if isinstance(record := read_json(path), dict) and record.get("weights"):
        try:
            np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return "its weights are missing or cut short"
    return None


def clock(place: Place) -> Iterator[Finding]:
    """Files that are dated in the future: what is made of them is made again until then."""
    found = list(ahead((place.results, place.data, config.FOLDER), FILES))
    if found:
        folders = " ".join(
            shlex.quote(str(f)) for f in (place.results, place.data, config.FOLDER) if f.exists()
        )
        text = f"{len(found)} files are dated in the future: {_some(map(str, found))}"
        yield Finding(text, f"find {folders} -newermt '1 minute' -exec touch {{}} +")
    yield Finding(time.strftime("%Y-%m-%d %H:%M:%S here"))


def device(place: Place) -> Iterator[Finding]:
    """The device that the settings ask for, and GPUs that torch cannot use."""
    import torch

    from hsac.ops.device import choose_device

    asked = place.settings["device"] if place.settings else "auto"
    try:
        found = choose_device(asked)
    except InputError as error:
        yield Finding(
            str(error), "snakemake --config device=auto  # or that key of the configuration"
        )
        return
    if (
        not torch.cuda.device_count()
        and Path("/proc/driver/nvidia/gpus").is_dir()
        and asked == "auto"
    ):
        yield Finding(
            f"GPUs are here, but torch {torch.__version__} uses none",
            "pip install -r requirements.txt",
        )
    name = torch.cuda.get_device_name(found) if found.type == "cuda" else f"{os.cpu_count()} cores"
    yield Finding(f"device {asked}: {found.type}, {max(1, torch.cuda.device_count())} x {name}")


CHECKS: dict[str, Callable[[Place], Iterator[Finding]]] = {
    check.__name__: check
    for check in (environment, configuration, data, locks, disk, records, clock, device)
}


def _some(names: Iterable[str]) -> str:
    listed = [*names]
    more = f" and {len(listed) - NAMED} more" if listed[NAMED:] else ""
    return ", ".join(listed[:NAMED]) + more


def place(scale: str) -> Place:
    """A scale as it lies in the working directory."""
    try:
        settings: dict[str, Any] | None = config.load(scale)
    except InputError:  # said by `configuration`
        settings = None
    return Place(scale, settings, layout.results_root(scale), layout.data_root())


def examine(
    scale: str, track: Callable[[list[str]], Iterable[str]] = iter
) -> Iterator[tuple[str, Finding]]:
    """The findings of every check, by its name; a check that cannot be done is a finding."""
    at = place(scale)
    with plugins.using(plugins.folders(at.settings or {})):
        for name in track([*CHECKS]):
            try:
                for found in CHECKS[name](at):
                    yield name, found
            except (InputError, OSError) as error:
                yield name, Finding(f"cannot be checked: {error}", "see there")
