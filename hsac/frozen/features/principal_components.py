"""Principal components of the pixels of an image set."""

from hsac.frozen.features import _content
from hsac.frozen.features._content import Arrays, FeatureContent


def build(arrays: Arrays, *, components: int) -> FeatureContent:
    """Project the pixels onto their principal components, fitted on the pool alone.

    Args:
        arrays: The dataset's arrays.
        components: How many, at most the rank of the pixels.

    Returns:
        The features.

    Raises:
        InputError: ``components`` is no integer from 1, or above the rank.
    """
    x, split = _content.flat(arrays["image"]), arrays["split"]
    inside = _content.pool(split, arrays["label"])
    made = _content.principal_components(x, inside, components)
    words = f"{components} principal components of the pixels, fitted without test rows"
    return _content.of_images(arrays, words, made)
