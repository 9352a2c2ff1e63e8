"""From a study to its cells."""

import math

from hsac import parts
from hsac.errors import InputError
from hsac.files import digest
from hsac.study import search_space
from hsac.study.cell import Cell, Configuration, ModelPart, Trials
from hsac.study.method import GRAMMAR, Method, spelt
from hsac.study.models import KINDS, LOSS, Experiment, Study
from hsac.study.part import Part

LONGEST = 200  # bytes of a method's name; file systems take some more
GRID = (0.1, 0.3, 1.0, 3.0)  # the default of the curvature rule `grid`


def cells(study: Study) -> list[Cell]:
    """Return every experiment × method, in the configuration's order.

    Args:
        study: the study.

    Raises:
        InputError: names the key of a method that cannot be made.
    """
    found = []
    for name, experiment in study.experiments.items():
        found += [cell(study, name, method) for method in experiment.methods]
    return found


def cell(study: Study, experiment: str, method: str, point: int | None = None) -> Cell:
    """Resolve one experiment × method.

    Args:
        study: the study.
        experiment: the name of one of its experiments.
        method: the name of a method, not necessarily one of the experiment's.
        point: the number of a trial of the experiment's search. None gives the searched cell
            itself: it holds the trials, and is trained at the one that the search chooses.

    Returns:
        All that decides the result, and its hash.

    Raises:
        InputError: names the key of a method that cannot be made.
    """
    # A study asks for the same cells again and again, and may have thousands.
    known = study.known_cells
    if (key := (experiment, method, point)) not in known:
        known[key] = _cell(study, experiment, method, point)
    return known[key]


def _cell(study: Study, name: str, method_name: str, point: int | None) -> Cell:
    configured = _configured(study, name, method_name)
    search = study.search_of(name)
    if search is not None:
        if point is None:
            # The points enter the hash, so that a cell of another search is another cell.
            tried = [_point(study, name, method_name, k) for k in range(search.points)]
            configured = configured.with_search(Trials(search.seeds, tried))
        else:
            configured = configured.at(_point(study, name, method_name, point))
    return Cell(name, method_name, configured, digest(configured.dump()), point)


def _configured(study: Study, name: str, method_name: str) -> Configuration:
    """Return the configuration of a method where nothing is searched."""
    experiment = study.experiments[name]
    key = f"experiments.{name}.methods"
    curvature = study.curvature_of(name)
    method = Method.of(method_name)
    _check_method(method, key)
    start = _start(method, curvature.start, key)
    loss, head = loss_and_head(study, method, key)
    rule = rule_of(study, experiment, "curvature", method.curvature, key)
    _check_takes_start(method, rule, key)
    return Configuration(
        setting=experiment.setting,
        dataset=experiment.dataset,
        variant=experiment.variant,
        model=_model(study, name, head, key),
        loss=rule_of(study, experiment, "losses", loss or LOSS, key),
        training=experiment.training,
        weight_rule=rule_of(study, experiment, "weights", method.weight, key),
        curvature=curvature.model_copy(update={"start": start}),
        curvature_rule=rule,
        measure=study.measure,
        among=_among(study, name, method, rule) if rule.name == "best_of" else None,
    )


def _model(study: Study, name: str, head: str | None, key: str) -> ModelPart:
    experiment = study.experiments[name]
    chosen = experiment.model
    parameters = chosen.parameters
    # A head of the method stands over that of the experiment's model.
    own = head or chosen.head
    if own is None:
        return ModelPart(chosen.name, parameters)
    where = key if head else f"experiments.{name}.model.head"
    return ModelPart(chosen.name, parameters, rule_of(study, experiment, "heads", own, where))


def _check_method(method: Method, key: str) -> None:
    """Refuse a name that is none, or that cannot be a folder of the records."""
    name = method.name
    if not method.complete:
        raise InputError(f"{key}: found {name!r}; allowed is {GRAMMAR}")
    # Snakemake reads braces in a path as wildcards.
    if not name.isprintable() or any(c in "/{}" for c in name):
        raise InputError(f"{key}: found {name!r}; allowed is a name of one line without / {{ }}")
    if (size := len(name.encode())) > LONGEST:
        raise InputError(f"{key}: found a method of {size} bytes; allowed are {LONGEST}")


def _start(method: Method, default: float, key: str) -> float:
    if not method.names_start:
        return default
    try:
        value = float(method.start)
    except ValueError:
        value = math.nan
    # Python also reads `nan` and `inf` as numbers.
    found = f"found start {method.start!r} in {method.name!r}"
    if not math.isfinite(value):
        raise InputError(f"{key}: {found}; allowed is a number")
    # Python also reads `0.30`, ` 0.3` and digits of other scripts. A method has one name, under
    # which it is trained, shown and counted.
    if method.start != spelt(value):
        raise InputError(f"{key}: {found}; allowed is {spelt(value)!r}")
    return value


