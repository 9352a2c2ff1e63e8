"""Search spaces: the trials of a method, drawn so that every method has as many.

Trial 0 is the configuration itself. In trial k each parameter of a named rule is drawn. The draw
depends only on `draw`, kind, rule, k and parameter. So methods that share a rule try the same
values. The values of a parameter are spread over its space. More trials leave the first ones as
they are.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from hsac import parts
from hsac.errors import InputError
from hsac.files import digest
from hsac.study.models import KINDS
from hsac.study.part import Part

FAMILIES = dict(zip(KINDS, ("weight rule", "curvature rule", "loss", "head"), strict=True))
START = "start"  # the initial curvature: of every curvature rule, though no parameter of its class
# parameters that are mappings of another part's own: its family, and the key that names it
NESTED = {"base_parameters": ("weight rule", "base"), "solver": ("solver", "name")}
CONFIGURED = "as configured"
LEVELS = 8  # the first 2^LEVELS trials of a parameter lie each in a stratum of its own

Point = dict[str, Any]  # "<kind>.<parameter>" -> value


@lru_cache(maxsize=None, typed=True)  # methods that share a rule draw the same numbers
def _share(k: int, *key: Any) -> float:
    """Return the k-th number in [0, 1) of van der Corput's sequence in base 2, scrambled by `key`.

    The scrambling is that of Owen, "Randomly permuted (t,m,s)-nets" (1995).
    """
    share = 0.0
    for level in range(LEVELS):
        flip = int(digest([*key, level, k % 2**level]), 16) & 1
        share += ((k >> level & 1) ^ flip) / 2 ** (level + 1)
    # Below the strata decide 53 of the digest's 64 bits, as many as a float holds.
    return share + (int(digest([*key, k]), 16) >> 11) / 2 ** (53 + LEVELS)


def value(spec: Any, k: int, *key: Any) -> Any:
    """Draw a value of a parameter's space.

    Args:
        spec: a list, or a mapping with `low` and `high`.
        k: the number of the draw, from 0.
        *key: what else decides the draw.

    Returns:
        A member of the list, uniformly; or a number between low and high, log-uniformly, to 3
        significant digits.
    """
    share = _share(k, *key)
    if isinstance(spec, list):
        return spec[int(share * len(spec))]
    low, high = float(spec["low"]), float(spec["high"])
    # Rounding to three digits may step out of the range.
    return min(max(float(f"{low * (high / low) ** share:.3g}"), low), high)


def drawn(space: Mapping[str, Any], draw: int, kind: str, owner: str, k: int) -> Point:
    """Return what trial k replaces in the parameters of a rule.

    Args:
        space: parameter -> list or range.
        draw: the number of the search's draw.
        kind: one of `KINDS`.
        owner: the name of the rule that the space belongs to.
        k: the number of the trial, from 1.
    """
    return {
        # Trial 0 is the configuration itself, so the first draw is that of trial 1.
        f"{kind}.{parameter}": value(spec, k - 1, draw, kind, owner, parameter)
        for parameter, spec in sorted(space.items())
    }


def text(point: Point, names: Mapping[str, str]) -> str:
    """Return a trial in words: `sgd.lr=0.05, hsac.start=0.3`.

    Args:
        point: what the trial replaces. Its order does not count: that of the words is the order of
            kinds and parameters.
        names: kind -> name of the method's rule of that kind.
    """
    keyed = [(key.partition("."), one) for key, one in point.items()]
    ordered = sorted((KINDS.index(kind), parameter, one) for (kind, _, parameter), one in keyed)
    words = [f"{names[KINDS[place]]}.{name}={shown(one)}" for place, name, one in ordered]
    return ", ".join(words) or CONFIGURED


def shown(one: Any) -> str:
    """Return a value in words.

    Args:
        one: a value of a trial; floats are shortened to six digits.
    """
    return f"{one:g}" if isinstance(one, float) else str(one)


def check(
    space: Mapping[str, Any], kind: str, rule: Part, bounds: tuple[float, float], key: str
) -> None:
    """Check that a space is of its rule's parameters and holds values that these may have.

    Args:
        space: parameter -> list or range.
        kind: one of `KINDS`.
        rule: the rule that the space is of.
        bounds: the curvature's, lowest and highest.
        key: where the space stands in the configuration.

    Raises:
        InputError: names `key.parameter` for an unknown parameter or a value it may not have.
    """
    for parameter, spec in space.items():
        where = f"{key}.{parameter}"
        listed = isinstance(spec, list)
        values = spec if listed else [spec["low"], spec["high"]]
        if not listed and spec["low"] >= spec["high"]:
            found = f"low {spec['low']} and high {spec['high']}"
            raise InputError(f"{where}: found {found}; allowed is low below high")
        if kind == "curvature" and parameter == START:
            _check_start(values, bounds, where)
            continue
        annotation = _annotation(FAMILIES[kind], parameter, rule, where)
        for one in values:
            if not parts.fits(one, annotation):
                raise InputError(f"{where}: found {one!r}; allowed is {annotation}")
        # A range gives fractions, which parameters that are integers cannot take.
        if not listed and not parts.fits(0.5, annotation):
            raise InputError(f"{where}: found low and high; allowed is a list of {annotation}")


def _check_start(values: list[Any], bounds: tuple[float, float], where: str) -> None:
    for one in values:
        if not (parts.fits(one, "float") and bounds[0] <= one <= bounds[1]):
            raise InputError(f"{where}: found {one!r}; allowed is {bounds[0]:g} to {bounds[1]:g}")


def _annotation(family: str, parameter: str, rule: Part, where: str) -> str:
    """Return what a parameter of a rule may be, or one of a mapping in it: `base_parameters.lr`."""
    name, _, inner = parameter.partition(".")
    known = parts.parameters(family, rule.name)
    if name not in known:
        more = [START] if family == "curvature rule" else []
        allowed = parts.nearest(name, [*known, *more])
        raise InputError(f"{where}: found an unknown parameter; {family} {rule.name!r}: {allowed}")
    if not inner:
        return known[name]
    given = rule.parameters.get(name) or ({} if name == "base_parameters" else None)
    if name not in NESTED or not isinstance(given, dict):
        mappings = ", ".join(NESTED)
        raise InputError(
            f"{where}: found a parameter within {name!r}; allowed is a parameter, or one of a"
            f" mapping ({mappings}) that the rule's own parameters give"
        )
    inner_family, names = NESTED[name]
    other = given["name"] if names == "name" else rule.parameters.get(names, "sgd")
    parts.check_name(inner_family, other, where)
    fields = parts.parameters(inner_family, other)
    if inner not in fields:
        allowed = parts.nearest(inner, fields)
        raise InputError(
            f"{where}: found an unknown parameter; {inner_family} {other!r}: {allowed}"
        )
    return fields[inner]
