"""Where a dataset's files come from: the mirror, what lies in ``<data>/downloads``, the network."""

import logging
import os
import shutil
from pathlib import Path

from filelock import FileLock

from hsac.data.catalogue import Entry, File, Form
from hsac.errors import InputError
from hsac.files import atomic, file_sha256, write_bytes

log = logging.getLogger(__name__)

SUMS = "SHA256SUMS"


def mirror_root(setting: str | None = None) -> Path | None:
    """The mirror: what ``HSAC_MIRROR`` names (nothing, when it is set and empty), else the
    configuration's ``mirror``.

    Raises InputError naming which of the two names no folder.
    """
    key, given = "mirror", setting
    if "HSAC_MIRROR" in os.environ:
        key, given = "HSAC_MIRROR", os.environ["HSAC_MIRROR"]
    if not given:
        return None
    if not Path(given).is_dir():
        raise InputError(f"{key}: found {given!r}; allowed is a folder that holds a mirror")
    return Path(given)


def downloads(root: Path) -> Path:
    """Where downloaded files, and files put there by hand, lie; laid out like a mirror."""
    return Path(root) / "downloads"


def lock(root: Path, name: str) -> FileLock:
    """A lock among processes that work in one data folder. Raises InputError when it cannot be
    written there.
    """
    path = Path(root) / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    return FileLock(path)


def obtain(entry: Entry, root: Path, mirror: Path | None) -> tuple[Form, Path]:
    """A form of the dataset and the folder its files are in, their hashes checked wherever one is
    stated.

    The first form that lies whole in the mirror, else in ``<root>/downloads``, else the first whose
    missing files the mirror or the network give; these land in ``<root>/downloads``. Raises
    InputError for a damaged file of the mirror, or, when no form can be had, naming the addresses
    tried and the ways out.
    """
    here = downloads(root)
    for form in entry.forms:
        if not form.files:
            return form, Path(root)
    for form in entry.forms:
        if mirror is not None and present(form, mirror):
            for problem in problems(form, mirror):
                raise InputError(f"dataset {entry.name}: {problem}; mend the mirror")
            return form, mirror
    tried: list[str] = []
    for form in sorted(entry.forms, key=lambda form: not present(form, here)):
        if all(_gather(file, root, mirror, tried) for file in form.files):
            return form, here
    raise InputError(_ways_out(entry, root, mirror, tried))


def present(form: Form, folder: Path) -> bool:
    """Whether all files of a form are in a folder."""
    return all((folder / file.path).exists() for file in form.files)


def problems(form: Form, folder: Path) -> list[str]:
    """What is wrong with a form's files in a folder, by the catalogue's file hashes and the
    folder's SHA256SUMS.
    """
    sums = read_sums(folder)
    files = [inner for file in form.files for inner in expanded(file, folder)]
    return [problem for file in files if (problem := _unlike(folder, file, sums.get(file.path)))]


def expanded(file: File, folder: Path) -> list[File]:
    """The file itself, or the files in it, sorted, where a form names a whole folder."""
    if not (folder / file.path).is_dir():
        return [file]
    inside = sorted(path for path in (folder / file.path).rglob("*") if path.is_file())
    return [File(path.relative_to(folder).as_posix()) for path in inside]


