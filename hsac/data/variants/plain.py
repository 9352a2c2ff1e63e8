"""The dataset as it is, with a validation part cut from training."""

from hsac.data.variants._parts import (
    Arrays,
    VariantContent,
    cap_training,
    part_sizes,
    split_rows,
)


def build(
    arrays: Arrays, *, validation: float = 0.2, largest: int | None = None, draw: int = 0
) -> VariantContent:
    """Cut a validation part from training; the test part is the dataset's.

    Args:
        arrays: The dataset's arrays.
        validation: Share of each class's groups that validate.
        largest: Largest number of training rows of a class. None keeps all.
        draw: Number of the draw.

    Returns:
        Words, counts and indices.

    Raises:
        InputError: For a share outside (0, 1), a cap below 1, or a dataset whose classes are not in
            every part.
    """
    # Validation is cut before thinning, so that it is the same for every cap.
    rows = cap_training(arrays, split_rows(arrays, validation, draw), largest, draw)
    words = f"all classes as they come; {validation:g} of each class's training groups validate"
    if largest is not None:
        words += f"; at most {largest} training images a class"
    return VariantContent(f"{words} (draw {draw})", part_sizes(arrays, rows), rows)
