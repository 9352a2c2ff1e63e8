"""Wrong labels in training and validation; the test part stays clean."""

from collections.abc import Mapping
from typing import Any

from hsac import parts
from hsac.data.noise import Noise
from hsac.data.variants._parts import (
    Arrays,
    VariantContent,
    cap_training,
    cut_meta,
    generator,
    meta_words,
    part_sizes,
    split_rows,
)

FAMILY = "noise kind"


def kind_parameters(given: Mapping[str, Any], key: str) -> dict[str, bool]:
    """Return the parameters that the kind named under ``kind`` adds to the recipe's own.

    Args:
        given: The recipe's parameters as given.
        key: The key of the recipe, which error lines begin with.

    Returns:
        The parameters and whether they must be given. None where no kind is named.

    Raises:
        InputError: For an unknown kind.
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
    meta: int = 0,
    **parameters: Any,
) -> VariantContent:
    """Cut validation as ``plain`` does, then corrupt the labels of training and validation.

    Args:
        arrays: The dataset's arrays.
        kind: A file of ``hsac/data/noise``.
        validation: Share of each class's groups that validate.
        largest: Largest number of training rows of a class. None keeps all.
        draw: Number of the draw.
        meta: Images of each class in a meta set with true labels. 0 for none.
        **parameters: Parameters of the kind.

    Returns:
        Words, counts, indices, and the labels as given for train and validation. The counts have
        ``wrong``, the labels of each part that differ from the truth, and ``wrong_share`` of both
        together where the kind does not fix it.

    Raises:
        InputError: For an unknown kind, for parameters that it does not take, a share outside (0,
            1), a cap below 1, or a meta set that takes all rows of a class.
    """
    noise = _noise(kind, parameters)
    rows = cut_meta(arrays, split_rows(arrays, validation, draw), meta, draw)
    rows = cap_training(arrays, rows, largest, draw)
    labels, wrong = {}, {}
    for part in ("train", "validation"):
        # The second is the same for both parts: noise that depends on the image is one function.
        streams = generator(draw, f"noise {part}"), generator(draw, "noise")
        labels[part] = noise.corrupt(arrays, rows[part], *streams)
        # Counted, not computed from the rate: a drawn label can be the true one.
        wrong[part] = int((labels[part] != arrays["label"][rows[part]]).sum())
    counts: dict[str, Any] = {**part_sizes(arrays, rows), "wrong": wrong}
    if not noise.exact:
        noisy = sum(len(given) for given in labels.values())
        counts["wrong_share"] = round(sum(wrong.values()) / noisy, 4)
    cap = "" if largest is None else f"; at most {largest} training images a class"
    held_out = f"{validation:g} of each class's training groups validate{cap}"
    words = f"{noise.words}; test clean; {held_out}{meta_words(meta)} (draw {draw})"
    return VariantContent(words, counts, rows, labels)


def _noise(kind: str, parameters: Mapping[str, Any]) -> Noise:
    parts.check_name(FAMILY, kind, "kind")
    needed = parts.filled(FAMILY, kind)
    own = {name: value for name, value in parameters.items() if name not in needed}
    filled = {name: parameters[name] for name in needed if name in parameters}
    noise: Noise = parts.build(FAMILY, kind, own, "label_noise", **filled)
    return noise
