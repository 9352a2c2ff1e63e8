"""Fingerprints of the code behind a job.

A fingerprint is a digest of the modules that a job starts at and of all they import from hsac and
from the plugin folders in use, without comments, formatting and docstrings. A training starts at
`hsac.train.bundle`, which reads no file, and the clock only for the time limit. So a changed
download or GPU lease makes no finished run stale, and a changed loss does. The import-linter
contract "Training only computes" and `tests/study/test_fingerprint.py` keep it so.
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
    """Return the plugin folder that a module lies in, None for a module of hsac."""
    name = module.partition(".")[0]
    return next((root for root in parts.roots()[1:] if root.module == name), None)


def _path(module: str) -> Path | None:
    plugin = _plugin(module)
    base = (plugin.path if plugin else ROOT).joinpath(*module.split(".")[1:])
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """Return a digest of a module's code, and its imports from hsac and its plugin folder."""
    path = _path(module)
    if path is None:
        return "", ()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from None
    imported: list[str] = []
    _strip_types(tree)
    # Imports inside functions count as well, as what they import computes all the same.
    for node in ast.walk(tree):
        imported += _imported(node, package)
        _strip(node)
    # `hsac` itself is left out: its __init__ only re-exports the library, lazily.
    trees = ("hsac.", f"{package[0]}.")
    own = tuple(sorted({m for m in imported if m.startswith(trees) and _path(m)}))
    return digest(ast.dump(tree)), own


def _strip_types(tree: ast.Module) -> None:
    """Remove the blocks under `if TYPE_CHECKING:`, which never run."""
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            kept += node.orelse
        else:
            kept.append(node)
    tree.body = kept


def _imported(node: ast.AST, package: list[str]) -> list[str]:
    """Return what a statement imports; a name may be a module, so it is listed as one too."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    within = package[: len(package) - node.level + 1] if node.level else []
    source = ".".join([*within, *([node.module] if node.module else [])])
    return [source, *(f"{source}.{alias.name}" for alias in node.names)]


def _strip(node: ast.AST) -> None:
    """Take a node's docstring away."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) or not node.body:
        return
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        node.body = node.body[1:]


def _closure(modules: Iterable[str]) -> dict[str, str]:
    """Return the digest of every module that these are or import, directly or not."""
    seen: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        # Modules may import each other in a circle.
        if module not in seen:
            seen[module], imported = _read(module)
            waiting += imported
    return seen


def of_modules(modules: Iterable[str]) -> str:
    """Compute the fingerprint of modules and all they import, directly or not.

    Where a plugin folder lies does not count.

    Args:
        modules: Names of modules of hsac or of plugin folders.

    Returns:
        The fingerprint.

    Raises:
        InputError: A module cannot be parsed.
    """
    seen = _closure(modules)
    # Without the folder's name, which depends on where the folder lies.
    plugins = sorted(
        [module.partition(".")[2], found] for module, found in seen.items() if _plugin(module)
    )
    package = {module: found for module, found in seen.items() if not _plugin(module)}
    return digest({**package, **({"plugins": plugins} if plugins else {})})


def of_variant(recipe: dict[str, Any]) -> str:
    """Compute the fingerprint of what builds a variant.

    Args:
        recipe: The recipe with its parameters. Under label noise the kind counts, too.

    Returns:
        The fingerprint.
    """
    modules = [f"hsac.data.variants.{recipe['recipe']}"]
    if recipe["recipe"] == "label_noise":
        modules.append(parts.module(parts.FAMILIES["noise kind"], recipe["kind"]))
    return of_modules(modules)


def _modules(config: Configuration) -> list[str]:
    """Return the modules that the training of a cell starts at.

    These are the core, model and head, rules, loss and solver, and dataset and label noise where
    they are plugins.
    """
    rule, weights, head = config.curvature_rule, config.weight_rule, config.model.head
    # Here and below, what a configuration leaves out is the default of the class.
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
    # Included for plugins: the variant hash would show the change only after the data are rebuilt.
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
        The fingerprint.
    """
    return of_modules(_modules(config))


def of_cell_and_trials(study: Study, cell: Cell) -> str:
    """Return the fingerprint of what trains a cell, or the trials of its search.

    Args:
        study: The study.
        cell: One of its cells.

    Returns:
        The fingerprint. Where the trials differ in theirs, a digest of all.
    """
    trained = resolve.trials(study, cell) or [cell]
    codes = {of_training(one.config) for one in trained}
    return codes.pop() if len(codes) == 1 else digest(sorted(codes))


def of_data(dataset: str) -> str:
    """Compute the fingerprint of what puts a dataset into the data folder.

    Args:
        dataset: The dataset's name. If it is a plugin's, that file counts, too.

    Returns:
        The fingerprint.
    """
    modules = ["hsac.data.store"]
    if parts.from_plugin("data.sources", dataset):
        modules.append(parts.module("data.sources", dataset))
    return of_modules(modules)


def of_plugins(config: Configuration) -> dict[str, str]:
    """Compute the digests of the plugin files that train a cell.

    Args:
        config: The cell's configuration.

    Returns:
        SHA-256 by path below the folders that the configuration gives.
    """
    found = {module: _path(module) for module in _closure(_modules(config)) if _plugin(module)}
    return {path.as_posix(): file_sha256(path) for path in sorted(filter(None, found.values()))}
