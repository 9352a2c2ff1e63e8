"""Wrong labels in training and validation; the test part stays clean."""

from collections.abc import Mapping
from typing import Any

from hsac import parts
from hsac.data.noise import Noise
from hsac.data.variants._parts import Arrays, capped, counts, cut, generator

FAMILY = "noise kind"


def more(given: Mapping[str, Any], key: str) -> dict[str, bool]:
    """The parameters of the kind that is named under ``kind`` and whether they must be given.
    Raises InputError beginning with ``key`` for an unknown kind.
    """
    if "kind" not in given:
        return {}
    kind = str(given["kind"])
    parts.check_name(FAMILY, kind, f"{key}.kind")
    needed = parts.filled(FAMILY, kind)
    return {name: name in needed for name in (*needed, *parts.parameters(FAMILY, kind))}


def build(
    arrays: Arrays,
    *,
    kind: str,
    validation: float = 0.2,
    largest: int | None = None,
    draw: int = 0,
    **parameters: Any,
) -> dict[str, Any]:
    """Cut validation as ``plain`` does, then corrupt the labels of training and validation.

    ``kind`` names a file of ``hsac/data/noise``, ``parameters`` are that kind's. Returns words,
    counts (with wrong, the labels of each part that differ from the truth, and wrong_share of both
    together where the kind does not fix it), indices, and labels as given for train and validation.
    Raises InputError for an unknown kind, for parameters that it does not take, a share outside (0,
    1) or a cap below 1.
    """
    noise = _noise(kind, parameters)
    rows = capped(arrays, cut(arrays, validation, draw), largest, draw)
    noisy = {part: rows[part] for part in ("train", "validation")}
    given = {
        part: noise.corrupt(
            arrays, index, generator(draw, f"noise {part}"), generator(draw, "noise")
        )
        for part, index in noisy.items()
    }
    wrong = {
        part: int((given[part] != arrays["label"][index]).sum()) for part, index in noisy.items()
    }
    share = round(sum(wrong.values()) / sum(map(len, noisy.values())), 4)
    return {
        "words": (
            f"{noise.words}; test clean; {validation:g} of each class's training groups"
            f" validate{_cap(largest)} (draw {draw})"
        ),
        "counts": {
            **counts(arrays, rows),
            "wrong": wrong,
            **({} if noise.exact else {"wrong_share": share}),
        },
        "indices": rows,
        "labels": given,
    }


def _noise(kind: str, parameters: Mapping[str, Any]) -> Noise:
    parts.check_name(FAMILY, kind, "kind")
    needed = parts.filled(FAMILY, kind)
    own = {name: value for name, value in parameters.items() if name not in needed}
    noise: Noise = parts.build(
        FAMILY,
        kind,
        own,
        "label_noise",
        **{name: parameters[name] for name in needed if name in parameters},
    )
    return noise


def _cap(largest: int | None) -> str:
    return "" if largest is None else f"; at most {largest} training images a class"
