"""What a configuration must fulfil beyond the form of its keys: that its parts fit each other.

Each check raises an InputError for the first thing that it finds. `problems` runs all checks and
collects their lines. It keeps only the first problem of each method, so that one cause is not told
in several ways.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hsac import parts
from hsac.data import catalogue, variants
from hsac.errors import InputError
from hsac.study import frozen_checks, resolve, search_space
from hsac.study.cell import Cell
from hsac.study.method import Method
from hsac.study.models import GRAPH_RECIPES, KINDS, LOSS, RECIPES, Experiment, Spaces, Study


def problems(
    study: Study, sources: Mapping[str, str], layers: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Find what does not fit in a study whose keys have the right form.

    Args:
        study: the study.
        sources: top-level key -> the file that gives it, or the command line.
        layers: the keys of each file in order, then of the command line.

    Returns:
        A line for each problem: file, key, what was found and what is allowed.
    """
    found: list[str] = []

    def tried(check: Callable[..., None], *given: Any) -> bool:
        try:
            check(*given)
        except InputError as error:
            # Kept and not raised, since a user wants to see all problems at once.
            found.append(str(error))
            return False
        return True

    tried(_losses_and_heads, study, sources["rules"])
    for space in _given_spaces(study, sources, layers):
        tried(_space, study, *space)
    for name, experiment in study.experiments.items():
        key = f"{sources['experiments']}: experiments.{name}"
        good = tried(_distinct, experiment, key)
        for method in experiment.methods:
            # Not `and`, which would leave out the methods after the first fault.
            good &= tried(_method, study, name, method, sources)
        if good:  # a method that is misspelt may be the reference
            tried(_no_twins, study, name, key)
            tried(_reference, experiment, key)
            tried(_theory_of, study, name, sources)
    tried(_one_spelling, study, sources["experiments"])
    tried(_studies, study, sources.get("theory", ""))
    tried(_measured, study, sources, layers)
    found += frozen_checks.problems(study, sources.get("frozen", ""))
    # Methods share rules and losses, and with them their faults.
    return list(dict.fromkeys(found))


def _losses_and_heads(study: Study, source: str) -> None:
    """Check that no head has a loss's name: a method's name could not tell them apart."""
    for name in study.rules.of("losses"):
        if name in study.rules.of("heads"):
            raise InputError(
                f"{source}: rules.heads: found {name!r}, which is a loss; allowed is another name"
            )


def _distinct(experiment: Experiment, key: str) -> None:
    for place, method in enumerate(experiment.methods):
        if method in experiment.methods[:place]:
            raise InputError(f"{key}.methods: found {method!r} twice; allowed is once")


def _no_twins(study: Study, name: str, key: str) -> None:
    """Check that no two names are of one method: it would be trained and counted twice."""
    cells = [resolve.cell(study, name, method) for method in study.experiments[name].methods]
    if found := _twins(cells):
        raise InputError(f"{key}.methods: found {found}; allowed is one name of a method")


def _twins(cells: Sequence[Cell]) -> str:
    """Name the first two cells of one configuration, "" where there are none."""
    dumps = [cell.config.dump() for cell in cells]
    for place, dump in enumerate(dumps):
        # Not the hash, which tells 1 from 1.0.
        if dump in dumps[:place]:
            first, second = cells[dumps.index(dump)].method, cells[place].method
            return f"{first!r} twice" if first == second else f"{first!r} and {second!r}, the same"
    return ""


def _one_spelling(study: Study, source: str) -> None:
    """Check that a method has one name in all experiments, as tables and claims go by names."""
    seen: dict[tuple[Any, ...], tuple[str, str]] = {}
    for name, experiment in study.experiments.items():
        for text in experiment.methods:
            method = Method.of(text)
            # Loss and head may stand in either order, and the default loss may be left out.
            named = (method.weight, method.curvature, method.start)
            same = (*named, frozenset(method.further) - {LOSS})
            first, where = seen.setdefault(same, (text, name))
            # Two names in one experiment are twins, which `_no_twins` finds.
            if first != text and where != name:
                found = f"found {text!r}, which is {first!r} in {where}"
                raise InputError(
                    f"{source}: experiments.{name}.methods: {found}; allowed is one name"
                )


def _reference(experiment: Experiment, key: str) -> None:
    found, methods = experiment.reference, experiment.methods
    if found not in methods:
        raise InputError(f"{key}.reference: found {found!r}; {parts.nearest(found, methods)}")


