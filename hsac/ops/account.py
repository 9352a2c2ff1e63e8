"""What Snakemake asks of the account that it runs under: a user name, and folders of its own.

Containers often lack both. Without them Snakemake ends in a traceback.
"""

import getpass
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from snakemake.common import get_appdirs

from hsac.errors import InputError
from hsac.study.graph import check_writable


@dataclass(frozen=True)
class Lack:
    """What an account lacks.

    Attributes:
        text: the variable, what was found and what is allowed.
        fix: the command that gives the account what it lacks.
    """

    text: str
    fix: str


def lacking() -> Iterator[Lack]:
    """Yield what this process's account lacks for a run of Snakemake."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        found = f"found nothing, and user {os.getuid()} has no name here"
        yield Lack(f"USER: {found}; allowed is a name", "export USER=hsac")
    dirs = get_appdirs()
    try:
        # Snakemake looks for profiles in the first, and keeps copies of source files in the second.
        folders = Path(dirs.user_config_dir), Path(dirs.user_cache_dir)
    except RuntimeError:
        found = f"found {os.environ.get('HOME') or 'nothing'}"
        text = f"HOME: {found}; allowed is the absolute path of a folder"
        yield Lack(text, 'export HOME="$(mktemp -d)"')
        return
    try:
        check_writable(folders[1] / "snakemake" / "source-cache")
    except InputError as error:
        key = "XDG_CACHE_HOME" if os.environ.get("XDG_CACHE_HOME") else "HOME"
        yield Lack(f"{key}: Snakemake's cache {error}", 'export XDG_CACHE_HOME="$(mktemp -d)"')


def check() -> None:
    """Check that the account has what Snakemake asks for.

    Raises:
        InputError: A line for each thing that it lacks.
    """
    if lacks := [*lacking()]:
        raise InputError("\n".join(f"{one.text}; run: {one.fix}" for one in lacks))
