"""Check that the keys of a configuration hold what JSON can hold, before anything looks at them.

A study is hashed, written and read back as JSON. YAML has more: numbers that are not finite, and
keys that are no texts. So has an `override` that a program gives.
"""

import math
from collections.abc import Iterator
from typing import Any

DEPTH = 30  # of values in each other, ten times as deep as any shipped configuration
LONGEST = 200  # characters of a key, which error lines show
LARGEST = 2**63 - 1  # integers beyond are floats to some readers of JSON


def problems(value: Any, key: str = "", depth: int = 0) -> Iterator[str]:
    """Yield a line for each value or key that JSON cannot hold.

    Args:
        value: the keys of a configuration, or a value in them.
        key: where it stands, "" for the configuration itself.
        depth: how many values it is in.

    Yields:
        "key: found …; allowed is …".
    """
    if depth > DEPTH:
        yield f"{key}: found values too deep in each other; allowed are {DEPTH} of them"
    elif isinstance(value, dict):
        for name, inner in value.items():
            if found := _faulty_key(name):
                yield f"{key}: {found}".removeprefix(": ")
            else:
                yield from problems(inner, f"{key}.{name}".removeprefix("."), depth + 1)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from problems(inner, f"{key}.{place}", depth + 1)
    elif allowed := _allowed_instead(value):
        yield f"{key}: found {_shown(value)}; allowed is {allowed}"


def _faulty_key(name: Any) -> str:
    """Say what is wrong with a key, "" where nothing is."""
    if not isinstance(name, str) or not name.isprintable():
        return f"found the key {name!r}; allowed is a text of one line"
    if len(name) > LONGEST:
        return f"found a key of {len(name)} characters; allowed are {LONGEST}"
    return ""


def _allowed_instead(value: Any) -> str:
    """Say what is allowed where a value, no container, is not; "" where it is."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return "" if abs(value) <= LARGEST else "an integer of 64 bits"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "a finite number"
    if isinstance(value, str):
        return "" if _is_text(value) else "a text in UTF-8 without NUL"
    return "what JSON can hold"


def _is_text(value: str) -> bool:
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:  # half of a pair, as "\ud800" in JSON
        return False


def _shown(value: Any) -> str:
    # Python writes integers of some thousand digits at most.
    return f"{value.bit_length()} bits" if isinstance(value, int) else repr(value)