def _method(study: Study, name: str, method: str, sources: Mapping[str, str]) -> None:
    source = sources["experiments"]
    try:
        cell = resolve.cell(study, name, method)
        _cell(cell, f"experiments.{name}")
        # After the check, as the candidates stand in the parameters of the rule.
        candidates = resolve.candidates(study, cell)
        for candidate in candidates:  # they need not be among the methods
            _cell(candidate, f"experiments.{name}")
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    if cell.derived and (not candidates or _twins(candidates)):
        found = f"{method!r} chooses among {_twins(candidates) or 'nothing'}"
        raise InputError(
            f"{_rule_key(study, name, method, sources)}: {found}; allowed are different trainings"
        )
    if cell.searched:
        _search(study, cell, sources)


def _rule_key(study: Study, name: str, method: str, sources: Mapping[str, str]) -> str:
    """Return the file and key that give the parameters of a method's curvature rule."""
    rule, own = Method.of(method).curvature, study.experiments[name].rules
    key = f"rules.curvature.{rule}"
    if own is not None and rule in (own.curvature or {}):
        return f"{sources['experiments']}: experiments.{name}.{key}"
    return f"{sources['rules']}: {key}"


def _cell(cell: Cell, key: str) -> None:
    config = cell.config
    if config.dataset not in catalogue.names():
        near = parts.nearest(config.dataset, catalogue.names())
        raise InputError(f"{key}.dataset: found {config.dataset!r}; {near}")
    _fit(cell, key)
    variants.check_recipe(config.variant.made_by(), f"{key}.variant")
    low, high = config.curvature.bounds
    if not low <= config.curvature.start <= high:
        start = f"{cell.method!r} starts at {config.curvature.start:g}"
        raise InputError(f"{key}.methods: {start}; allowed is {low:g} to {high:g}")
    _parts(cell, key)
    _further_curvatures(cell, key)
    _labelled_rows(cell, key)
    _images_only(cell, key)
    _meta_set(cell, key)


def _further_curvatures(cell: Cell, key: str) -> None:
    """Check that curvatures which a curvature rule is given lie in their bounds."""
    rule, (low, high) = cell.config.curvature_rule, cell.config.curvature.bounds
    name = parts.constant("curvature rule", rule.name, "curvatures")
    default = parts.constant("curvature rule", rule.name, name) if name else None
    given = rule.parameters.get(name, default)
    several = isinstance(given, list | tuple)
    for c in given if several else [] if given is None else [given]:
        if not low <= c <= high:
            found = f"{cell.method!r} has {c:g} in {name!r} of its curvature rule"
            raise InputError(f"{key}.methods: {found}; allowed is {low:g} to {high:g}")


def _parts(cell: Cell, key: str) -> None:
    """Check that the parts of a cell exist and take the parameters given."""
    config, model = cell.config, cell.config.model
    chosen = [
        ("weight rule", config.weight_rule),
        ("curvature rule", config.curvature_rule),
        ("loss", config.loss),
    ]
    if model.head is not None:
        if "head" not in parts.parameters("model", model.name):
            found = f"found {cell.method!r}; model {model.name!r}"
            raise InputError(f"{key}: {found} takes no head")
        chosen.append(("head", model.head))
    for family, part in chosen:
        where = f"{key}: {family.split()[-1]} {part.name}"
        parts.check_name(family, part.name, where)
        parts.check_parameters(family, part.name, dict(part.parameters), where)
    given = {name: value for name, value in model.dump().items() if name != "name"}
    parts.check_parameters("model", model.name, given, f"{key}.model")


def _labelled_rows(cell: Cell, key: str) -> None:
    rule = cell.config.loss.name
    needs = "training" in parts.filled("loss", rule)
    if cell.config.variant.recipe == "episodes" and needs:
        fitting = [n for n in parts.names("loss") if "training" not in parts.filled("loss", n)]
        raise InputError(
            f"{key}.methods: found {cell.method!r}, whose loss {rule!r} needs labelled training"
            f" rows, which episodes have not; {parts.nearest(rule, fitting)}"
        )


def _images_only(cell: Cell, key: str) -> None:
    """Check that a loss that changes the batches is one of classified images."""
    rule, recipe = cell.config.loss.name, cell.config.variant.recipe
    images = recipe not in (*GRAPH_RECIPES, "episodes")
    if not images and parts.marked("loss", rule, "images_only"):
        raise InputError(
            f"{key}.methods: found {cell.method!r}, whose loss {rule!r} changes the batches;"
            " allowed where images are classified"
        )


def _meta_set(cell: Cell, key: str) -> None:
    """Check that a method that draws from a meta set has a variant with one."""
    config = cell.config
    for family, part in (
        ("weight rule", config.weight_rule),
        ("curvature rule", config.curvature_rule),
        ("loss", config.loss),
    ):
        needs = parts.marked(family, part.name, "needs_meta")
        draws = part.parameters.get("batch", "meta" if needs else "") == "meta"
        if draws and not config.variant.parameters.get("meta"):
            raise InputError(
                f"{key}.variant.meta: found nothing, and {cell.method!r} draws from the meta set;"
                " allowed is a number of images a class from 1, where images are classified"
            )