def _check_takes_start(method: Method, rule: Part, key: str) -> None:
    """Refuse a start that decides nothing: the method would have as many names as numbers."""
    # What is no curvature rule is said where rules are checked. `best_of` has words of its own.
    if not method.names_start or rule.name not in parts.names("curvature rule"):
        return
    given = parts.marked("curvature rule", rule.name, "derived") and rule.name != "best_of"
    if given or parts.marked("curvature rule", rule.name, "ignores_start"):
        found = f"found start {method.start!r} in {method.name!r}"
        raise InputError(f"{key}: {found}; allowed is none, as {rule.name} does not start from it")


def loss_and_head(study: Study, method: Method, key: str) -> tuple[str | None, str | None]:
    """Return the loss and the head that a method names.

    Args:
        study: the study, whose `rules` name losses and heads.
        method: the method.
        key: where its name stands, for the error line.

    Returns:
        Their names in the configuration, None for one that the method does not name.

    Raises:
        InputError: names `key` for a segment that is neither, or a second of the same kind.
    """
    known = {"loss": list(study.rules.of("losses")), "head": list(study.rules.of("heads"))}
    found: dict[str, str] = {}
    for part in method.further:
        kind = next((kind for kind, names in known.items() if part in names), None)
        if kind is None:
            allowed = parts.nearest(part, [*known["loss"], *known["head"]])
            where = "as `rules.losses` and `rules.heads` name them"
            raise InputError(
                f"{key}: found {part!r} in {method.name!r}; losses and heads {allowed}, {where}"
            )
        if kind in found:
            both = f"{found[kind]!r} and {part!r} in {method.name!r}"
            raise InputError(f"{key}: found {both}; allowed is one {kind}")
        found[kind] = part
    return found.get("loss"), found.get("head")


def rule_of(study: Study, experiment: Experiment, kind: str, name: str, key: str) -> Part:
    """Return a named rule with its parameters.

    Args:
        study: the study.
        experiment: the experiment, whose `rules` stand over the top level's.
        kind: one of `KINDS`.
        name: the rule's name in the configuration.
        key: where the name stands, for the error line.

    Raises:
        InputError: names `key` for a name that the configuration does not know.
    """
    known = study.rules.of(kind)
    if name not in known:
        words = kind if kind in ("losses", "heads") else f"{kind} rules"
        raise InputError(
            f"{key}: found {name!r}; {words} {parts.nearest(name, known)}, as `rules.{kind}` names"
            " them"
        )
    own = (getattr(experiment.rules, kind) or {}) if experiment.rules else {}
    given = {**(known[name] or {}), **(own.get(name) or {})}
    # With `rule` the name is an alias of another class.
    rule = given.pop("rule", name)
    return Part(rule, given)


def _among(study: Study, experiment: str, method: Method, rule: Part) -> dict[str, str]:
    """Return candidate -> hash of its cell, of a method that chooses the best of several rules."""
    key, among = f"rules.curvature.{method.curvature}.among", rule.parameters.get("among")
    names = list(among) if isinstance(among, list | tuple) else []
    good = all(isinstance(one, str) and "+" not in one for one in names)
    if not names or not good or len({*names}) < len(names):
        raise InputError(
            f"{key}: found {among!r}; allowed is a list of different curvature rules, as methods"
            " name them"
        )
    if method.start:
        raise InputError(
            f"experiments.{experiment}.methods: found {method.name!r}; allowed is no start here, as"
            f" {key} gives them"
        )
    for one in names:
        _check_candidate(study, experiment, one, key)
    candidates = [method.with_curvature(one) for one in names]
    # Hashes and not names, so that the cell changes when a candidate does.
    return {name: cell(study, experiment, name).hash for name in candidates}


def _check_candidate(study: Study, experiment: str, one: str, key: str) -> None:
    name = one.partition("@")[0]
    rule = rule_of(study, study.experiments[experiment], "curvature", name, key)
    parts.check_name("curvature rule", rule.name, f"rules.curvature.{name}")
    if any(parts.marked("curvature rule", rule.name, mark) for mark in ("derived", "searches")):
        raise InputError(
            f"{key}: found {one!r}, which is several trainings; allowed are rules that train once"
        )


def candidates(study: Study, of: Cell) -> list[Cell]:
    """Return the cells that a derived cell chooses from, none for a cell that is trained.

    Args:
        study: the study.
        of: one of its cells.
    """
    if not of.derived:
        return []
    rule, method = of.config.curvature_rule, Method.of(of.method)
    if rule.name == "grid":
        # Named as a configuration would, so that a grid and a table share their cells.
        among = [f"fixed@{spelt(c)}" for c in rule.parameters.get("curvatures", GRID)]
    else:
        among = rule.parameters["among"]
    return [cell(study, of.experiment, method.with_curvature(one)) for one in among]


