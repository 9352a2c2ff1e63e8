"""A network's head on frozen features: a small problem whose lower level can be solved."""

import torch
from torch import Tensor

from hsac.errors import InputError
from hsac.rules.types import HeadLevel
from hsac.train.losses import BilevelLosses


def head_level(
    losses: BilevelLosses, w: Tensor, theta: Tensor, stream: str, rows: int
) -> HeadLevel:
    """Freeze the features of a fresh sample, and make the losses of the head alone on them.

    The head's problem is in float64, so that it can be solved to convergence.

    Args:
        losses: The losses, whose task draws.
        w: Weights (R, P).
        theta: θ (R, C).
        stream: The stream of random numbers, by name.
        rows: Size of the sample in training rows, rounded up to whole batches.

    Returns:
        The problem.

    Raises:
        InputError: The model has no head.
    """
    ensemble, task = losses.ensemble, losses.task
    place = ensemble.head.nonzero().squeeze(-1)
    if not len(place):
        raise InputError(
            "curvature rule: found one that solves the head, and the model has none; allowed is a"
            " model with a head"
        )
    times = min(task.batches, -(-rows // task.size))
    batch = task.batch(stream, times)
    with torch.no_grad():
        # A pass without a gradient, counted as a whole one.
        losses.count(times)
        features = task.embedded(ensemble, w, losses.tau(theta), batch)
    frozen, u = w.detach().double(), features.logits.double()
    share = times * len(place) / w.shape[1]

    def loss(head: Tensor, theta: Tensor) -> Tensor:
        losses.count(share)
        point = frozen.to(head).index_copy(1, place, head)
        logits = ensemble.call("logits", point, losses.tau(theta), u)
        return losses.of_outputs(features._replace(logits=logits))

    def objective(head: Tensor, theta: Tensor) -> Tensor:
        return loss(head, theta) + losses.weight_decay / 2 * (head * head).sum(-1)

    return HeadLevel(frozen[:, place], place, loss, objective, share)
