"""What commands read before they work: settings, plugin folders, the mirror, a GPU.

Imports stand inside the functions here and in the commands: `hsac --help` needs none of them.
"""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import click

from hsac.cli.command import JsonObject, Several
from hsac.errors import InputError

Entered = TypeVar("Entered")

scale = click.option("--scale", default="default", show_default=True, metavar="SCALE")
override = click.option("--override", type=JsonObject(), default="{}")
plugins = click.option("--plugins", cls=Several, metavar="FOLDER...")
settings = click.option(
    "--settings", type=click.Path(path_type=Path), envvar="HSAC_SETTINGS", required=True
)
experiment = click.option("--experiment", required=True)
method = click.option("--method", required=True)


def path(flag: str, required: bool = True) -> Any:
    """Make an option that names a file or folder.

    Args:
        flag: The option, such as `--output`.
        required: Whether the command needs it.

    Returns:
        The decorator that gives it to a command.
    """
    return click.option(flag, type=click.Path(path_type=Path), required=required)


def paths(flag: str, required: bool = True) -> Any:
    """Make an option that names several files.

    Args:
        flag: The option, such as `--indexes`.
        required: Whether the command needs one at least.

    Returns:
        The decorator that gives it to a command.
    """
    kind = click.Path(path_type=Path)
    return click.option(flag, cls=Several, type=kind, required=required, metavar="PATH...")


def use_plugins(folders: tuple[str, ...], scale: str | None = None) -> None:
    """Know the parts of plugin folders until the command ends.

    Args:
        folders: What `--plugins` names. Where the option is not given, HSAC_PLUGINS counts, which
            the workflow sets for its jobs, and without it the folders of the scale.
        scale: The scale. None has no folders.

    Raises:
        InputError: A folder is missing or has a faulty part.
    """
    from click.core import ParameterSource

    from hsac import config

    ctx = click.get_current_context()
    found: list[str] = []
    if ctx.get_parameter_source("plugins") is not ParameterSource.DEFAULT:
        found = list(folders)
    elif "HSAC_PLUGINS" in os.environ:
        found = [one for one in os.environ["HSAC_PLUGINS"].split(os.pathsep) if one]
    elif scale is not None and (config.FOLDER / "config.yaml").is_file():
        found = config.plugin_folders(scale)
    _use(found)


def load(scale: str, override: dict[str, Any]) -> dict[str, Any]:
    """Resolve a scale's configuration and know its plugins until the command ends.

    Args:
        scale: The scale.
        override: Top-level keys to replace.

    Returns:
        The settings.

    Raises:
        InputError: The configuration is faulty.
    """
    from hsac import config
    from hsac import plugins as found

    resolved = config.load(scale, override)
    _use(found.folders(resolved))
    return resolved


def read(path: Path) -> dict[str, Any]:
    """Read resolved settings and know their plugins until the command ends.

    Args:
        path: What `hsac job settings` wrote.

    Returns:
        The settings.

    Raises:
        InputError: The file is missing or damaged.
    """
    from hsac import plugins as found
    from hsac.files import read_json

    resolved: dict[str, Any] = read_json(path)
    _use(found.folders(resolved))
    return resolved


def experiment_of(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """Look an experiment up.

    Args:
        settings: The settings.
        name: What `--experiment` says.

    Returns:
        The experiment.

    Raises:
        InputError: The settings have none of this name.
    """
    from hsac import parts

    known = settings["experiments"]
    if name not in known:
        raise InputError(f"--experiment: found {name!r}; {parts.nearest(name, known)}")
    found: dict[str, Any] = known[name]
    return found


def lease_gpu(settings: dict[str, Any]) -> dict[str, Any]:
    """Keep a whole GPU until the command ends, where there are GPUs.

    Args:
        settings: The settings.

    Returns:
        The settings with that GPU as `device`. On a CPU they are as given.
    """
    from hsac.ops.device import leased

    return _until_the_end(leased(settings))


def mirror_of(scale: str, override: dict[str, Any] | None = None) -> Path | None:
    """Find the mirror of datasets.

    Args:
        scale: The scale whose key `mirror` counts where HSAC_MIRROR is not set.
        override: Top-level keys to replace.

    Returns:
        The mirror's folder. None without one.

    Raises:
        InputError: What is named is no folder.
    """
    from hsac import config
    from hsac.data import obtain

    configured = (config.FOLDER / "config.yaml").is_file()
    return obtain.mirror_root(config.mirror(scale, override) if configured else None)


def _use(folders: list[str]) -> None:
    from hsac import plugins as known

    _until_the_end(known.using(folders))


def _until_the_end(manager: AbstractContextManager[Entered]) -> Entered:
    return click.get_current_context().with_resource(manager)
