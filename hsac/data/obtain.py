"""Obtain a dataset's files: from the mirror, from ``<data>/downloads``, or from the network."""

import logging
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from hsac.data.catalogue import SHA256, Entry, File, Form
from hsac.documents import HEAD, read_text, stand_in
from hsac.errors import InputError
from hsac.files import atomic, file_sha256, home_expanded, write_bytes

log = logging.getLogger(__name__)

SUMS = "SHA256SUMS"
LISTED = 8  # missing files that an error line names


def mirror_root(setting: str | None = None) -> Path | None:
    """Return the mirror: what ``HSAC_MIRROR`` names, else the configuration's ``mirror``.

    Args:
        setting: The configuration's ``mirror``.

    Returns:
        The mirror. None without one, and where ``HSAC_MIRROR`` is set and empty.

    Raises:
        InputError: Naming which of the two names no folder.
    """
    key, given = "mirror", setting
    # Set and empty it switches the configuration's mirror off.
    if "HSAC_MIRROR" in os.environ:
        key, given = "HSAC_MIRROR", os.environ["HSAC_MIRROR"]
    if not given:
        return None
    path = home_expanded(given, key)
    if not path.is_dir():
        raise InputError(f"{key}: found {given!r}; allowed is a folder that holds a mirror")
    return path


def downloads(root: Path) -> Path:
    """Return the folder of downloaded files, and of files put there by hand.

    Args:
        root: The data folder.

    Returns:
        A folder laid out like a mirror.
    """
    return Path(root) / "downloads"


def lock(root: Path, name: str) -> FileLock:
    """Make a lock among processes that work in one data folder.

    Args:
        root: The data folder.
        name: Name of the lock.

    Returns:
        The lock, not yet taken.

    Raises:
        InputError: When it cannot be written there.
    """
    path = Path(root) / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    return FileLock(path)


def obtain(entry: Entry, root: Path, mirror: Path | None) -> tuple[Form, Path]:
    """Obtain the files of one of a dataset's forms, checking each hash that is stated.

    It is the first form that is complete in the mirror, else in ``<root>/downloads``, else the
    first whose missing files the mirror or the network give. These land in ``<root>/downloads``.

    Args:
        entry: The dataset.
        root: The data folder.
        mirror: The mirror, if there is one.

    Returns:
        The form, and the folder that its files are in.

    Raises:
        InputError: For a damaged file of the mirror. When no form could be obtained, naming the
            addresses tried and what to do.
    """
    here = downloads(root)
    for form in entry.forms:
        if not form.files:
            return form, Path(root)
    for form in entry.forms:
        if mirror is not None and holds(mirror, form):
            for problem in problems(form, mirror):
                raise InputError(f"dataset {entry.name}: {problem}; fix the mirror")
            return form, mirror
    tried: list[str] = []
    # Forms that are complete first, else in the catalogue's order: sorting is stable.
    for form in sorted(entry.forms, key=lambda form: not holds(here, form)):
        if all(_gather(file, root, mirror, tried) for file in form.files):
            return form, here
    raise InputError(_not_obtained(entry, root, mirror, tried))


def holds(folder: Path, form: Form) -> bool:
    """Check whether all files of a form are in a folder.

    Args:
        folder: The folder, laid out like a mirror.
        form: The form.

    Returns:
        True when they are there. Their content is not looked at.
    """
    # Not is_file: a form may name a whole folder, put there by hand.
    return all((folder / file.path).exists() for file in form.files)


def problems(form: Form, folder: Path) -> list[str]:
    """Check a form's files in a folder by the catalogue's hashes and the folder's SHA256SUMS.

    Args:
        form: The form.
        folder: The folder, laid out like a mirror.

    Returns:
        What is wrong, a sentence a file. Files that are missing or of no stated hash are passed.
    """
    sums = read_sums(folder)
    files = [inner for file in form.files for inner in expanded(file, folder)]
    found = [_damage(folder / file.path, file.sha256, sums.get(file.path)) for file in files]
    return [problem for problem in found if problem is not None]