def read_sums(folder: Path) -> dict[str, str]:
    """SHA-256 by path, as a folder's SHA256SUMS states them; empty without one."""
    path = folder / SUMS
    if not path.is_file():
        return {}
    lines = [
        line.split(maxsplit=1)
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    return {
        parts[1].removeprefix("*").removeprefix("./"): parts[0].lower()
        for parts in lines
        if len(parts) == 2
    }


def write_sums(folder: Path, sums: dict[str, str]) -> None:
    """Write a folder's SHA256SUMS, sorted by path."""
    write_bytes(
        folder / SUMS,
        "".join(f"{sha256}  {path}\n" for path, sha256 in sorted(sums.items())).encode(),
    )


def refuse(entry: Entry, form: Form, folder: Path, root: Path, reason: str) -> InputError:
    """The error for files that do not hold the catalogue's content; downloaded ones are set aside
    first.
    """
    if folder != downloads(root):
        listed = ", ".join(str(folder / file.path) for file in form.files)
        return InputError(f"dataset {entry.name}: {reason}; refused: {listed}")
    files = [file for file in form.files if file.sha256 is None and (folder / file.path).is_file()]
    for file in files:
        set_aside(folder / file.path, file.path, root, f"dataset {entry.name}: {reason}")
    return InputError(
        f"dataset {entry.name}: {reason}; its files are set aside in {Path(root) / 'rejected'}"
    )


def set_aside(path: Path, name: str, root: Path, reason: str) -> Path:
    """Move a bad file to ``<root>/rejected``, named by its content, with the reason in a text
    beside it.
    """
    target = Path(root) / "rejected" / f"{name}.{file_sha256(path)[:16]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, target)
    write_bytes(target.with_name(f"{target.name}.reason"), f"{reason}\n".encode())
    log.warning("%s: %s; set aside as %s", path, reason, target)
    return target


def _unlike(folder: Path, file: File, listed: str | None = None) -> str | None:
    path = folder / file.path
    return _problem(path, file.sha256) or _problem(path, listed, SUMS)


def _problem(path: Path, sha256: str | None, source: str = "the catalogue") -> str | None:
    if sha256 is None or not path.is_file():
        return None
    found = file_sha256(path)
    return (
        None
        if found == sha256
        else f"{path} has the SHA-256 {found}, not {sha256} as {source} says"
    )


def _gather(file: File, root: Path, mirror: Path | None, tried: list[str]) -> bool:
    """Have a file in the downloads, sound; what failed goes to ``tried``."""
    from hsac.data.download import DownloadError, address, download

    target = downloads(root) / file.path
    with lock(root, file.path.replace("/", "--")):
        if target.is_file() and (problem := _problem(target, file.sha256)):
            set_aside(target, file.path, root, problem)
        if target.exists():
            return True
        if mirror is not None and (mirror / file.path).is_file():
            for problem in problems(Form("", files=(file,)), mirror):
                raise InputError(f"{problem}; mend the mirror")
            with atomic(target) as temporary:
                shutil.copyfile(mirror / file.path, temporary)
            return True
        for url in file.urls:
            where = address(url, file.path)
            log.info("fetching %s", where)
            try:
                came = download(url, file.path, downloads(root) / ".incoming")
            except DownloadError as error:
                tried.append(f"{where} ({error})")
                continue
            if problem := _problem(came, file.sha256):
                set_aside(came, file.path, root, f"{where}: {problem}")
                tried.append(f"{where} (wrong content: not SHA-256 {file.sha256})")
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(came, target)
            return True
    return False


def _ways_out(entry: Entry, root: Path, mirror: Path | None, tried: list[str]) -> str:
    paths = [file.path for file in entry.forms[0].files]
    lacking = [path for path in paths if mirror is None or not (mirror / path).exists()]
    more = f" and {len(lacking) - 8} more (`hsac data info {entry.name}`)" if lacking[8:] else ""
    listed = ", ".join(lacking[:8]) + more
    looked = f"the mirror {mirror} lacks it" if mirror is not None else "no mirror is set"
    fetched = f"tried {', '.join(tried)}" if tried else "there is no address to fetch it from"
    other = (
        f" (or those of another form: `hsac data info {entry.name}`)"
        if len(entry.forms) > 1
        else ""
    )
    by_hand = f". {' '.join(entry.by_hand.split())}" if entry.by_hand else ""
    return (
        f"dataset {entry.name}: not to be had: {looked}, {fetched}. Two ways out: set HSAC_MIRROR,"
        f" or `mirror:` in the configuration, to a folder that holds {listed}; or put these files"
        f" into {downloads(root)} under these paths{other}{by_hand}"
    )
