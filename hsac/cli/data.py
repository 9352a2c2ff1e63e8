"""`hsac data`: list, fetch, verify, describe and mirror datasets."""

import shlex
from pathlib import Path

import click

from hsac.cli import inputs
from hsac.cli.command import Group
from hsac.errors import InputError


@click.group("data", cls=Group)
def data() -> None:
    """List, fetch, verify, describe and mirror datasets."""


@data.command("list")
@inputs.scale
@inputs.plugins
def list_datasets(scale: str, plugins: tuple[str, ...]) -> None:
    """List the datasets of the catalogue.

    Each with its size, where it can be obtained, whether what is here was verified, and its
    licence.

    Args:
        scale: The scale whose keys mirror and plugins count.
        plugins: Plugin folders to use instead of those of the scale.

    Examples:
        hsac data list
    """
    from hsac.data import overview
    from hsac.study.graph import data_root

    inputs.use_plugins(plugins, scale)
    print("\n".join(overview.table(data_root(), inputs.mirror_of(scale))))


@data.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@inputs.scale
@inputs.plugins
def fetch_datasets(names: tuple[str, ...], scale: str, plugins: tuple[str, ...]) -> None:
    """Put datasets into the data folder and print their counts.

    Args:
        names: Datasets of `hsac data list`.
        scale: The scale whose keys mirror and plugins count.
        plugins: Plugin folders to use instead of those of the scale.

    Examples:
        hsac data fetch cora omniglot
    """
    from hsac.data import fetch
    from hsac.files import read_json
    from hsac.study.graph import data_root

    inputs.use_plugins(plugins, scale)
    for name in names:
        folder = fetch(name, data_root(), inputs.mirror_of(scale))
        counts = read_json(folder / "manifest.json")["counts"]
        print(f"{folder}: " + ", ".join(f"{key} {value}" for key, value in counts.items()))


@data.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@inputs.scale
@inputs.plugins
def verify_datasets(names: tuple[str, ...], scale: str, plugins: tuple[str, ...]) -> int:
    """Hash files and contents again and compare with the catalogue.

    Args:
        names: Datasets of `hsac data list`. By default all that are here or in a mirror.
        scale: The scale whose keys mirror and plugins count.
        plugins: Plugin folders to use instead of those of the scale.

    Returns:
        The exit status is 1 when something differs.

    Raises:
        InputError: Nothing of a named dataset is here or in a mirror.

    Examples:
        hsac data verify
        hsac data verify cora
    """
    from hsac.data import catalogue
    from hsac.data.audit import audit
    from hsac.study.graph import data_root

    inputs.use_plugins(plugins, scale)
    mirror = inputs.mirror_of(scale)
    audits = [audit(name, data_root(), mirror) for name in names or catalogue.names()]
    for found in audits:
        if found.looked:
            print(found.line())
        # Only what is asked for by name must be here. Few have the whole catalogue.
        elif names:
            raise InputError(
                f"dataset {found.name}: nothing of it is here or in a mirror;"
                f" `hsac data fetch {shlex.quote(found.name)}`"
            )
    return int(any(found.problems for found in audits))


@data.command("info")
@click.argument("name")
@click.option("--picture", type=click.Path(path_type=Path), metavar="FILE.png")
@inputs.scale
@inputs.plugins
def describe_dataset(name: str, picture: Path | None, scale: str, plugins: tuple[str, ...]) -> None:
    """Print everything that is known of a dataset.

    Args:
        name: A dataset of `hsac data list`.
        picture: Draw it there. Beside it come a .pdf, and caption and numbers as .json.
        scale: The scale whose keys mirror and plugins count.
        plugins: Plugin folders to use instead of those of the scale.

    Examples:
        hsac data info cifar10 --picture cifar10.png
    """
    from hsac.data import overview
    from hsac.study.graph import data_root

    inputs.use_plugins(plugins, scale)
    print(overview.info(name, data_root(), inputs.mirror_of(scale)))
    if picture is not None:
        # Drawing takes long to import, and most calls draw nothing.
        from hsac.report.pictures import write_picture

        write_picture(name, data_root(), picture)


@data.command("mirror")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@inputs.scale
@inputs.plugins
def fill_mirror(folder: Path, names: tuple[str, ...], scale: str, plugins: tuple[str, ...]) -> int:
    """Fill a mirror from the present one, the downloads or the network.

    Args:
        folder: The mirror to fill.
        names: Datasets of `hsac data list`. By default all.
        scale: The scale whose keys mirror and plugins count.
        plugins: Plugin folders to use instead of those of the scale.

    Returns:
        The exit status is 1 when a dataset is left out.

    Raises:
        InputError: A named dataset cannot be obtained.

    Examples:
        hsac data mirror /shared/mirror
        hsac data mirror /shared/mirror cora cifar10
    """
    from hsac.data import catalogue
    from hsac.data.mirror import fill
    from hsac.study.graph import data_root

    inputs.use_plugins(plugins, scale)
    left_out = 0
    for name in names or catalogue.names():
        try:
            copied = fill(folder, name, data_root(), inputs.mirror_of(scale))
        except InputError as error:
            # Some datasets have to be obtained by hand. They stop nothing unless they are asked for
            # by name.
            if names:
                raise
            left_out += 1
            print(f"{name}: left out: {error}")
            continue
        what = "made without a mirror" if copied is None else f"{copied} files copied"
        print(f"{name}: {what}")
    return int(left_out > 0)
