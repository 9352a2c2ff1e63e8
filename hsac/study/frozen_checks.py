"""What the key `frozen` must fulfil beyond the form of its keys: that its parts fit each other.

Recipes of features are files of `hsac/frozen/features`. They lie above this floor, so their
parameters are read from the syntax tree, as those of other parts are.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hsac import parts
from hsac.data import catalogue, variants
from hsac.errors import InputError
from hsac.study import resolve
from hsac.study.frozen import BACKBONE, DRAWN_BY, Features, Frozen, Problem
from hsac.study.models import Study

RECIPES = parts.PACKAGE.path / "frozen" / "features"
GRAPHS = ("propagation",)  # recipes of features of graphs; the others take images
PLAIN = ("plain", "episodes")  # recipes of the variants that a backbone may be trained on
# Parameters of a problem's recipe that the study fills in or has no use for, and why.
FILLED = {"draw": "the seed is the draw", "meta": "heads have no meta set"}
NEEDS_IMAGES = ("human", "instance")  # noise kinds that look at more than the labels


def recipes() -> tuple[str, ...]:
    """Return the names of the recipes of features, sorted."""
    # Files whose names begin with an underscore are what the recipes share.
    return tuple(sorted(path.stem for path in RECIPES.glob("[!_]*.py")))


def parameters(recipe: str) -> dict[str, bool]:
    """Return the parameters of a recipe of features, and whether they must be given.

    Args:
        recipe: its name, one of `recipes`.
    """
    return _parameters(RECIPES / f"{recipe}.py")


@cache
def _parameters(path: Path) -> dict[str, bool]:
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            given = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            return {argument.arg: default is None for argument, default in given}
    return {}


def problems(study: Study, source: str) -> Iterator[str]:
    """Yield a line for each thing that does not fit in the key `frozen`.

    Args:
        study: the study.
        source: the file that gives the key, or the command line.
    """
    if study.frozen is None:
        return
    low, high = study.frozen.curvatures.low, study.frozen.curvatures.high
    if low >= high:
        yield f"{source}: frozen.curvatures.high: found {high:g}; allowed is more than {low:g}"
    for name, features in study.frozen.features.items():
        try:
            _features(study, features, f"frozen.features.{name}")
        except InputError as error:
            yield f"{source}: {error}"
    for name, problem in study.frozen.problems.items():
        try:
            _problem(study, problem, f"frozen.problems.{name}")
        except InputError as error:
            yield f"{source}: {error}"
    try:
        _rules(study.frozen)
    except InputError as error:
        yield f"{source}: {error}"


def _rules(frozen: Frozen) -> None:
    """Check the problems that rules are followed on."""
    for name in frozen.rules.problems if frozen.rules else []:
        key = "frozen.rules.problems"
        if name not in frozen.problems:
            raise InputError(f"{key}: found {name!r}; {parts.nearest(name, frozen.problems)}")
        setting = frozen.problems[name].setting
        if setting == "few_shot":
            raise InputError(f"{key}: found {name!r}, of setting {setting}; allowed is another one")


def _features(study: Study, features: Features, key: str) -> None:
    """Check dataset, recipe and parameters of features."""
    dataset, recipe = features.dataset, features.recipe
    if dataset not in catalogue.names():
        raise InputError(
            f"{key}.dataset: found {dataset!r}; {parts.nearest(dataset, catalogue.names())}"
        )
    if recipe not in recipes():
        raise InputError(f"{key}.recipe: found {recipe!r}; {parts.nearest(recipe, recipes())}")
    kind, takes = catalogue.entry(dataset).kind, "graph" if recipe in GRAPHS else "images"
    if kind != takes:
        raise InputError(
            f"{key}.recipe: found {recipe!r}, which takes {takes}; {dataset} is of kind {kind}"
        )
    _check_parameters(features.parameters, parameters(recipe), recipe, key)
    if recipe == BACKBONE:
        _backbone(study, features, key)


def _check_parameters(
    given: Mapping[str, Any], known: Mapping[str, bool], recipe: str, key: str
) -> None:
    for name in given:
        if name not in known:
            allowed = f"recipe {recipe} {parts.nearest(name, known)}"
            raise InputError(f"{key}.{name}: found an unknown parameter; {allowed}")
    for name, needed in known.items():
        if needed and name not in given:
            raise InputError(f"{key}.{name}: found nothing; recipe {recipe} needs it")


def _backbone(study: Study, features: Features, key: str) -> None:
    """Check that a backbone is trained by an ordinary rule in flat space, on its dataset."""
    name, method = features.parameters["experiment"], features.parameters["method"]
    if name not in study.experiments:
        near = parts.nearest(name, study.experiments)
        raise InputError(f"{key}.experiment: found {name!r}; {near}")
    experiment = study.experiments[name]
    if experiment.dataset != features.dataset:
        raise InputError(
            f"{key}.experiment: found {name!r}, which is of {experiment.dataset}; allowed is one of"
            f" {features.dataset}"
        )
    recipe = experiment.variant.recipe
    if recipe not in PLAIN:
        raise InputError(
            f"{key}.experiment: found {name!r} of recipe {recipe!r}; allowed is one of recipe"
            f" {' or '.join(PLAIN)}"
        )
    if experiment.variant.parameters.get("split") is not None:
        raise InputError(
            f"{key}.experiment: found {name!r} with a class split of its own; allowed is one with"
            " the dataset's classes"
        )
    if method not in experiment.methods:
        raise InputError(
            f"{key}.method: found {method!r}; {parts.nearest(method, experiment.methods)}"
        )
    cell = resolve.cell(study, name, method)
    space = parts.constant("curvature rule", cell.config.curvature_rule.name, "geometry")
    if space != "euclidean" or cell.searched or cell.derived or not cell.trains_once:
        raise InputError(
            f"{key}.method: found {method!r}; allowed is a method in flat space that trains once"
            " and is not searched"
        )


def _problem(study: Study, problem: Problem, key: str) -> None:
    """Check features and recipe of a problem."""
    assert study.frozen is not None
    known = study.frozen.features
    if problem.features not in known:
        raise InputError(
            f"{key}.features: found {problem.features!r}; {parts.nearest(problem.features, known)}"
        )
    recipe, allowed = problem.variant.recipe, DRAWN_BY[problem.setting]
    if recipe != allowed:
        raise InputError(
            f"{key}.variant.recipe: found {recipe!r}; allowed with setting {problem.setting} is"
            f" {allowed}"
        )
    _few_shot(study, known[problem.features], problem, key)
    _drawn(problem, f"{key}.variant")


def _few_shot(study: Study, features: Features, problem: Problem, key: str) -> None:
    """Check that features of episodes are for few-shot problems, and no others."""
    if features.recipe in GRAPHS and problem.setting == "few_shot":
        raise InputError(f"{key}.setting: found 'few_shot'; the features are of a graph")
    if features.recipe != BACKBONE:
        return
    trained = study.experiments.get(features.parameters.get("experiment", ""))
    # Another fault of the experiment is told of the features.
    if trained and (trained.setting == "few_shot") != (problem.setting == "few_shot"):
        raise InputError(
            f"{key}.setting: found {problem.setting!r}; the backbone's setting is"
            f" {trained.setting}, and both or none must be few_shot"
        )


def _drawn(problem: Problem, key: str) -> None:
    """Check the recipe that draws a problem, and what the study fills in of it."""
    given = problem.variant.parameters
    filled = dict(FILLED)
    if problem.setting == "few_shot":
        filled["train"] = "heads are learned in each episode alone"
    for name, reason in filled.items():
        if name in given:
            raise InputError(f"{key}.{name}: found {given[name]!r}; allowed is none, as {reason}")
    kind = given.get("kind")
    if kind in NEEDS_IMAGES:
        raise InputError(f"{key}.kind: found {kind!r}; allowed is one that needs labels alone")
    if given.get("split") is not None:
        raise InputError(
            f"{key}.split: found {given['split']!r}; allowed is none, as features keep the"
            " dataset's classes"
        )
    variants.check_recipe(recipe_of(problem), key)


def recipe_of(problem: Problem) -> dict[str, Any]:
    """Return the whole recipe of a problem but for its draw, which is the seed.

    Args:
        problem: the problem.

    Returns:
        The recipe's name under `recipe`, beside its parameters. Episodes need a training episode,
        which no head sees.
    """
    made = problem.variant.made_by()
    return made | {"train": 1} if problem.setting == "few_shot" else made
