"""Maps of the Poincaré ball: forward, backward, double backward."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Case, Run, at_least
from hsac import ball

SIZES = ((128, 16), (2048, 64))
TINY = ((6, 4),)
PAIRS = 8  # all pairs of n points are as many numbers as n²·d: fewer points
GROUP = 8  # points whose midpoint is taken
ORDERS = ("forward", "backward", "double backward")
Map = Callable[[Tensor, Tensor, Tensor], Tensor]

OURS: dict[str, Map] = {  # of points x, y (n, d) and c
    "exp0": lambda x, y, c: ball.expmap0(x, c),
    "log0": lambda x, y, c: ball.logmap0(x, c),
    "mobius_add": ball.mobius_add,
    "distance": ball.dist,
    "all-pairs distance": ball.pairwise_distance,
    "midpoint": lambda x, y, c: ball.midpoint(x.unflatten(0, (-1, GROUP)), c),
}


def geoopt_maps() -> dict[str, Map]:
    """geoopt's functions of (points, k)."""
    from geoopt.manifolds.stereographic import math

    return {
        "exp0": lambda x, y, c: math.expmap0(x, k=-c),
        "log0": lambda x, y, c: math.logmap0(x, k=-c),
        "mobius_add": lambda x, y, c: math.mobius_add(x, y, k=-c),
        "distance": lambda x, y, c: math.dist(x, y, k=-c),
        "all-pairs distance": lambda x, y, c: math.dist(x[:, None], y[None], k=-c),
        "midpoint": lambda x, y, c: math.weighted_midpoint(
            x.unflatten(0, (-1, GROUP)), k=-c, reducedim=[1]
        ),
    }


def hypll_maps() -> dict[str, Map]:
    """HypLL's functions of (points, c), without the cost of its tensor classes."""
    from hypll.manifolds.poincare_ball.math import diffgeom, stats

    return {
        "exp0": lambda x, y, c: diffgeom.expmap0(x, c),
        "log0": lambda x, y, c: diffgeom.logmap0(x, c),
        "mobius_add": lambda x, y, c: diffgeom.mobius_add(x, y, c),
        "distance": lambda x, y, c: diffgeom.dist(x, y, c),
        "all-pairs distance": lambda x, y, c: diffgeom.cdist(x[None], y[None], c)[0],
        "midpoint": lambda x, y, c: stats.midpoint(x.unflatten(0, (-1, GROUP)), c, batch_dim=1),
    }


PEERS: dict[str, Callable[[], dict[str, Map]]] = {"geoopt": geoopt_maps, "hypll": hypll_maps}


def cases(device: torch.device, tiny: bool) -> Iterator[Case]:
    """Each map and order of differentiation, small and large, against both."""
    for n, d in TINY if tiny else SIZES:
        for name in OURS:
            points = (
                max(n // PAIRS, GROUP) if name == "all-pairs distance" else n - n % GROUP or GROUP
            )
            for order in ORDERS:
                for peer, maps in PEERS.items():
                    yield Case(
                        f"{name}, {order}, n={points} d={d}",
                        peer,
                        partial(pair, name, order, maps, points, d, device),
                        at_least(2 if name == "all-pairs distance" else 1),
                        tolerance=2e-3 if order == "double backward" else 2e-4,
                        needs=peer,
                    )


def pair(
    name: str, order: str, maps: Callable[[], dict[str, Map]], n: int, d: int, device: torch.device
) -> tuple[Run, Run]:
    """The same points of length up to 0.8 of the radius for both; distinct, since geoopt has no
    gradient at x = y.
    """
    g = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(2, n, d, generator=g), dim=-1)
    c = torch.tensor(0.5)
    x, y = directions * torch.empty(2, n, 1).uniform_(0.1, 0.8, generator=g) / c.sqrt()
    leaves = [part.to(device).requires_grad_() for part in (x, y, c)]
    theirs = maps()[name]
    shape = theirs(*leaves).shape
    cotangent = torch.randn(shape, generator=g).to(device)
    return partial(call, OURS[name], order, leaves, cotangent), partial(
        call, theirs, order, leaves, cotangent
    )


def call(f: Map, order: str, leaves: list[Tensor], cotangent: Tensor) -> Any:
    """The value; with it the gradients in points and c; and those of a weighted sum of these."""
    value = f(*leaves)
    if order == "forward":
        return value
    twice = order == "double backward"
    first = torch.autograd.grad(
        value, leaves, cotangent, create_graph=twice, materialize_grads=True
    )
    if not twice:
        return value, first
    weighted = sum((g * leaf.detach()).sum() for g, leaf in zip(first, leaves, strict=True))
    return value, first, torch.autograd.grad(weighted, leaves, materialize_grads=True)