def _fit(cell: Cell, key: str) -> None:
    """Check that setting, dataset, recipe and model are for the same kind of data."""
    config, recipe = cell.config, cell.config.variant.recipe
    if recipe in variants.names() and recipe not in RECIPES[config.setting]:
        allowed = " or ".join(RECIPES[config.setting])
        raise InputError(
            f"{key}.variant.recipe: found {recipe!r}; allowed with setting {config.setting} is"
            f" {allowed}"
        )
    kind = catalogue.entry(config.dataset).kind
    if kind == "labels":
        raise InputError(
            f"{key}.dataset: found {config.dataset!r}, a dataset of labels; allowed are images and"
            " graphs"
        )
    if (kind == "graph") != (recipe in GRAPH_RECIPES):
        raise InputError(
            f"{key}.variant.recipe: found {recipe!r}; {config.dataset} is of kind {kind}"
        )
    _fit_model(cell, "episodes" if recipe == "episodes" else kind, key)


def _fit_model(cell: Cell, gives: str, key: str) -> None:
    """Check that the model takes what the data give: images, a graph, or episodes."""
    model = cell.config.model.name
    parts.check_name("model", model, f"{key}.model.name")
    needs = parts.filled("model", model)
    # A graph gives a number of features, images the shape of one.
    takes = "graph" if needs["inputs"] == "int" else "images"
    if "shot" in needs:
        takes = "episodes"
    if takes != gives:
        found = f"found {model!r}, a model for {takes}"
        raise InputError(f"{key}.model.name: {found}; allowed is one for {gives}")
    augment = cell.config.training.augment
    if gives != "images" and augment is not None:
        raise InputError(
            f"{key}.training.augment: found {augment!r}; allowed where images are classified, not"
            f" {gives}"
        )


def _given_spaces(
    study: Study, sources: Mapping[str, str], layers: Sequence[Mapping[str, Any]]
) -> list[tuple[Any, ...]]:
    """Return kind, name and key of every search space that the configuration gives."""
    places = _places(layers)
    # a scale with other rules need not name those that the default's spaces are of
    replaced = places.get("rules", 0) > places.get("spaces", 0)
    found: list[tuple[Any, ...]] = []

    def add(spaces: Spaces, key: str, experiment: Experiment | None) -> None:
        for kind in KINDS:
            for name, space in spaces.of(kind).items():
                found.append((kind, name, space or {}, f"{key}.{kind}", experiment, replaced))

    add(study.spaces, f"{sources.get('spaces', '')}: spaces", None)
    for name, experiment in study.experiments.items():
        if experiment.spaces:
            key = f"{sources['experiments']}: experiments.{name}.spaces"
            add(experiment.spaces, key, experiment)
    return found


def _space(
    study: Study,
    kind: str,
    name: str,
    space: Mapping[str, Any],
    where: str,
    experiment: Experiment | None,
    replaced: bool,
) -> None:
    """Check that the configuration names a space's rule, and that this takes its parameters."""
    known = study.rules.of(kind)
    if name not in known:
        if experiment is None and replaced:
            return
        near = parts.nearest(name, known)
        raise InputError(f"{where}: found {name!r}; {near}, as `rules.{kind}` names them")
    # A space at the top is of the rules at the top, so no experiment's own may change them.
    any_experiment = next(iter(study.experiments.values()))
    rules = experiment or any_experiment.model_copy(update={"rules": None})
    rule = resolve.rule_of(study, rules, kind, name, where)
    parts.check_name(search_space.FAMILIES[kind], rule.name, f"{where}: rules.{kind}.{name}")
    curvature = study.curvature
    if experiment is not None and experiment.curvature:
        curvature = curvature.model_copy(update=experiment.curvature.dump())
    low, high = curvature.bounds
    search_space.check(space, kind, rule, (low, high), f"{where}.{name}")


def _search(study: Study, cell: Cell, sources: Mapping[str, str]) -> None:
    """Check that all methods have equally many trials, on seeds apart from the judged ones."""
    search = cell.config.search
    assert search is not None
    name = cell.experiment
    # Being set decides, since null is how an experiment says that it has no search.
    own = "search" in study.experiments[name].model_fields_set
    source = sources["experiments" if own else "search"]
    key = f"{source}: {f'experiments.{name}.search' if own else 'search'}"
    # Points are chosen by their luck on these seeds as well.
    shared = sorted({*search.seeds} & {*study.seeds_of(name)})
    if shared:
        raise InputError(
            f"{key}.seeds: found {shared[0]}, a seed that {name} is judged by; allowed are other"
            " seeds"
        )
    if not cell.trains_once:
        raise InputError(
            f"{key}: found {cell.method!r} in experiments.{name}.methods, whose rule"
            f" {cell.config.curvature_rule.name!r} is several trainings on top of the"
            f" {len(search.points)} points of every method; allowed are rules that train once, for"
            " a grid an alias of fixed with `start` in its space, as fixed_searched"
        )
    low, high = cell.config.curvature.bounds
    for kind, rule in resolve.named_rules(study, name, cell.method).items():
        owner, space = resolve.space_of(study, name, kind, rule)
        where = f"{source}: spaces.{kind}.{owner}"
        search_space.check(space, kind, cell.config.part(kind), (low, high), where)


