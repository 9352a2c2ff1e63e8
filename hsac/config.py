"""The configuration: read, checked, and resolved into cells (one experiment × one method). No torch
here.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from hsac import parts, plugins, spaces
from hsac.data import catalogue, variants
from hsac.errors import InputError
from hsac.files import digest
from hsac.study import method as methods

RECIPES = {
    "classification": ("plain", "node_split", "public_split"),
    "long_tailed": ("long_tail",),
    "noisy": ("label_noise",),
    "few_shot": ("episodes",),
}
GRAPH_RECIPES = ("node_split", "public_split")
SETTINGS = tuple(RECIPES)
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
LOSS = "cross_entropy"  # of a method that names none


@cache
def schema() -> dict[str, Any]:
    """The JSON schema of a configuration."""
    return yaml.safe_load(files("hsac").joinpath("config.schema.yaml").read_text())


def scale_file(scale: str, folder: Path = FOLDER) -> Path:
    """`config/<scale>.yaml`; the default scale is `config/config.yaml`. Raises InputError when
    there is none.
    """
    path = folder / ("config.yaml" if scale == "default" else f"{scale}.yaml")
    if not path.is_file():
        found = {p.stem for p in folder.glob("*.yaml")} & set(SCALES) | {"default"}
        raise InputError(
            f"scale: found {scale!r} but there is no {path}; {parts.nearest(scale, found)}"
        )
    return path


def load(
    scale: str, override: dict[str, Any] | None = None, folder: Path = FOLDER
) -> dict[str, Any]:
    """The settings of a scale: the default's, each top-level key replaced whole by the scale's,
    then by `override`.

    Nothing is merged below the top level, so no entry of a default grid survives unseen. Who goes
    on with settings that name plugins does so inside `plugins.using`. Raises InputError naming the
    key, the file, what was found and what is allowed.
    """
    layers = _layers(scale, override, folder)
    settings: dict[str, Any] = {}
    for source, layer in layers:
        settings |= layer
        _check_schema(layer, source)
    for key in schema()["required"]:
        if key not in settings:
            raise InputError(f"{layers[0][0]}: {key}: found nothing; this key is required")
    settings["scale"] = scale
    settings.pop("mirror", None)  # where data is read from is no part of what is computed
    source = next(source for source, layer in reversed(layers) if "plugins" in layer)
    with plugins.using(settings["plugins"], f"{source}: plugins"):
        _check_rules(settings, layers)
        _check_spaces(settings, layers)
        for cell in cells(settings):
            _check_cell(settings, cell, layers)
            _check_search(settings, cell, layers)
        _check_theory(settings, layers)
    return settings


def mirror(scale: str, override: dict[str, Any] | None = None, folder: Path = FOLDER) -> str | None:
    """The `mirror` key of a scale; `load` leaves it out of the settings, so changing it computes
    nothing again.
    """
    layers = _layers(scale, override, folder)
    for source, layer in layers:
        _check_schema(layer, source)
    found: str | None = next(
        (layer["mirror"] for _, layer in reversed(layers) if "mirror" in layer), None
    )
    return found


def plugin_folders(scale: str, folder: Path = FOLDER) -> list[str]:
    """The `plugins` key of a scale."""
    layers = _layers(scale, None, folder)
    for source, layer in layers:
        _check_schema(layer, source)
    found: list[str] = next(
        (layer["plugins"] for _, layer in reversed(layers) if "plugins" in layer), []
    )
    return found


def _layers(
    scale: str, override: dict[str, Any] | None, folder: Path
) -> list[tuple[str, dict[str, Any]]]:
    """Where the settings come from, the later over the earlier."""
    paths = dict.fromkeys([scale_file("default", folder), scale_file(scale, folder)])
    return [*((str(path), _read(path)) for path in paths), ("the command line", override or {})]


def retyped(value: Any) -> Any:
    """The value with texts that read as numbers or null made these: inside a list, Snakemake's
    --config leaves them text.
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
    plain = isinstance(read, int | float) and not isinstance(read, bool)
    return read if plain or value in ("null", "true", "false") else value


