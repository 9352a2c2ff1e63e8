"""Read a study: the default scale's file, a scale's over it, the command line over both."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hsac import documents, parts, plugins
from hsac.errors import InputError
from hsac.study import checks, plain
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
    "frozen",
    "whole",
    "workstation",
    "paper",
)
FOLDER = Path("config")
COMMAND_LINE = "the command line"
# Keys of the default scale that no other scale inherits: a study that costs more trainings, or that
# a scale is about, is asked for by name.
NOT_INHERITED = ("frozen",)
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
        InputError: when there is no such file, or not even the default scale's.
    """
    default = folder / "config.yaml"
    if not default.is_file():
        allowed = "allowed is a folder with the project's files, such as a clone of hsac"
        where = f"missing in {Path.cwd()}, so this is no project folder"
        raise InputError(f"{default}: {where}; {allowed}")
    # The name is also that of a folder below results/, in paths that Snakemake reads.
    if not scale or scale[0] == "." or any(c in "/{}" or not c.isprintable() for c in scale):
        allowed = f"allowed is the name of a file in {folder}/ without .yaml"
        raise InputError(f"scale: found {scale!r}; {allowed}")
    path = default if scale == "default" else folder / f"{scale}.yaml"
    # Unlike Path.is_file it also takes a name that no file system takes.
    if not os.path.isfile(path):
        # The folder also holds claims, published numbers and files of the user's.
        found = {p.stem for p in folder.glob("*.yaml")} & set(SCALES) | {"default"}
        near = parts.nearest(scale, found)
        raise InputError(f"scale: found {scale!r} but there is no {path}; {near}")
    return path


def load(scale: str, override: Mapping[str, Any] | None = None, folder: Path = FOLDER) -> Study:
    """Load the study of a scale.

    Each top-level key of the default scale is replaced whole by the scale's, then by `override`'s.
    Nothing is merged below the top level, so no entry of a default grid survives unseen. What
    `NOT_INHERITED` names is the default scale's own.
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
    content = documents.read_json(path)
    _refuse([f"{path}: {line}" for line in plain.problems(content)])
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
        read = documents.parse_yaml(value, COMMAND_LINE)
    except InputError:
        return value
    plain = isinstance(read, int | float) and not isinstance(read, bool)
    return read if plain or value in ("null", "true", "false") else value


def from_command_line(config: Mapping[str, Any], words: Iterable[str] = ()) -> dict[str, Any]:
    """Read what Snakemake's --config says as a configuration's file would be read.

    Snakemake itself takes `scale=007` for 7, the last of a key that is given twice, and leaves
    numbers inside a list text.

    Args:
        config: what Snakemake makes of --config and of the files that --configfile names.
        words: what follows --config on the command line, each `key=value`.

    Returns:
        Value by key. `scale` is always a text.

    Raises:
        InputError: A key is given twice, or its value is one that `documents` refuses.
    """
    texts: dict[str, str] = {}
    for word in words:
        key, _, text = word.partition("=")
        if key in texts:
            raise InputError(f"{COMMAND_LINE}: {key}: found it twice; allowed is once")
        texts[key] = text
    found = retyped({key: value for key, value in config.items() if key not in texts})
    found |= {key: _typed(text, key) for key, text in texts.items() if key != "scale"}
    scale = texts.get("scale", config.get("scale", "default"))
    return found | {"scale": "" if scale is None else str(scale)}


def _typed(text: str, key: str) -> Any:
    """Return what a text of the command line stands for; what is no YAML is a text."""
    if text in ("yes", "no", "on", "off"):  # words here, which only a file has to tell apart
        return text
    try:
        return documents.parse_yaml(text, f"{COMMAND_LINE}: {key}")
    except documents.NotYaml:
        return text


def _top_level(key: str, layers: list[Layer]) -> Any:
    _refuse([line for layer in layers for line in _problems(layer)])
    return next((layer.keys[key] for layer in reversed(layers) if key in layer.keys), None)


def _layers(scale: str, override: Mapping[str, Any] | None, folder: Path) -> list[Layer]:
    """Return where the keys come from, the later over the earlier."""
    # The default scale is one layer, not two.
    paths = dict.fromkeys([scale_file("default", folder), scale_file(scale, folder)])
    files = [Layer(str(path), _read(path)) for path in paths]
    if len(files) > 1:
        inherited = {k: v for k, v in files[0].keys.items() if k not in NOT_INHERITED}
        files[0] = Layer(files[0].source, inherited)
    return [*files, Layer(COMMAND_LINE, dict(override or {}))]


def _read(path: Path) -> dict[str, Any]:
    value = documents.read_yaml(path)
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise InputError(f"{path}: found {found}, allowed is a mapping of keys")
    return value


def _problems(layer: Layer) -> Iterator[str]:
    """Yield the problems of the keys that a layer gives; it need not give all."""
    if found := [f"{layer.source}: {line}" for line in plain.problems(layer.keys)]:
        yield from found
        return
    try:
        Keys.model_validate(layer.keys)
    except ValidationError as error:
        for place, line in problems(error, Keys):
            if len(place) > 1 or place[0] in layer.keys:
                yield f"{layer.source}: {line}"


def _refuse(found: list[str]) -> None:
    if found:
        raise InputError("\n".join(dict.fromkeys(found)))