def _places(layers: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of the last layer that gives a key: its value counts."""
    return {key: place for place, layer in enumerate(layers) for key in layer}


def _studies(study: Study, source: str) -> None:
    """Check that the studies of the theory exist."""
    if study.theory is None:
        return
    for name, parameters in study.theory.studies.items():
        key = f"{source}: theory.studies"
        parts.check_name("study", name, key)
        parts.check_parameters("study", name, parameters or {}, f"{key}.{name}")


def _measured(
    study: Study, sources: Mapping[str, str], layers: Sequence[Mapping[str, Any]]
) -> None:
    """Check that the theory measures curvature rules that there are."""
    known = study.rules.curvature
    measured = study.theory.measured if study.theory else []
    lacking = [rule for rule in measured if rule not in known]
    if not lacking:
        return
    places, source = _places(layers), sources["theory"]
    # A scale with rules of its own did not write the default's theory, and is told how to go on.
    if places["rules"] > places["theory"]:
        found = f"found no {', '.join(lacking)}, which theory.measured of {source} names"
        raise InputError(
            f"{sources['rules']}: rules.curvature: {found}; allowed are these rules, a `theory` of"
            " its own, or `theory: null` for none"
        )
    lines = []
    for rule in lacking:
        near = parts.nearest(rule, known)
        lines.append(f"{source}: theory.measured: found {rule!r}; curvature rules {near}")
    raise InputError("\n".join(lines))


def _theory_of(study: Study, name: str, sources: Mapping[str, str]) -> None:
    """Check that an experiment allows the theory's measurements of it."""
    experiment = study.experiments[name]
    source = sources.get("theory", sources["experiments"])  # a study without a theory has no file
    key = f"{sources['experiments']}: experiments.{name}"
    try:
        cells = resolve.informed(study, name)
        for cell in cells:  # they need not be among the methods
            _cell(cell, f"experiments.{name}")
    except InputError as error:
        line = str(error).removeprefix(f"experiments.{name}.methods: ")
        raise InputError(f"{key}.informed: {line}") from None
    for method, cell in zip(experiment.informed or [], cells, strict=True):
        recipe = experiment.variant.recipe
        if recipe in (*GRAPH_RECIPES, "episodes") or not cell.trains_once:
            raise InputError(
                f"{key}.informed: found {method!r} of recipe {recipe!r}; allowed are"
                " methods that train once, of experiments that classify images"
            )
    if experiment.informed and study.theory is None:
        needs = f"experiments.{name}.informed needs its options"
        raise InputError(f"{source}: theory: found nothing; {needs}")
    if experiment.hypergradient:
        _hypergradient(study, name, source, f"{key}.hypergradient")


def _hypergradient(study: Study, name: str, source: str, key: str) -> None:
    """Check for the study's options, and for a curvature and batches of fixed rows."""
    experiment = study.experiments[name]
    if study.theory is None or study.theory.hypergradient is None:
        needs = f"experiments.{name}.hypergradient needs its options"
        raise InputError(f"{source}: theory.hypergradient: found nothing; {needs}")
    found, known = experiment.hypergradient.method, experiment.methods
    if found not in known:
        raise InputError(f"{key}.method: found {found!r}; {parts.nearest(found, known)}")
    cell = resolve.studied(study, name)
    geometry = parts.constant("curvature rule", cell.config.curvature_rule.name, "geometry")
    if geometry == "euclidean" or not cell.trains_once:
        raise InputError(
            f"{key}.method: found {found!r}; allowed are methods with a curvature that train once"
        )
    recipe, augment = experiment.variant.recipe, experiment.training.augment
    loss = cell.config.loss.name
    changes = parts.marked("loss", loss, "images_only")
    if recipe in GRAPH_RECIPES or augment or changes:
        what = f"recipe {recipe!r}, whose batches are the whole graph"
        if changes:
            what = f"loss {loss!r}, which changes the batches"
        if augment:
            what = f"training.augment {augment!r}"
        raise InputError(
            f"{key}: found {what}; allowed are batches drawn from fixed images or episodes"
        )