def unstated(form: Form, folder: Path) -> list[str]:
    """List a form's files in a folder that neither the catalogue nor SHA256SUMS has a hash of.

    Args:
        form: The form.
        folder: The folder, laid out like a mirror.

    Returns:
        Their paths in the folder.
    """
    sums = read_sums(folder)
    files = [inner for file in form.files for inner in expanded(file, folder)]
    return [file.path for file in files if not file.sha256 and file.path not in sums]


def expanded(file: File, folder: Path) -> list[File]:
    """Return a form's file, or the files in it where a form names a whole folder.

    Args:
        file: The file as the form names it.
        folder: The folder that it lies in, laid out like a mirror.

    Returns:
        The file itself, or those in it, sorted.
    """
    if not (folder / file.path).is_dir():
        return [file]
    inside = sorted(path for path in (folder / file.path).rglob("*") if path.is_file())
    return [File(path.relative_to(folder).as_posix()) for path in inside]


def read_sums(folder: Path) -> dict[str, str]:
    """Read a folder's SHA256SUMS.

    Args:
        folder: The folder.

    Returns:
        SHA-256 by path. Empty without the file.

    Raises:
        InputError: For a file that is no UTF-8, and for a line that is no hash and path.
    """
    path = folder / SUMS
    if not path.is_file():
        return {}
    sums = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split(maxsplit=1)
        if not words or line.startswith("#"):
            continue
        # A line that is passed over would leave a file unchecked.
        if len(words) < 2 or not SHA256.fullmatch(words[0].lower()):
            allowed = "64 hexadecimal digits, blanks and a path"
            raise InputError(f"{path}: line {number}: found {line[:80]!r}; allowed is {allowed}")
        # sha256sum marks binary mode with a star, and find's paths begin with ./
        sums[words[1].removeprefix("*").removeprefix("./")] = words[0].lower()
    return sums


def write_sums(folder: Path, sums: dict[str, str]) -> None:
    """Write a folder's SHA256SUMS, sorted by path.

    Args:
        folder: The folder.
        sums: SHA-256 by path.
    """
    lines = [f"{sha256}  {path}\n" for path, sha256 in sorted(sums.items())]
    write_bytes(folder / SUMS, "".join(lines).encode())


def refuse(entry: Entry, form: Form, folder: Path, root: Path, reason: str) -> InputError:
    """Set aside downloaded files that do not hold the catalogue's content, and make the error.

    Files of a mirror stay where they are, and so do those that are what the catalogue's own hash
    says.

    Args:
        entry: The dataset.
        form: The form that the files are of.
        folder: The folder that they are in.
        root: The data folder.
        reason: What is wrong.

    Returns:
        The error to raise.
    """
    if folder != downloads(root):
        listed = ", ".join(str(folder / file.path) for file in form.files)
        # A dataset that is made from installed packages has no files.
        refused = f"; refused: {listed}" if listed else ""
        return InputError(f"dataset {entry.name}: {reason}{refused}")
    for file in form.files:
        # A file of a stated hash was checked when it came. Fetching it again would not help.
        if file.sha256 is None and (folder / file.path).is_file():
            set_aside(folder / file.path, file.path, root, f"dataset {entry.name}: {reason}")
    rejected = Path(root) / "rejected"
    return InputError(f"dataset {entry.name}: {reason}; its files are set aside in {rejected}")


