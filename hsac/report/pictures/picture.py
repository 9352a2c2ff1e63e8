"""What the drawing of a dataset returns."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib.figure import Figure


class Picture(NamedTuple):
    """A picture of a dataset.

    Attributes:
        figure: The drawing.
        caption: What it shows, in sentences.
        numbers: What it shows, as written beside it.
    """

    figure: Figure
    caption: str
    numbers: Mapping[str, Any]
