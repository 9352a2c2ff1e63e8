"""The pixels of an image set as they are."""

from hsac.frozen.features._content import Arrays, FeatureContent, flat, of_images


def build(arrays: Arrays) -> FeatureContent:
    """Take the pixels for features.

    Args:
        arrays: The dataset's arrays.

    Returns:
        The features, as many as a picture has numbers.

    Raises:
        InputError: All pictures of the pool are the same.
    """
    x = flat(arrays["image"])
    return of_images(arrays, f"{x.shape[1]} pixels", x)
