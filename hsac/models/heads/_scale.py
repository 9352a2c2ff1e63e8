"""The scale of logits, which every head has: fixed, or learned at a rate of its own."""

import torch
from torch import Tensor

from hsac.models.layers import Params
from hsac.parts import require

SCALES = ("fixed", "learned")


def check_scale(scale: str, start: float, rate: float) -> None:
    """Refuse a scale that is no kind, or a number that is not above 0.

    Args:
        scale: fixed or learned.
        start: The scale's start.
        rate: The rate at which it is learned.

    Raises:
        InputError: One of them is refused. The message names it.
    """
    require(scale in SCALES, "scale", scale, " or ".join(SCALES))
    require(start > 0, "start", start, "a number above 0")
    require(rate > 0, "rate", rate, "a number above 0")


def scale_start(scale: str, start: float, rate: float) -> Params:
    """Return the weight s of a learned scale, which is exp(rate·s).

    A step of Adam moves the scale's logarithm `rate` times as far as another weight, one of SGD
    rate² times.

    Args:
        scale: fixed or learned.
        start: The scale's start.
        rate: The rate at which it is learned.

    Returns:
        {"s": a scalar} at its start, {} for a fixed scale.
    """
    return {} if scale == "fixed" else {"s": torch.tensor(start, dtype=torch.float64).log() / rate}


def scaled(logits: Tensor, params: Params, start: float, rate: float) -> Tensor:
    """Multiply logits with the scale.

    Curvature acts as a scale too (Guo et al., ICML 2017, on temperatures), so a learned one tells
    what curvature does beyond that.

    Args:
        logits: Logits (B, K).
        params: The head's parameters.
        start: The scale, where it is fixed.
        rate: The rate at which it is learned.

    Returns:
        Logits (B, K).
    """
    if "s" in params:
        # The exponential keeps the scale above 0 for every s.
        return logits * (rate * params["s"]).exp()
    return logits if start == 1 else logits * start