def _read(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: found {type(value).__name__}, allowed is a mapping of keys")
    return value


def _check_schema(layer: dict[str, Any], source: str) -> None:
    validator = Draft202012Validator({**schema(), "required": []})
    for error in sorted(
        validator.iter_errors(layer), key=lambda e: [str(p) for p in e.absolute_path]
    ):
        raise InputError(f"{source}: {_sentence(error)}")


def _sentence(error: ValidationError) -> str:
    key = ".".join(str(p) for p in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        extra = sorted(set(error.instance) - set(known))[0]
        where = f"{key}.{extra}" if key else extra
        return f"{where}: found an unknown key; {parts.nearest(extra, known)}"
    if error.validator == "required":
        return f"{key or 'top level'}: {error.message}"
    allowed = error.schema.get("title") or f"{error.validator} {error.validator_value}"
    return f"{key}: found {error.instance!r}; allowed is {allowed}"


@dataclass(frozen=True)
class Method:
    """`weight+curvature@start+loss+head`: a weight rule, a curvature rule, the curvature it starts
    from, and the names of a loss and of a head, None where the name has none.
    """

    name: str
    weight: str
    curvature: str
    start: float
    loss: str | None
    head: str | None


GRAMMAR = "weight+curvature, then @start, +loss and +head where wanted"


def parse_method(
    name: str, default_start: float, losses: Iterable[str], heads: Iterable[str], key: str
) -> Method:
    """Raises InputError naming `key` for a name that is not
    `weight+curvature[@number][+loss][+head]`, loss and head in either order, with a loss of
    `losses` and a head of `heads`.
    """
    given_name = methods.split(name)
    if not (given_name.weight and given_name.curvature and all(given_name.further)):
        raise InputError(f"{key}: found {name!r}; allowed is {GRAMMAR}")
    value = default_start
    if "@" in name.split("+")[1]:
        try:
            value = float(given_name.start)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(
                f"{key}: found start {given_name.start!r} in {name!r}; allowed is a number"
            )
    known = {"loss": list(losses), "head": list(heads)}
    found: dict[str, str] = {}
    for part in given_name.further:
        kind = next((kind for kind, names in known.items() if part in names), None)
        if kind is None:
            allowed = parts.nearest(part, [n for names in known.values() for n in names])
            where = "as `rules.losses` and `rules.heads` name them"
            raise InputError(
                f"{key}: found {part!r} in {name!r}; losses and heads {allowed}, {where}"
            )
        if kind in found:
            raise InputError(
                f"{key}: found {found[kind]!r} and {part!r} in {name!r}; allowed is one {kind}"
            )
        found[kind] = part
    return Method(
        name, given_name.weight, given_name.curvature, value, found.get("loss"), found.get("head")
    )


def rule_of(
    settings: dict[str, Any], experiment: dict[str, Any], kind: str, name: str, key: str
) -> dict[str, Any]:
    """{rule, parameters} of a named rule: the experiment's `rules` over the top level's, over the
    rule's defaults.
    """
    known = _named(settings, kind)
    if name not in known:
        words = kind if kind in ("losses", "heads") else f"{kind} rules"
        raise InputError(
            f"{key}: found {name!r}; {words} {parts.nearest(name, known)}, as `rules.{kind}` names"
            " them"
        )
    given = {
        **(known[name] or {}),
        **((experiment.get("rules", {}).get(kind, {}) or {}).get(name) or {}),
    }
    rule = given.pop("rule", name)
    return {"rule": rule, "parameters": given}


def _named(settings: dict[str, Any], kind: str) -> dict[str, Any]:
    """The named rules of a kind. Cross-entropy needs no name in the configuration: it is every
    method's default.
    """
    return {**({LOSS: None} if kind == "losses" else {}), **(settings["rules"].get(kind) or {})}


def cells(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Every experiment × method, each with all that decides its result and nothing else.

    Raises InputError naming the key for a method that cannot be made.
    """
    out = []
    for name, experiment in settings["experiments"].items():
        for method in experiment["methods"]:
            out.append(cell(settings, name, method))
        for method, _ in groupby(sorted(experiment["methods"])):
            if experiment["methods"].count(method) > 1:
                raise InputError(
                    f"experiments.{name}.methods: found {method!r} twice; allowed is once"
                )
    return out


def cell(
    settings: dict[str, Any], name: str, method_name: str, point: int | None = None
) -> dict[str, Any]:
    """One experiment × method, resolved: all that decides its result, and its hash.

    Where the experiment searches, the configuration holds what the method tries under `search`, and
    the cell is trained at the point that its search chooses; `point` makes it the cell of one of
    these points, which is ordinary.
    """
    experiment = settings["experiments"][name]
    key = f"experiments.{name}.methods"
    curvature = {**settings["curvature"], **experiment.get("curvature", {})}
    losses, heads = (_named(settings, kind) for kind in ("losses", "heads"))
    method = parse_method(method_name, curvature["start"], losses, heads, key)
    model = dict(experiment["model"])
    head = method.head or model.get("head")
    if head is not None:
        where = key if method.head else f"experiments.{name}.model.head"
        model["head"] = rule_of(settings, experiment, "heads", head, where)
    resolved = {
        "setting": experiment["setting"],
        "dataset": experiment["dataset"],
        "variant": experiment["variant"],
        "model": model,
        "loss": rule_of(settings, experiment, "losses", method.loss or LOSS, key),
        "training": experiment["training"],
        "weights": rule_of(settings, experiment, "weights", method.weight, key),
        "curvature": {**curvature, "start": method.start},
        "rule": rule_of(settings, experiment, "curvature", method.curvature, key),
        "measure": settings["measure"],
    }
    if resolved["rule"]["rule"] == "best_of":
        resolved["among"] = _among(settings, name, method, resolved["rule"]["parameters"])
    search = search_of(settings, name)
    if search is not None and point is None:
        tried = [_point(settings, name, method_name, k) for k in range(search["points"])]
        resolved["search"] = {"seeds": search["seeds"], "points": tried}
    elif point is not None:
        resolved = spaces.replaced(resolved, _point(settings, name, method_name, point))
    return {
        "experiment": name,
        "method": method.name,
        "config": resolved,
        "hash": digest(resolved),
        "point": point,
    }


def _among(
    settings: dict[str, Any], experiment: str, method: Method, given: dict[str, Any]
) -> dict[str, str]:
    """Candidate -> hash of its cell, of a method that chooses the best of several rules: what these
    are decides its result. Raises InputError naming the rule's key `among`.
    """
    given_name = methods.split(method.name)
    key, among = f"rules.curvature.{given_name.curvature}.among", given.get("among")
    names = list(among) if isinstance(among, list | tuple) else []
    if (
        not names
        or not all(isinstance(one, str) and "+" not in one for one in names)
        or len({*names}) < len(names)
    ):
        raise InputError(
            f"{key}: found {among!r}; allowed is a list of different curvature rules, as methods"
            " name them"
        )
    if given_name.start:
        raise InputError(
            f"experiments.{experiment}.methods: found {method.name!r}; allowed is no start here, as"
            f" {key} gives them"
        )
    for one in names:
        rule = rule_of(
            settings, settings["experiments"][experiment], "curvature", one.partition("@")[0], key
        )["rule"]
        parts.check_name("curvature rule", rule, f"rules.curvature.{one.partition('@')[0]}")
        if any(parts.marked("curvature rule", rule, mark) for mark in ("derived", "searches")):
            raise InputError(
                f"{key}: found {one!r}, which is several trainings; allowed are rules that train"
                " once"
            )
    return {
        name: cell(settings, experiment, name)["hash"] for name in _chosen_among(given_name, names)
    }


def _chosen_among(parts: methods.Name, among: Iterable[str]) -> list[str]:
    return [f"{parts.weight}+{one}{parts.suffix}" for one in among]


def search_of(settings: dict[str, Any], experiment: str) -> dict[str, Any] | None:
    """The experiment's own search, or everybody's; None where each method runs at its configured
    point.
    """
    own = settings["experiments"][experiment]
    found: dict[str, Any] | None = own["search"] if "search" in own else settings.get("search")
    return None if found is None else {"draw": 0, "seeds": [100, 101, 102]} | found


def searched(the_cell: dict[str, Any]) -> bool:
    """Whether the cell is trained at the point that a search chooses."""
    return "search" in the_cell["config"]


def named_parts(settings: dict[str, Any], experiment: str, method_name: str) -> dict[str, str]:
    """Kind -> name, as the configuration names it, of a method's weight rule, curvature rule, loss
    and head.
    """
    given_name = parse_method(
        method_name, 0.0, _named(settings, "losses"), _named(settings, "heads"), "method"
    )
    head = given_name.head or settings["experiments"][experiment]["model"].get("head")
    found = {
        "weights": given_name.weight,
        "curvature": given_name.curvature,
        "losses": given_name.loss or LOSS,
    }
    return found | ({"heads": head} if head else {})


def space_of(
    settings: dict[str, Any], experiment: str, kind: str, name: str
) -> tuple[str, dict[str, Any]]:
    """Whose space a named rule has, and the space: its own, or that of the rule it is an alias of,
    or none. An experiment's `spaces` are over the top level's, parameter by parameter.
    """
    layers = (settings.get("spaces") or {}, settings["experiments"][experiment].get("spaces", {}))
    rule = (_named(settings, kind).get(name) or {}).get("rule", name)
    for owner in (name, rule):
        found = [
            (layer.get(kind) or {})[owner] or {}
            for layer in layers
            if owner in (layer.get(kind) or {})
        ]
        if found:
            return owner, {key: spec for layer in found for key, spec in layer.items()}
    return name, {}


def _point(settings: dict[str, Any], experiment: str, method_name: str, k: int) -> spaces.Point:
    """Point k of a method: what it replaces in the configuration, nothing in point 0."""
    search = search_of(settings, experiment)
    if k == 0 or search is None:
        return {}
    found: spaces.Point = {}
    for kind, name in named_parts(settings, experiment, method_name).items():
        owner, space = space_of(settings, experiment, kind, name)
        if kind == "curvature" and methods.split(method_name).start:
            space = {
                key: spec for key, spec in space.items() if key != spaces.START
            }  # the method's name fixes it
        found |= spaces.drawn(space, search["draw"], kind, owner, k)
    return found


def point_cells(settings: dict[str, Any], the_cell: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells of the points that a searched cell tries, all of them in order; [] for another
    cell. Points that came out alike are cells of one hash.
    """
    if not searched(the_cell):
        return []
    count = len(the_cell["config"]["search"]["points"])
    return [cell(settings, the_cell["experiment"], the_cell["method"], k) for k in range(count)]


def candidates(settings: dict[str, Any], the_cell: dict[str, Any]) -> list[str]:
    """Methods that a derived cell chooses from; [] for a cell that is trained."""
    if not derived(the_cell):
        return []
    name, rule = methods.split(the_cell["method"]), the_cell["config"]["rule"]
    if rule["rule"] == "grid":
        among = [f"fixed@{c:g}" for c in rule["parameters"].get("curvatures", (0.1, 0.3, 1.0, 3.0))]
    else:
        among = rule["parameters"]["among"]
    return _chosen_among(name, among)


def derived(the_cell: dict[str, Any]) -> bool:
    """Whether the cell's runs are chosen among other cells' runs."""
    return parts.marked("curvature rule", the_cell["config"]["rule"]["rule"], "derived")


def trained_cells(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Every cell that must be trained, each once: those in the tables, after each searched one's
    points, and those that only a derived one looks at.
    """
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for c in cells(settings):
        chosen_among = [cell(settings, c["experiment"], m) for m in candidates(settings, c)]
        for one in chosen_among or [*point_cells(settings, c), c]:
            found.setdefault((one["experiment"], one["method"], one["hash"]), one)
    return list(found.values())


def measured_cells(settings: dict[str, Any], experiment: str) -> list[dict[str, Any]]:
    """The experiment's trained cells whose networks are measured: curvature rules of
    `theory.measured`, and of the reference its weight rule, loss and head.
    """
    measured = settings["theory"]["measured"]
    reference = methods.split(settings["experiments"][experiment]["reference"])
    found = []
    alone = settings | {"experiments": {experiment: settings["experiments"][experiment]}}
    for one in trained_cells(alone) if measured else ():
        name = methods.split(one["method"])
        same = (name.weight, set(name.further)) == (
            reference.weight,
            set(reference.further),
        ) and one["point"] is None
        if one["experiment"] == experiment and same and name.curvature in measured:
            found.append(one)
    return found


def measured_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the theory that what is measured of trained networks depends on."""
    return {
        key: value
        for key, value in settings["theory"].items()
        if key not in ("studies", "hypergradient")
    }


def hypergradient_cell(settings: dict[str, Any], experiment: str) -> dict[str, Any]:
    """The cell whose training the study of the hypergradient looks at, of an experiment that names
    one.
    """
    return cell(
        settings, experiment, settings["experiments"][experiment]["hypergradient"]["method"]
    )


def hypergradient_options(settings: dict[str, Any], experiment: str) -> dict[str, Any]:
    """The options of an experiment's study of the hypergradient: its own over those of
    `theory.hypergradient`.
    """
    own = settings["experiments"][experiment]["hypergradient"]
    return {
        **settings["theory"]["hypergradient"],
        **{key: value for key, value in own.items() if key != "method"},
    }


def seeds(settings: dict[str, Any], experiment: str) -> list[int]:
    """The experiment's own seeds, or everybody's."""
    return settings["experiments"][experiment].get("seeds", settings["seeds"])


def cell_seeds(settings: dict[str, Any], the_cell: dict[str, Any]) -> list[int]:
    """The seeds that a cell is trained on: the experiment's, or, for a point of a search, the
    search's own.
    """
    search = search_of(settings, the_cell["experiment"])
    if search is None or the_cell["point"] is None:
        return seeds(settings, the_cell["experiment"])
    own: list[int] = search["seeds"]
    return own


def variant_id(experiment: dict[str, Any]) -> str:
    """Name and hash of a variant's recipe, unique to dataset and recipe."""
    return f"{experiment['variant']['name']}-{digest([experiment['dataset'], experiment['variant']])[:8]}"


def _check_cell(
    settings: dict[str, Any], the_cell: dict[str, Any], layers: list[tuple[str, dict[str, Any]]]
) -> None:
    name, config = the_cell["experiment"], the_cell["config"]
    source = next(source for source, layer in reversed(layers) if "experiments" in layer)
    key = f"{source}: experiments.{name}"
    if config["dataset"] not in catalogue.names():
        found = config["dataset"]
        raise InputError(
            f"{key}.dataset: found {found!r}; {parts.nearest(found, catalogue.names())}"
        )
    _check_fit(config, key)
    recipe = {k: v for k, v in config["variant"].items() if k != "name"}
    variants.check_recipe(recipe, f"{key}.variant")
    low, high = config["curvature"]["bounds"]
    start = config["curvature"]["start"]
    if not (math.isfinite(start) and low <= start <= high):
        raise InputError(
            f"{key}.methods: {the_cell['method']!r} starts at {start:g}; allowed is {low:g} to"
            f" {high:g}"
        )
    chosen = [
        ("weight rule", config["weights"]),
        ("curvature rule", config["rule"]),
        ("loss", config["loss"]),
    ]
    model = dict(config["model"])
    model_name = model.pop("name")
    if "head" in model:
        if "head" not in parts.parameters("model", model_name):
            raise InputError(
                f"{key}: found {the_cell['method']!r}; model {model_name!r} takes no head"
            )
        chosen.append(("head", model["head"]))
    for family, part in chosen:
        where = f"{key}: {family.split()[-1]} {part['rule']}"
        parts.check_name(family, part["rule"], where)
        parts.check_parameters(family, part["rule"], part["parameters"], where)
    parts.check_parameters("model", model_name, model, f"{key}.model")
    for method in candidates(settings, the_cell):  # they need not be among the methods
        _check_cell(settings, cell(settings, name, method), layers)
    rule = config["loss"]["rule"]
    if config["variant"]["recipe"] == "episodes" and "training" in parts.filled("loss", rule):
        fitting = [n for n in parts.names("loss") if "training" not in parts.filled("loss", n)]
        raise InputError(
            f"{key}.methods: found {the_cell['method']!r}, whose loss {rule!r} needs labelled"
            f" training rows, which episodes have not; {parts.nearest(rule, fitting)}"
        )
    reference = settings["experiments"][name]["reference"]
    others = settings["experiments"][name]["methods"]
    if reference not in others:
        raise InputError(
            f"{key}.reference: found {reference!r}; {parts.nearest(reference, others)}"
        )


def _check_rules(settings: dict[str, Any], layers: list[tuple[str, dict[str, Any]]]) -> None:
    """A loss and a head of one name could not be told apart in a method's name."""
    source = next(source for source, layer in reversed(layers) if "rules" in layer)
    for name in _named(settings, "losses"):
        if name in _named(settings, "heads"):
            raise InputError(
                f"{source}: rules.heads: found {name!r}, which is a loss; allowed is another name"
            )


def _check_spaces(settings: dict[str, Any], layers: list[tuple[str, dict[str, Any]]]) -> None:
    """Spaces are of rules that the configuration names, and hold what these take."""
    given: list[tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any]]]
    given = [("spaces", "spaces", settings.get("spaces") or {}, settings["curvature"], {})]
    given += [
        (
            "experiments",
            f"experiments.{name}.spaces",
            e["spaces"],
            settings["curvature"] | e.get("curvature", {}),
            e,
        )
        for name, e in settings["experiments"].items()
        if "spaces" in e
    ]
    for top, key, kinds, curvature, experiment in given:
        place, source = _source(layers, top)
        replaced = (
            top == "spaces" and _source(layers, "rules")[0] > place
        )  # a scale with other rules, not its spaces
        for kind, several in kinds.items():
            known = _named(settings, kind)
            for name, space in (several or {}).items():
                where = f"{source}: {key}.{kind}"
                if name not in known:
                    if replaced:
                        continue
                    allowed = parts.nearest(name, known)
                    raise InputError(
                        f"{where}: found {name!r}; {allowed}, as `rules.{kind}` names them"
                    )
                rule = rule_of(settings, experiment, kind, name, where)
                parts.check_name(spaces.KINDS[kind], rule["rule"], f"{source}: rules.{kind}.{name}")
                spaces.check(space or {}, kind, rule, curvature["bounds"], f"{where}.{name}")


def _source(layers: list[tuple[str, dict[str, Any]]], key: str) -> tuple[int, str]:
    """The last layer that gives a top-level key: its place and its name."""
    return max((place, source) for place, (source, layer) in enumerate(layers) if key in layer)


def _check_search(
    settings: dict[str, Any], the_cell: dict[str, Any], layers: list[tuple[str, dict[str, Any]]]
) -> None:
    """With a search on, every method tries the same number of points, and on other seeds than it is
    judged by.
    """
    name, config = the_cell["experiment"], the_cell["config"]
    if not searched(the_cell):
        return
    own = "search" in settings["experiments"][name]
    source = _source(layers, "experiments" if own else "search")[1]
    key = f"{source}: {f'experiments.{name}.search' if own else 'search'}"
    shared = sorted({*config["search"]["seeds"]} & {*seeds(settings, name)})
    if shared:
        raise InputError(
            f"{key}.seeds: found {shared[0]}, a seed that {name} is judged by; allowed are other"
            " seeds"
        )
    rule, points = config["rule"]["rule"], len(config["search"]["points"])
    if derived(the_cell) or parts.marked("curvature rule", rule, "searches"):
        raise InputError(
            f"{key}: found {the_cell['method']!r} in experiments.{name}.methods, whose rule"
            f" {rule!r} is several trainings on top of the {points} points of every method; allowed"
            " are rules that train once, for a grid an alias of fixed with `start` in its space,"
            " as fixed_searched"
        )
    for kind, part in named_parts(settings, name, the_cell["method"]).items():
        owner, space = space_of(settings, name, kind, part)
        bounds = config["curvature"]["bounds"]
        spaces.check(
            space, kind, spaces.part(config, kind), bounds, f"{source}: spaces.{kind}.{owner}"
        )


def _check_theory(settings: dict[str, Any], layers: list[tuple[str, dict[str, Any]]]) -> None:
    source = next(source for source, layer in reversed(layers) if "theory" in layer)
    for name, parameters in settings["theory"]["studies"].items():
        key = f"{source}: theory.studies"
        parts.check_name("study", name, key)
        parts.check_parameters("study", name, parameters or {}, f"{key}.{name}")
    for rule in settings["theory"]["measured"]:
        if rule not in settings["rules"]["curvature"]:
            known = parts.nearest(rule, settings["rules"]["curvature"])
            raise InputError(f"{source}: theory.measured: found {rule!r}; curvature rules {known}")
    for name, experiment in settings["experiments"].items():
        for method in experiment.get("informed", []):
            key = f"experiments.{name}.informed"
            the_cell = cell(settings, name, method)
            if experiment["variant"]["recipe"] in (
                *GRAPH_RECIPES,
                "episodes",
            ) or _trains_several_times(the_cell):
                allowed = "methods that train once, of experiments that classify images"
                raise InputError(
                    f"{key}: found {method!r} of recipe {experiment['variant']['recipe']!r};"
                    f" allowed are {allowed}"
                )
        if "hypergradient" in experiment:
            _check_hypergradient(settings, name, source)


def _trains_several_times(the_cell: dict[str, Any]) -> bool:
    rule = the_cell["config"]["rule"]["rule"]
    return derived(the_cell) or parts.marked("curvature rule", rule, "searches")


def _check_hypergradient(settings: dict[str, Any], name: str, source: str) -> None:
    """The study needs options, and a method whose training has a curvature and draws its batches
    from fixed rows.
    """
    key, experiment = f"experiments.{name}.hypergradient", settings["experiments"][name]
    if "hypergradient" not in settings["theory"]:
        raise InputError(f"{source}: theory.hypergradient: found nothing; {key} needs its options")
    found, known = experiment["hypergradient"]["method"], experiment["methods"]
    if found not in known:
        raise InputError(f"{key}.method: found {found!r}; {parts.nearest(found, known)}")
    the_cell = hypergradient_cell(settings, name)
    if the_cell["config"]["rule"]["rule"] == "euclidean" or _trains_several_times(the_cell):
        raise InputError(
            f"{key}.method: found {found!r}; allowed are methods with a curvature that train once"
        )
    recipe, augment = experiment["variant"]["recipe"], experiment["training"].get("augment")
    if recipe in GRAPH_RECIPES or augment:
        what = (
            f"training.augment {augment!r}"
            if augment
            else f"recipe {recipe!r}, whose batches are the whole graph"
        )
        raise InputError(
            f"{key}: found {what}; allowed are batches drawn from fixed images or episodes"
        )


def _check_fit(config: dict[str, Any], key: str) -> None:
    """Setting, dataset, recipe and model must be for the same kind of data: images, a graph, or
    episodes.
    """
    recipe, model = config["variant"]["recipe"], config["model"]["name"]
    if recipe in variants.names() and recipe not in RECIPES[config["setting"]]:
        allowed = " or ".join(RECIPES[config["setting"]])
        raise InputError(
            f"{key}.variant.recipe: found {recipe!r}; allowed with setting {config['setting']} is"
            f" {allowed}"
        )
    kind = catalogue.entry(config["dataset"]).kind
    if kind == "labels":
        raise InputError(
            f"{key}.dataset: found {config['dataset']!r}, a dataset of labels; allowed are images"
            " and graphs"
        )
    if (kind == "graph") != (recipe in GRAPH_RECIPES):
        raise InputError(
            f"{key}.variant.recipe: found {recipe!r}; {config['dataset']} is of kind {kind}"
        )
    parts.check_name("model", model, f"{key}.model.name")
    needs = parts.filled("model", model)
    takes = "episodes" if "shot" in needs else "graph" if needs["inputs"] == "int" else "images"
    gives = "episodes" if recipe == "episodes" else kind
    if takes != gives:
        raise InputError(
            f"{key}.model.name: found {model!r}, a model for {takes}; allowed is one for {gives}"
        )
    if gives != "images" and "augment" in config["training"]:
        found = config["training"]["augment"]
        raise InputError(
            f"{key}.training.augment: found {found!r}; allowed where images are classified, not"
            f" {gives}"
        )
