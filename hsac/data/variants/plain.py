"""The dataset as it is, with a validation part cut from training."""

from typing import Any

from hsac.data.variants._parts import Arrays, capped, counts, cut


def build(
    arrays: Arrays, *, validation: float = 0.2, largest: int | None = None, draw: int = 0
) -> dict[str, Any]:
    """Cut ``validation`` of each class's groups from training; the test part is the dataset's.

    ``largest`` caps the training rows of a class. Returns words, counts and indices. Raises
    InputError for a share outside (0, 1), a cap below 1, or a dataset whose classes are not in
    every part.
    """
    rows = capped(arrays, cut(arrays, validation, draw), largest, draw)
    words = f"all classes as they come; {validation:g} of each class's training groups validate"
    if largest is not None:
        words += f"; at most {largest} training images a class"
    return {"words": f"{words} (draw {draw})", "counts": counts(arrays, rows), "indices": rows}
