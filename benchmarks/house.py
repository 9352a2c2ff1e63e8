"""Count what makes the code easy or hard to live in: `python -m benchmarks.house [FOLDER]`.

Reads the source tree of this repository, or of another state of it in FOLDER, and prints one table.
Nothing is run but the tree's own fingerprint and import-linter. `--write before` or `--write after`
puts the numbers into the column of that name in `house.csv` beside this file.
"""

import argparse
import ast
import csv
import io
import json
import os
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE / "house.csv"
COLUMNS = ("before", "after")

# Parts that train a plain cell: sgd+hsac on an mlp, by their files. Its fingerprint starts at these
# and at the modules that `fingerprint.py` names.
PLAIN_CELL = (
    "hsac.models.mlp",
    "hsac.models.heads.poincare_mlr",
    "hsac.rules.weights.sgd",
    "hsac.rules.curvature.hsac",
    "hsac.losses.cross_entropy",
    "hsac.hypergradient.solvers.neumann",
)
# Functions that list cells of a study or group seeds into bundles. Whoever calls one enumerates
# the work. Methods of `study.graph.Graph` are the list itself, so calling these is looping over it.
NAMES = ("trained_cells", "cell_seeds", "blocks", "bundles", "point_bundles", "indexes")
OWNERS = ("", "config.", "configuration.", "layout.")  # how such a call begins
ENUMERATORS = {f"{owner}{name}" for owner in OWNERS for name in NAMES}
ENUMERATORS |= {f"resolve.{name}" for name in ("cells", "trained", "seeds")}
# Where these functions are defined: in two modules before the redesign, in one after it.
DEFINED = ("hsac.config", "hsac.layout")
LIST = "hsac.study.graph"
# A metric of the tables, followed through the files that must name it.
METRIC = re.compile(r"test_ece|calibration_error")
SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
LONGEST_NAME = 6


