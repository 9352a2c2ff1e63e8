"""Read a study: the default scale's file, a scale's over it, the command line over both."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hsac import parts, plugins
from hsac.errors import InputError
from hsac.files import read_json
from hsac.study import checks
from hsac.study.fields import problems
from hsac.study.models import Keys, Study

SCALES = (
    "smoke",
    "default",
    "verdict",
    "robustness",
    "confirmation",
    "breadth",
    "bias",
    "guard",
    "ablation",
    "variants",
    "methods",
    "gcn",
    "workstation",
    "paper",
)
FOLDER = Path("config")
COMMAND_LINE = "the command line"
UNRESOLVED = "mirror"  # where data is read from is no part of what is computed


@dataclass(frozen=True)
class Layer:
    """Keys of a configuration and where they come from, a file or the command line."""

    source: str
    keys: dict[str, Any]


def scale_file(scale: str, folder: Path = FOLDER) -> Path:
    """Return the file of a scale.

    Args:
        scale: its name; the scale `default` is `config.yaml`.
        folder: the folder of the configuration.

    Raises:
        InputError: when there is no such file.
    """
    path = folder / ("config.yaml" if scale == "default" else f"{scale}.yaml")
    if not path.is_file():
        # The folder also holds claims, published numbers and files of the user's.
        found = {p.stem for p in folder.glob("*.yaml")} & set(SCALES) | {"default"}
        near = parts.nearest(scale, found)
        raise InputError(f"scale: found {scale!r} but there is no {path}; {near}")
    return path


def load(scale: str, override: Mapping[str, Any] | None = None, folder: Path = FOLDER) -> Study:
    """Load the study of a scale.

    Each top-level key of the default scale is replaced whole by the scale's, then by `override`'s.
    Nothing is merged below the top level, so no entry of a default grid survives unseen.
    Use a study that names plugins inside `with plugins.using(...)`.

    Args:
        scale: the name of the scale.
        override: keys from the command line.
        folder: the folder of the configuration.

    Raises:
        InputError: a line for each problem, which names the file, the key, what was found and what
            is allowed.
    """
    layers = _layers(scale, override, folder)
    keys: dict[str, Any] = {}
    for layer in layers:
        # Keys replace each other whole: a merged grid would keep entries that nobody asked for.
        keys |= layer.keys
    found = [line for layer in layers for line in _problems(layer)]
    for key, field in Keys.model_fields.items():
        if field.is_required() and key not in keys:
            found.append(f"{layers[0].source}: {key}: found nothing; this key is required")
    _refuse(found)
    keys.pop(UNRESOLVED, None)
    study = Study.model_validate(keys | {"scale": scale})
    sources = {key: layer.source for layer in layers for key in layer.keys}
    # Plugins are in use here, as the checks look up their parts, too.
    with plugins.using(study.plugins, f"{sources.get('plugins', layers[0].source)}: plugins"):
        _refuse(checks.problems(study, sources, [layer.keys for layer in layers]))
    return study


def read(path: Path) -> Study:
    """Read a resolved study, as `hsac job settings` writes it.

    Args:
        path: the JSON file.

    Raises:
        InputError: names the file, and a line for each problem in it.
    """
    content = read_json(path)
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise InputError(
            "\n".join(f"{path}: {line}" for _, line in problems(error, Study))
        ) from None


def mirror(
    scale: str, override: Mapping[str, Any] | None = None, folder: Path = FOLDER
) -> str | None:
    """Return the `mirror` key of a scale.

    `load` leaves it out of the study, so changing it computes nothing again.

    Args:
        scale: the name of the scale.
        override: keys from the command line.
        folder: the folder of the configuration.

    Raises:
        InputError: as `load` does.
    """
    found: str | None = _top_level(UNRESOLVED, _layers(scale, override, folder))
    return found


def plugin_folders(scale: str, folder: Path = FOLDER) -> list[str]:
    """Return the `plugins` key of a scale.

    Args:
        scale: the name of the scale.
        folder: the folder of the configuration.

    Raises:
        InputError: as `load` does.
    """
    return list(_top_level("plugins", _layers(scale, None, folder)) or [])


def retyped(value: Any) -> Any:
    """Return the value with texts that read as numbers or null made these.

    Inside a list, Snakemake's --config leaves them text.

    Args:
        value: what `--config` gave.
    """
    if isinstance(value, dict):
        return {key: retyped(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [retyped(inner) for inner in value]
    if not isinstance(value, str):
        return value
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    # YAML also reads words like `yes` and `on` as true, which here stay words.
    plain = isinstance(read, int | float) and not isinstance(read, bool)
    return read if plain or value in ("null", "true", "false") else value


def _top_level(key: str, layers: list[Layer]) -> Any:
    _refuse([line for layer in layers for line in _problems(layer)])
    return next((layer.keys[key] for layer in reversed(layers) if key in layer.keys), None)


def _layers(scale: str, override: Mapping[str, Any] | None, folder: Path) -> list[Layer]:
    """Return where the keys come from, the later over the earlier."""
    # The default scale is one layer, not two.
    paths = dict.fromkeys([scale_file("default", folder), scale_file(scale, folder)])
    files = [Layer(str(path), _read(path)) for path in paths]
    return [*files, Layer(COMMAND_LINE, dict(override or {}))]


def _read(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        found = type(value).__name__
        raise InputError(f"{path}: found {found}, allowed is a mapping of keys")
    return value


def _problems(layer: Layer) -> Iterator[str]:
    """Yield the problems of the keys that a layer gives; it need not give all."""
    try:
        Keys.model_validate(layer.keys)
    except ValidationError as error:
        for place, line in problems(error, Keys):
            if len(place) > 1 or place[0] in layer.keys:
                yield f"{layer.source}: {line}"


def _refuse(found: list[str]) -> None:
    if found:
        raise InputError("\n".join(dict.fromkeys(found)))