def trials(study: Study, of: Cell) -> list[Cell]:
    """Return the cells of the points that a searched cell tries, none for another cell.

    Args:
        study: the study.
        of: one of its cells.

    Returns:
        All of them in order. Points that came out alike are cells of one hash.
    """
    if of.config.search is None:
        return []
    count = len(of.config.search.points)
    return [cell(study, of.experiment, of.method, number) for number in range(count)]


def named_rules(study: Study, experiment: str, method: str) -> dict[str, str]:
    """Return the names of a method's rules as the configuration names them.

    Args:
        study: the study.
        experiment: the name of the experiment, whose model may name a head.
        method: the name of the method.

    Returns:
        Kind (`KINDS`) -> name; no `heads` where neither method nor model names one.
    """
    name = Method.of(method)
    loss, head = loss_and_head(study, name, "method")
    head = head or study.experiments[experiment].model.head
    found = [name.weight, name.curvature, loss or LOSS, head]
    return {kind: one for kind, one in zip(KINDS, found, strict=True) if one is not None}


def space_of(study: Study, experiment: str, kind: str, name: str) -> tuple[str, dict[str, object]]:
    """Return the search space of a named rule.

    Args:
        study: the study.
        experiment: the name of the experiment, whose `spaces` stand over the top level's.
        kind: one of `KINDS`.
        name: the rule's name in the configuration.

    Returns:
        The rule that owns the space (this rule, or the one it is an alias of), and the space. It
        is empty where there is none.
    """
    own = study.experiments[experiment].spaces
    layers = [layer.of(kind) for layer in (study.spaces, own) if layer]
    rule = (study.rules.of(kind).get(name) or {}).get("rule", name)
    for owner in (name, rule):
        found = [layer[owner] or {} for layer in layers if owner in layer]
        if found:
            merged: dict[str, object] = {}
            for one in found:
                merged |= one
            return owner, merged
    return name, {}


def _point(study: Study, experiment: str, method: str, k: int) -> search_space.Point:
    """Return what trial k of a method replaces, nothing in trial 0."""
    search = study.search_of(experiment)
    if k == 0 or search is None:
        return {}
    found: search_space.Point = {}
    for kind, name in named_rules(study, experiment, method).items():
        owner, space = space_of(study, experiment, kind, name)
        if kind == "curvature" and Method.of(method).start:  # the method's name fixes it
            space = {key: spec for key, spec in space.items() if key != search_space.START}
        found |= search_space.drawn(space, search.draw, kind, owner, k)
    return found


def trained(study: Study) -> list[Cell]:
    """Return every cell that is trained, each once.

    Args:
        study: the study.

    Returns:
        The cells of the tables, after each searched one's trials, and those that only a derived
        cell looks at.
    """
    found: dict[tuple[str, str, str], Cell] = {}
    for shown in cells(study):
        for one in candidates(study, shown) or [*trials(study, shown), shown]:
            # Tables and choices share cells.
            found.setdefault((one.experiment, one.method, one.hash), one)
    return list(found.values())


def measured(study: Study, experiment: str) -> list[Cell]:
    """Return the trained cells of an experiment whose networks are measured.

    Args:
        study: the study.
        experiment: the name of the experiment.

    Returns:
        The cells of the curvature rules of `theory.measured`, under the weight rule, loss and head
        of the experiment's reference.
    """
    if study.theory is None or not study.theory.measured:
        return []
    reference = Method.of(study.experiments[experiment].reference)
    # A set, as loss and head may stand in either order.
    same = (reference.weight, set(reference.further))
    found = []
    for one in trained(study):
        method = Method.of(one.method)
        alike = (method.weight, set(method.further)) == same
        if one.experiment == experiment and one.point is None and alike:
            found.append(one)
    return [one for one in found if Method.of(one.method).curvature in study.theory.measured]


def studied(study: Study, experiment: str) -> Cell:
    """Return the cell whose training the study of the hypergradient looks at.

    Args:
        study: the study.
        experiment: the name of an experiment that asks for this study.
    """
    return cell(study, experiment, study.experiments[experiment].hypergradient.method)


def informed(study: Study, experiment: str) -> list[Cell]:
    """Return the cells of an experiment that get a certificate with an informed prior.

    Args:
        study: the study.
        experiment: the name of the experiment.
    """
    return [cell(study, experiment, name) for name in study.experiments[experiment].informed or []]


def seeds(study: Study, of: Cell) -> list[int]:
    """Return the seeds that a cell is trained on.

    Args:
        study: the study.
        of: one of its cells.

    Returns:
        The experiment's, or, for a trial of a search, the search's own.
    """
    search = study.search_of(of.experiment)
    if search is None or of.point is None:
        return study.seeds_of(of.experiment)
    return search.seeds
