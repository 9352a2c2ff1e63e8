"""Search spaces: the points that a method tries, drawn so that every method tries as many and none
is left out.

Point 0 is the configuration itself. In point k each parameter of a named rule is drawn by a number
that only the draw, the rule's kind and name, k and the parameter decide: methods that share a rule
try the same values of it, in pairs. A parameter's values are spread over its space, and those of
few points stay what they are when there are more.
"""

import copy
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from hsac import parts
from hsac.errors import InputError
from hsac.files import digest

KINDS = {"weights": "weight rule", "curvature": "curvature rule", "losses": "loss", "heads": "head"}
START = (  # the curvature at the start: of every curvature rule, though no parameter of its class
    "start"
)
NESTED = {
    "base_parameters": ("weight rule", "base"),
    "solver": ("solver", "name"),
}  # mappings of another part's own
CONFIGURED = "as configured"
Point = dict[str, Any]  # "<kind>.<parameter>" -> value


LEVELS = 8  # the first 2^LEVELS points of a parameter lie each in a stratum of its own


@lru_cache(maxsize=None, typed=True)  # methods that share a rule draw the same numbers
def _share(k: int, *key: Any) -> float:
    """The k-th number in [0, 1) of the sequence of `key`: van der Corput's in base 2, scrambled
    (Owen, 1995).
    """
    share = 0.0
    for level in range(LEVELS):
        flip = int(digest([*key, level, k % 2**level]), 16) & 1
        share += ((k >> level & 1) ^ flip) / 2 ** (level + 1)
    return share + (int(digest([*key, k]), 16) >> 11) / 2 ** (53 + LEVELS)


def value(spec: Any, k: int, *key: Any) -> Any:
    """The k-th value that `key` draws: of a list uniformly; between low and high log-uniformly, to
    3 significant digits.
    """
    share = _share(k, *key)
    if isinstance(spec, list):
        return spec[int(share * len(spec))]
    low, high = float(spec["low"]), float(spec["high"])
    return min(max(float(f"{low * (high / low) ** share:.3g}"), low), high)


def drawn(space: Mapping[str, Any], draw: int, kind: str, owner: str, k: int) -> Point:
    """Point k's values of the space that belongs to the rule `owner` of a kind."""
    return {
        f"{kind}.{parameter}": value(spec, k - 1, draw, kind, owner, parameter)
        for parameter, spec in sorted(space.items())
    }


def replaced(config: dict[str, Any], point: Point) -> dict[str, Any]:
    """A cell's configuration with a point's values in it."""
    config = copy.deepcopy(config)
    for key, one in point.items():
        kind, _, parameter = key.partition(".")
        if (kind, parameter) == ("curvature", START):
            config["curvature"]["start"] = one
            continue
        *path, last = parameter.split(".")
        into = part(config, kind)["parameters"]
        for name in path:
            into[name] = into.get(name) or {}
            into = into[name]
        into[last] = one
    return config


def part(config: dict[str, Any], kind: str) -> dict[str, Any]:
    """{rule, parameters} of a kind in a cell's configuration."""
    found: dict[str, Any] = {
        "weights": lambda: config["weights"],
        "curvature": lambda: config["rule"],
        "losses": lambda: config["loss"],
        "heads": lambda: config["model"]["head"],
    }[kind]()
    return found


def text(point: Point, names: Mapping[str, str]) -> str:
    """A point in words, by the names that the rules of each kind have: `sgd.lr=0.05,
    hsac.start=0.3`. The order is that of kinds and parameters, however the point was stored.
    """
    kinds = list(KINDS)
    parts = sorted(
        (kinds.index(key.partition(".")[0]), key.partition(".")[2], one)
        for key, one in point.items()
    )
    words = [f"{names[kinds[kind]]}.{parameter}={shown(one)}" for kind, parameter, one in parts]
    return ", ".join(words) or CONFIGURED


def shown(one: Any) -> str:
    """A value in words."""
    return f"{one:g}" if isinstance(one, float) else str(one)


def check(
    space: Mapping[str, Any], kind: str, rule: dict[str, Any], bounds: tuple[float, float], key: str
) -> None:
    """Raises InputError naming `key.parameter` unless every parameter of the space is one of the
    rule's and may have every value of it. `rule`: {rule, parameters}; `bounds`: of the curvature.
    """
    family = KINDS[kind]
    for parameter, spec in space.items():
        where = f"{key}.{parameter}"
        values = spec if isinstance(spec, list) else [spec["low"], spec["high"]]
        if not isinstance(spec, list) and spec["low"] >= spec["high"]:
            raise InputError(
                f"{where}: found low {spec['low']} and high {spec['high']}; allowed is low below"
                " high"
            )
        if kind == "curvature" and parameter == START:
            for one in values:
                if not (parts.fits(one, "float") and bounds[0] <= one <= bounds[1]):
                    raise InputError(
                        f"{where}: found {one!r}; allowed is {bounds[0]:g} to {bounds[1]:g}"
                    )
            continue
        annotation = _annotation(family, parameter, rule, kind == "curvature", where)
        for one in values:
            if not parts.fits(one, annotation):
                raise InputError(f"{where}: found {one!r}; allowed is {annotation}")
        if not isinstance(spec, list) and not parts.fits(0.5, annotation):
            raise InputError(f"{where}: found low and high; allowed is a list of {annotation}")


def _annotation(family: str, parameter: str, rule: dict[str, Any], starts: bool, where: str) -> str:
    """What values a parameter of a rule, or of a mapping in it (`base_parameters.lr`), may have."""
    name, _, inner = parameter.partition(".")
    known = parts.parameters(family, rule["rule"])
    if name not in known:
        allowed = parts.nearest(name, [*known, *([START] if starts else [])])
        raise InputError(
            f"{where}: found an unknown parameter; {family} {rule['rule']!r}: {allowed}"
        )
    if not inner:
        return known[name]
    given = rule["parameters"].get(name) or ({} if name == "base_parameters" else None)
    if name not in NESTED or not isinstance(given, dict):
        allowed = (
            f"a parameter, or one of a mapping ({', '.join(NESTED)}) that the rule's own parameters"
            " give"
        )
        raise InputError(f"{where}: found a parameter within {name!r}; allowed is {allowed}")
    inner_family, names = NESTED[name]
    other = given["name"] if names == "name" else rule["parameters"].get(names, "sgd")
    parts.check_name(inner_family, other, where)
    fields = parts.parameters(inner_family, other)
    if inner not in fields:
        raise InputError(
            f"{where}: found an unknown parameter; {inner_family} {other!r}:"
            f" {parts.nearest(inner, fields)}"
        )
    return fields[inner]
