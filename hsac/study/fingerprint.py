"""Fingerprints of the code behind a stage: what it imports from hsac and from the plugin folders in
use, without comments, formatting or docstrings.
"""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from hsac import parts
from hsac.errors import InputError
from hsac.files import digest, file_sha256
from hsac.study import resolve
from hsac.study.cell import Cell, Configuration
from hsac.study.models import Study

ROOT = Path(__file__).parents[1]


def _plugin(module: str) -> parts.Root | None:
    """The plugin folder that a module is of."""
    return next(
        (root for root in parts.roots()[1:] if root.module == module.partition(".")[0]), None
    )


def _path(module: str) -> Path | None:
    plugin = _plugin(module)
    base = (plugin.path if plugin else ROOT).joinpath(*module.split(".")[1:])
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """Digest of a module's meaning, and the modules that it imports from hsac and from its own
    plugin folder.
    """
    path = _path(module)
    if path is None:
        return "", ()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from None
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            within = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*within, *([node.module] if node.module else [])])
            imported += [source, *(f"{source}.{alias.name}" for alias in node.names)]
        body = getattr(node, "body", None)
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if (
            documented
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            node.body = body[1:]  # type: ignore[attr-defined]
    # the package itself only hands on the library's names, on demand: nothing depends on it
    trees = ("hsac.", f"{package[0]}.")
    own = tuple(sorted({m for m in imported if m.startswith(trees) and _path(m)}))
    return digest(ast.dump(tree)), own


def _closure(modules: Iterable[str]) -> dict[str, str]:
    """The modules and all they import, directly or not, each with the digest of its meaning."""
    seen: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen[module], imported = _read(module)
            waiting += imported
    return seen


def of_modules(modules: Iterable[str]) -> str:
    """Fingerprint of the modules and all they import from hsac and from plugin folders, directly or
    not; where a plugin folder lies does not count.
    """
    seen = _closure(modules)
    plugins = sorted(
        [module.partition(".")[2], found] for module, found in seen.items() if _plugin(module)
    )
    package = {module: found for module, found in seen.items() if not _plugin(module)}
    return digest({**package, **({"plugins": plugins} if plugins else {})})


def of_variant(recipe: dict[str, Any]) -> str:
    """Fingerprint of what builds a variant: its recipe and, under label noise, the kind."""
    modules = [f"hsac.data.variants.{recipe['recipe']}"]
    if recipe["recipe"] == "label_noise":
        modules.append(parts.module(parts.FAMILIES["noise kind"], recipe["kind"]))
    return of_modules(modules)


def _modules(config: Configuration) -> list[str]:
    """The modules that train a cell start at.

    They are the training itself, model and head, rules, loss and solver, and its dataset and label
    noise where these are plugins.
    """
    rule, weights, head = config.curvature_rule, config.weight_rule, config.model.head
    solver = (rule.parameters.get("solver") or {}).get("name", "neumann")
    solves = "solver" in parts.parameters("curvature rule", rule.name)
    chosen = [
        ("model", config.model.name),
        ("head", head.name if head else "poincare_mlr"),
        ("weight rule", weights.name),
        ("weight rule", weights.parameters.get("base", "sgd")),
        ("curvature rule", rule.name),
        ("loss", config.loss.name),
    ]
    if solves and solver != "none":
        chosen.append(("solver", solver))
    places = [(parts.FAMILIES[family], name) for family, name in chosen]
    # The variant hash also changes with the data, but only after the data has been rebuilt.
    kind = config.variant.parameters.get("kind")
    data = [("data.sources", config.dataset)]
    if kind is not None:
        data.append((parts.FAMILIES["noise kind"], kind))
    places += [place for place in data if parts.from_plugin(*place)]
    return ["hsac.train.bundle", *(parts.module(folder, name) for folder, name in places)]


def of_training(config: Configuration) -> str:
    """Compute the fingerprint of what trains a cell.

    Args:
        config: The cell's configuration.

    Returns:
        The fingerprint, 16 hexadecimal digits.
    """
    return of_modules(_modules(config))


def of_trainings(study: Study, cell: Cell) -> str:
    """Return the fingerprint of what trains a cell, or the trials of its search.

    Args:
        study: the study.
        cell: one of its cells.
    """
    trained = resolve.trials(study, cell) or [cell]
    codes = {of_training(one.config) for one in trained}
    return codes.pop() if len(codes) == 1 else digest(sorted(codes))


def of_data(dataset: str) -> str:
    """Fingerprint of what puts a dataset into the data folder, its plugin included."""
    own = [("data.sources", dataset)]
    return of_modules(
        ["hsac.data.store", *(parts.module(*place) for place in own if parts.from_plugin(*place))]
    )


def of_plugins(config: Configuration) -> dict[str, str]:
    """The plugin files that train a cell, by their paths below the folders that the configuration
    gives: SHA-256.
    """
    found = {module: _path(module) for module in _closure(_modules(config)) if _plugin(module)}
    return {path.as_posix(): file_sha256(path) for path in sorted(filter(None, found.values()))}