@dataclass(frozen=True)
class Module:
    """One Python file of a source tree.

    Attributes:
        name: dotted name, that of the folder for an `__init__.py`.
        path: the file.
    """

    name: str
    path: Path

    @cached_property
    def text(self) -> str:
        """The source."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text)

    @property
    def package(self) -> list[str]:
        """The names that a relative import starts from."""
        names = self.name.split(".")
        return names if self.path.name == "__init__.py" else names[:-1]


@dataclass(frozen=True)
class Tree:
    """A state of the repository, read but not imported.

    Attributes:
        root: the folder that holds `hsac/`, `tests/` and `workflow/`.
    """

    root: Path

    @cached_property
    def modules(self) -> dict[str, Module]:
        """The package's modules by name."""
        found = [_module(path, self.root) for path in sorted(self.root.glob("hsac/**/*.py"))]
        return {module.name: module for module in found}

    def imports(self, module: Module) -> set[str]:
        """Return the modules of hsac that one imports, at its top or inside of a function.

        Args:
            module: a module of this tree.

        Returns:
            Names of modules. Imports for type checkers alone do not count, nor does the package
            `hsac` itself: it hands on the library's names on demand.
        """
        found: set[str] = set()
        for node in _executed(module.tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                source = _source(node, module.package)
                named = {f"{source}.{alias.name}" for alias in node.names}
                submodules = named & self.modules.keys()
                # `from package import module` needs the module, and the package only as its folder
                found |= submodules if len(submodules) == len(named) else submodules | {source}
        return (found & self.modules.keys()) - {"hsac", module.name}


def _module(path: Path, root: Path) -> Module:
    names = path.relative_to(root).with_suffix("").parts
    return Module(".".join(names[:-1] if names[-1] == "__init__" else names), path)


def _source(node: ast.ImportFrom, package: list[str]) -> str:
    """Return the dotted name that a `from … import` takes names of."""
    within = package[: len(package) - node.level + 1] if node.level else []
    return ".".join([*within, *([node.module] if node.module else [])])


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree but what stands below `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from _executed(node)


def untyped(tree: Tree) -> dict[str, int]:
    """Count `dict[str, Any]` in the package.

    Args:
        tree: a source tree.

    Returns:
        Occurrences, and lines that have one or more.
    """
    lines = [line for module in tree.modules.values() for line in module.text.splitlines()]
    counts = [line.count("dict[str, Any]") for line in lines]
    return {
        "dict[str, Any] in hsac/": sum(counts),
        "lines with dict[str, Any]": sum(count > 0 for count in counts),
    }


def fingerprint(tree: Tree) -> dict[str, int]:
    """Measure what the training fingerprint reaches.

    Args:
        tree: a source tree. Its own `fingerprint` module follows the imports, in another process.

    Returns:
        Modules that count for every cell, lines of their files, statements in them, and modules
        that count for a plain cell, its parts included.
    """
    names = ("hsac.study.fingerprint", "hsac.fingerprint")
    own = next(name for name in names if name in tree.modules)
    strings = [node for node in ast.walk(tree.modules[own].tree) if isinstance(node, ast.Constant)]
    named = {str(node.value) for node in strings} & tree.modules.keys()
    starts = sorted(name for name in named if name.startswith("hsac.train."))
    core = _closure(tree, own, starts)
    return {
        "modules in every training fingerprint": len(core),
        "lines of these modules": sum(len(tree.modules[name].text.splitlines()) for name in core),
        # lines also grow with docstrings and comments, statements do not
        "statements in these modules": sum(_statements(tree.modules[name]) for name in core),
        "modules in the fingerprint of sgd+hsac on mlp": len(
            _closure(tree, own, [*starts, *PLAIN_CELL])
        ),
    }


def _statements(module: Module) -> int:
    """Return the number of statements, docstrings left out."""
    found = 0
    for node in ast.walk(module.tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        found += isinstance(node, ast.stmt) and not is_text
    return found


def _closure(tree: Tree, own: str, starts: Iterable[str]) -> list[str]:
    """Return what the tree's module `own` finds that modules import, directly or not."""
    code = f"import json, {own} as own; print(json.dumps(list(own._closure({[*starts]}))))"
    environment = os.environ | {"PYTHONPATH": str(tree.root)}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=tree.root, env=environment, capture_output=True, check=True)
    return list(json.loads(ran.stdout))


def enumerating(tree: Tree) -> list[str]:
    """List the places that enumerate the work of a study.

    Args:
        tree: a source tree.

    Returns:
        Files of the package and the workflow that call a function of `ENUMERATORS`, except the
        modules of `DEFINED`, which offered these functions before `study.graph` did. `study.graph`
        counts.
    """
    called = re.compile(rf"(?<!def )(?<![\w.])({'|'.join(ENUMERATORS)})\(")
    found = [name for name in tree.modules if name == LIST]
    for module in tree.modules.values():
        if module.name not in (*DEFINED, LIST) and _calls(module) & ENUMERATORS:
            found.append(module.name)
    for path in sorted(tree.root.glob("workflow/**/*.smk")):
        # a Snakefile is no Python, so its calls are found by their spelling
        if called.search(path.read_text(encoding="utf-8")):
            found.append(path.relative_to(tree.root).as_posix())
    return found


def _calls(module: Module) -> set[str]:
    """Return the functions and methods that a module calls, as it writes them."""
    calls = (node.func for node in ast.walk(module.tree) if isinstance(node, ast.Call))
    return {ast.unparse(function) for function in calls}


def naming_a_metric(tree: Tree) -> list[str]:
    """List the files in which a known metric, the calibration error, is written.

    Args:
        tree: a source tree.

    Returns:
        Files of the package, templates and schemas included.
    """
    paths = [path for path in sorted(tree.root.glob("hsac/**/*")) if path.suffix in SOURCES]
    return [path.relative_to(tree.root).as_posix() for path in paths if _names_metric(path)]


SOURCES = (".py", ".j2", ".json", ".yaml")


def _names_metric(path: Path) -> bool:
    return METRIC.search(path.read_text(encoding="utf-8")) is not None


def circles(tree: Tree) -> list[list[str]]:
    """Find groups of modules that import each other, directly or not.

    Args:
        tree: a source tree.

    Returns:
        The strongly connected components of more than one module, imports inside of functions
        included.
    """
    graph = {name: tree.imports(module) for name, module in tree.modules.items()}
    reached = {name: _reached(graph, name) for name in graph}
    groups = set()
    for name in graph:
        group = frozenset(other for other in reached[name] if name in reached[other])
        if len(group) > 1:
            groups.add(group)
    return sorted(sorted(group) for group in groups)


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return all that can be reached from a node, the node itself only by a circle."""
    seen: set[str] = set()
    waiting = [*graph[start]]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def contracts(tree: Tree) -> str:
    """Run import-linter.

    Args:
        tree: a source tree.

    Returns:
        "kept of all" contracts, "none" where the tree's pyproject.toml has none.
    """
    if "[tool.importlinter]" not in (tree.root / "pyproject.toml").read_text(encoding="utf-8"):
        return "none"
    linter = Path(sys.executable).with_name("lint-imports")
    environment = os.environ | {"PYTHONPATH": str(tree.root)}
    command = [str(linter), "--no-cache"]
    ran = subprocess.run(command, cwd=tree.root, env=environment, capture_output=True, text=True)
    said = re.search(r"Contracts: (\d+) kept, (\d+) broken", ran.stdout)
    if said is None:
        raise SystemExit(f"lint-imports: {ran.stdout}{ran.stderr}")
    kept, broken = map(int, said.groups())
    return f"{kept} of {kept + broken}"


def described(tree: Tree) -> str:
    """Compute the share of public functions whose docstring says what each parameter is.

    Args:
        tree: a source tree. Functions count that have parameters and whose name, class and module
            have no leading underscore.

    Returns:
        Per cent, and the numbers behind it.
    """
    public = [function for module in tree.modules.values() for function in _public(module)]
    with_parameters = [function for function in public if _parameters(function)]
    good = sum(_describes(function) for function in with_parameters)
    return f"{good / len(with_parameters):.0%} ({good} of {len(with_parameters)})"


def _public(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield a module's public functions and public classes' public methods."""
    if any(part.startswith("_") for part in module.name.split(".")):
        return
    waiting: list[ast.AST] = [module.tree]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if not isinstance(node, SCOPES) or node.name.startswith("_"):
                continue
            if isinstance(node, ast.ClassDef):
                waiting.append(node)
            else:
                yield node


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the names of a function's parameters but `self` and `cls`."""
    given = function.args
    listed = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [one.arg for one in listed if one is not None and one.arg not in ("self", "cls")]


def _describes(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a docstring has a section Args that names each parameter."""
    _, args, section = (ast.get_docstring(function) or "").partition("Args:\n")
    names = re.findall(r"^ +\*{0,2}(\w+)[^:\n]*:", section, re.MULTILINE)
    return bool(args) and set(_parameters(function)) <= set(names)


def comments(tree: Tree) -> str:
    """Compute the share of lines that are a comment and nothing else.

    Args:
        tree: a source tree.

    Returns:
        Per cent of the package's lines that are not empty.
    """
    found = full = 0
    for module in tree.modules.values():
        tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
        noted = [token for token in tokens if token.type == tokenize.COMMENT]
        found += sum(token.line.lstrip().startswith("#") for token in noted)
        full += sum(bool(line.strip()) for line in module.text.splitlines())
    return f"{found / full:.1%}"


def semicolons(tree: Tree) -> int:
    """Count the semicolons of the docstrings.

    Args:
        tree: a source tree.

    Returns:
        Semicolons in 10,000 words.
    """
    text = " ".join(_docstrings(tree.modules.values()))
    return round(text.count(";") / len(text.split()) * 10_000)


def _docstrings(modules: Iterable[Module]) -> Iterator[str]:
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, SCOPES | ast.Module):
                yield ast.get_docstring(node) or ""


def long_test_names(tree: Tree) -> int:
    """Count the tests whose name has more than six words after `test_`.

    Args:
        tree: a source tree.

    Returns:
        Test functions of `tests/`.
    """
    names: list[str] = []
    for path in tree.root.glob("tests/**/test_*.py"):
        functions = (
            node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if _is_test(node)
        )
        names += [function.name for function in functions]  # type: ignore[attr-defined]
    return sum(len(name.split("_")) - 1 > LONGEST_NAME for name in names)


def _is_test(node: ast.AST) -> bool:
    return isinstance(node, FUNCTIONS) and node.name.startswith("test_")


def measures(tree: Tree) -> dict[str, int | str]:
    """Measure a source tree.

    Args:
        tree: a source tree.

    Returns:
        Values by what is measured, in the order of the table.
    """
    return {
        **untyped(tree),
        **fingerprint(tree),
        "places that enumerate the work": len(enumerating(tree)),
        "files that name a metric": len(naming_a_metric(tree)),
        "circles of imports": len(circles(tree)),
        "import-linter contracts kept": contracts(tree),
        "public functions with every parameter in Args": described(tree),
        "comment lines": comments(tree),
        "semicolons in 10,000 words of docstring": semicolons(tree),
        f"test names of more than {LONGEST_NAME} words": long_test_names(tree),
    }


def write(column: str, found: dict[str, int | str]) -> None:
    """Write a column of `house.csv` and keep the other.

    Args:
        column: before or after.
        found: values by what is measured.
    """
    rows: dict[str, dict[str, str]] = {}
    if TABLE.exists():
        with open(TABLE, newline="", encoding="utf-8") as stream:
            rows = {row["measure"]: row for row in csv.DictReader(stream)}
    with open(TABLE, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ("measure", *COLUMNS), lineterminator="\n")
        writer.writeheader()
        for measure, value in found.items():
            writer.writerow({**rows.get(measure, {}), "measure": measure, column: value})


def main() -> None:
    """Print the table and the names behind its short counts."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.house", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("folder", nargs="?", type=Path, default=HERE.parent, metavar="FOLDER")
    parser.add_argument("--write", choices=COLUMNS, help="column of house.csv to write")
    given = parser.parse_args()
    tree = Tree(given.folder.resolve())
    found = measures(tree)
    print("| measure | value |\n|---|---|")
    for measure, value in found.items():
        print(f"| {measure} | {value} |")
    print("\nPlaces that enumerate the work:", ", ".join(enumerating(tree)))
    print("Files that name a metric:", ", ".join(naming_a_metric(tree)))
    for circle in circles(tree):
        print("Circle of imports:", ", ".join(circle))
    if given.write:
        write(given.write, found)


if __name__ == "__main__":
    main()
