"""Fingerprints of the code behind a stage: what it imports from hsac, without comments, formatting or docstrings."""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from hsac.files import digest
from hsac.registry import FAMILIES

ROOT = Path(__file__).parent


def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split(".")[1:])
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """Digest of a module's meaning, and the hsac modules it imports."""
    path = _path(module)
    if path is None:
        return "", ()
    tree = ast.parse(path.read_text())
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        body = getattr(node, "body", None)
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            node.body = body[1:]  # type: ignore[attr-defined]
    # the package itself only hands on the library's names, on demand: nothing depends on it
    own = tuple(sorted({m for m in imported if m.startswith("hsac.") and _path(m)}))
    return digest(ast.dump(tree)), own


def of_modules(modules: Iterable[str]) -> str:
    """Fingerprint of the modules and all they import from hsac, directly or not."""
    seen: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen[module], imported = _read(module)
            waiting += imported
    return digest(seen)


def of_variant(recipe: dict[str, Any]) -> str:
    """Fingerprint of what builds a variant: its recipe and, under label noise, the kind."""
    modules = [f"hsac.data.variants.{recipe['recipe']}"]
    if recipe["recipe"] == "label_noise":
        modules.append(f"hsac.{FAMILIES['noise kind']}.{recipe['kind']}")
    return of_modules(modules)


def of_training(config: dict[str, Any]) -> str:
    """Fingerprint of what trains a cell: the loop, its model, its rules and solver."""
    solver = (config["rule"]["parameters"].get("solver") or {}).get("name", "neumann")
    parts = [
        ("model", config["model"]["name"]),
        ("head", (config["model"].get("head") or {}).get("rule", "poincare_mlr")),
        ("weight rule", config["weights"]["rule"]),
        ("weight rule", config["weights"]["parameters"].get("base", "sgd")),
        ("curvature rule", config["rule"]["rule"]),
        *([("solver", solver)] if config["rule"]["rule"] == "hsac" and solver != "none" else []),
    ]
    return of_modules(["hsac.train.run", *(f"hsac.{FAMILIES[family]}.{name}" for family, name in parts)])
