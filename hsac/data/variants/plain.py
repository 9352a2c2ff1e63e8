"""The dataset as it is, with a validation part cut from training."""

from hsac.data.variants._parts import (
    Arrays,
    VariantContent,
    cap_training,
    cut_meta,
    meta_words,
    part_sizes,
    split_rows,
)


def build(
    arrays: Arrays,
    *,
    validation: float = 0.2,
    largest: int | None = None,
    draw: int = 0,
    meta: int = 0,
) -> VariantContent:
    """Cut a validation part from training; the test part is the dataset's.

    Args:
        arrays: The dataset's arrays.
        validation: Share of each class's groups that validate.
        largest: Largest number of training rows of a class. None keeps all.
        draw: Number of the draw.
        meta: Images of each class in a meta set with true labels. 0 for none.

    Returns:
        Words, counts and indices.

    Raises:
        InputError: For a share outside (0, 1), a cap below 1, a dataset whose classes are not in
            every part, or a meta set that takes all rows of a class.
    """
    # Validation is cut before thinning, so that it is the same for every cap.
    rows = cut_meta(arrays, split_rows(arrays, validation, draw), meta, draw)
    rows = cap_training(arrays, rows, largest, draw)
    words = f"all classes as they come; {validation:g} of each class's training groups validate"
    if largest is not None:
        words += f"; at most {largest} training images a class"
    words += meta_words(meta)
    return VariantContent(f"{words} (draw {draw})", part_sizes(arrays, rows), rows)
