"""What commands read before they work: settings, plugin folders, the mirror, a GPU.

Imports stand inside the functions here and in the commands: `hsac --help` needs none of them.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hsac.cli.command import JsonObject, Several
from hsac.errors import InputError

if TYPE_CHECKING:
    from hsac.study.cell import Cell
    from hsac.study.graph import Graph
    from hsac.study.models import Experiment, Study

Entered = TypeVar("Entered")
Member = TypeVar("Member")

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

    from hsac.study.load import FOLDER, plugin_folders

    ctx = click.get_current_context()
    found: list[str] = []
    # Being given decides: `--plugins` without a folder asks for none.
    if ctx.get_parameter_source("plugins") is not ParameterSource.DEFAULT:
        found = list(folders)
    # The workflow sets it even where it is empty, and then there are no folders.
    elif "HSAC_PLUGINS" in os.environ:
        found = [one for one in os.environ["HSAC_PLUGINS"].split(os.pathsep) if one]
    elif scale is not None and (FOLDER / "config.yaml").is_file():
        found = plugin_folders(scale)
    _use(found)


def load(scale: str, override: Mapping[str, Any]) -> "Graph":
    """Load the study of a scale and know its plugins until the command ends.

    Args:
        scale: The scale.
        override: Top-level keys to replace.

    Returns:
        The work of the study.

    Raises:
        InputError: The configuration is faulty.
    """
    from hsac.study.graph import Graph
    from hsac.study.load import load as load_study

    study = load_study(scale, override)
    _use(study.plugins)
    return Graph(study)


def read(path: Path) -> "Study":
    """Read a resolved study and know its plugins until the command ends.

    Args:
        path: What `hsac job settings` wrote.

    Returns:
        The study.

    Raises:
        InputError: The file is missing or damaged.
    """
    from hsac.study.load import read as read_study

    study = read_study(path)
    _use(study.plugins)
    return study


def experiment_of(study: "Study", name: str) -> "Experiment":
    """Look an experiment up.

    Args:
        study: The study.
        name: What `--experiment` says.

    Returns:
        The experiment.

    Raises:
        InputError: The study has none of this name.
    """
    from hsac import parts

    if name not in study.experiments:
        nearest = parts.nearest(name, study.experiments)
        raise InputError(f"--experiment: found {name!r}; {nearest}")
    return study.experiments[name]


def member_of(key: str, known: Mapping[str, Member], name: str) -> Member:
    """Look up what a name of the settings stands for.

    Args:
        key: What the name is of, for the error line.
        known: What the settings name.
        name: The name.

    Returns:
        What it stands for.

    Raises:
        InputError: The settings do not have the name.
    """
    from hsac import parts

    if name not in known:
        raise InputError(f"{key}: found {name!r}; in these settings {parts.nearest(name, known)}")
    return known[name]


def cell_of(study: "Study", experiment: str, method: str) -> "Cell":
    """Resolve the cell that `--experiment` and `--method` name.

    Args:
        study: The study.
        experiment: The name of the experiment.
        method: The name of the method.

    Raises:
        InputError: The study has no such experiment, or the method cannot be made.
    """
    from hsac.study.resolve import cell

    experiment_of(study, experiment)
    return cell(study, experiment, method)


def lease_gpu(study: "Study") -> "Study":
    """Keep a whole GPU until the command ends, where there are GPUs.

    Args:
        study: The study.

    Returns:
        The study with that GPU as `device`. On a CPU it is as given.
    """
    from hsac.ops.device import leased

    # Finished runs tell how much training takes, but not these jobs. So the whole GPU is leased.
    return _until_the_end(leased(study))


def mirror_of(scale: str, override: Mapping[str, Any] | None = None) -> Path | None:
    """Find the mirror of datasets.

    Args:
        scale: The scale whose key `mirror` counts where HSAC_MIRROR is not set.
        override: Top-level keys to replace.

    Returns:
        The mirror's folder. None without one.

    Raises:
        InputError: What is named is no folder.
    """
    from hsac.data import obtain
    from hsac.study.load import FOLDER, mirror

    # Commands on data also work in a folder without a configuration.
    configured = (FOLDER / "config.yaml").is_file()
    return obtain.mirror_root(mirror(scale, override) if configured else None)


def _use(folders: Sequence[str]) -> None:
    from hsac import plugins as known

    _until_the_end(known.using(folders))


def _until_the_end(manager: AbstractContextManager[Entered]) -> Entered:
    # click leaves the manager when the command ends, however that is.
    return click.get_current_context().with_resource(manager)