def set_aside(path: Path, name: str, root: Path, reason: str) -> Path:
    """Move a bad file to ``<root>/rejected``, with the reason in a text beside it.

    Args:
        path: The file.
        name: Its path in the catalogue. The first digits of its hash are appended.
        root: The data folder.
        reason: What is wrong with it.

    Returns:
        Where the file is now.

    Raises:
        InputError: When it cannot be moved there.
    """
    # The hash keeps several bad versions of a file apart.
    target = Path(root) / "rejected" / f"{name}.{file_sha256(path)[:16]}"
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    write_bytes(target.with_name(f"{target.name}.reason"), f"{reason}\n".encode())
    log.warning("%s: %s; set aside as %s", path, reason, target)
    return target


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Report that a file or its folder cannot be made, in a line."""
    try:
        yield
    except OSError as error:
        at = os.fsdecode(error.filename or path)
        raise InputError(f"cannot write {at}: {error.strerror or error}") from error


def _damage(path: Path, sha256: str | None, listed: str | None = None) -> str | None:
    """Say what stands in a file's place, or how it differs from a stated hash; None if neither.

    Args:
        path: The file. One that is missing is passed.
        sha256: The catalogue's hash.
        listed: The hash of SHA256SUMS.
    """
    if not path.is_file():
        return None
    found = file_sha256(path) if sha256 or listed else None
    # Whatever SHA256SUMS says, which may have been written where the pointers lay.
    if not (sha256 and found == sha256) and (other := _stand_in(path)):
        return f"{path} {other}"
    for stated, source in ((sha256, "the catalogue"), (listed, SUMS)):
        if stated is not None and found != stated:
            return f"{path} has the SHA-256 {found}, not {stated} as {source} says"
    return None


def _stand_in(path: Path) -> str | None:
    """Say what lies in a file's place. None where the file itself may be a page."""
    if path.suffix.lower() in (".html", ".htm"):
        return None
    try:
        with open(path, "rb") as stream:
            return stand_in(stream.read(HEAD))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _gather(file: File, root: Path, mirror: Path | None, tried: list[str]) -> bool:
    """Bring an intact file into the downloads; what failed goes to ``tried``."""
    target = downloads(root) / file.path
    # A lock is a file in one folder, so its name can hold no slash.
    with lock(root, file.path.replace("/", "--")):
        if target.is_file() and (damage := _damage(target, file.sha256)):
            tried.append(f"{target} ({damage.removeprefix(f'{target} ')})")
            set_aside(target, file.path, root, damage)
        if target.is_dir():
            # Nothing is moved out of a folder that was put there by hand.
            for problem in problems(Form("", files=(file,)), downloads(root)):
                raise InputError(problem)
        # True for a folder put there by hand, too.
        if target.exists():
            return True
        if mirror is not None and (mirror / file.path).is_file():
            for problem in problems(Form("", files=(file,)), mirror):
                raise InputError(f"{problem}; fix the mirror")
            with atomic(target) as temporary:
                shutil.copyfile(mirror / file.path, temporary)
            return True
        # What the network does wrong is in ``tried`` by then, so the rest is this machine's.
        with _writing(target):
            return any(_download(url, file, root, tried) for url in file.urls)


def _download(url: str, file: File, root: Path, tried: list[str]) -> bool:
    # Not above: what only lists datasets should not wait for the network's libraries.
    from hsac.data.download import DownloadError, address, download

    where = address(url, file.path)
    log.info("fetching %s", where)
    try:
        # Beside the downloads, so that nothing incomplete is taken for a file.
        came = download(url, file.path, downloads(root) / ".incoming")
    except DownloadError as error:
        tried.append(f"{where} ({error})")
        return False
    if damage := _damage(came, file.sha256):
        wrong = _stand_in(came) or f"wrong content: not SHA-256 {file.sha256}"
        set_aside(came, file.path, root, f"{where}: {damage}")
        tried.append(f"{where} ({wrong})")
        return False
    target = downloads(root) / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(came, target)
    return True


def _not_obtained(entry: Entry, root: Path, mirror: Path | None, tried: list[str]) -> str:
    """Say what was tried and what to do, in one line."""
    info = f"`hsac data info {shlex.quote(entry.name)}`"
    paths = [file.path for file in entry.forms[0].files]
    # Only the first form is asked for: it is the one that the catalogue prefers.
    lacking = [path for path in paths if mirror is None or not (mirror / path).exists()]
    listed = ", ".join(lacking[:LISTED])
    if lacking[LISTED:]:
        listed += f" and {len(lacking) - LISTED} more ({info})"
    looked = f"the mirror {mirror} lacks it" if mirror is not None else "no mirror is set"
    fetched = f"tried {', '.join(tried)}" if tried else "there is no address to fetch it from"
    other = f" (or those of another form: {info})" if len(entry.forms) > 1 else ""
    by_hand = f". {' '.join(entry.by_hand.split())}" if entry.by_hand else ""
    return (
        f"dataset {entry.name}: could not be obtained: {looked}, {fetched}. Either set"
        f" HSAC_MIRROR, or `mirror:` in the configuration, to a folder that holds {listed}, or put"
        f" these files into {downloads(root)} under these paths{other}{by_hand}"
    )
