"""Maps of the Poincaré ball: forward, backward, double backward."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.case import Case, Run, at_least
from hsac import ball

SIZES = ((128, 16), (2048, 64))
TINY = ((6, 4),)
# All pairs of n points are as many numbers as n²·d, so they are taken of n / PAIRS points.
PAIRS = 8
# Points whose midpoint is taken.
GROUP = 8
ORDERS = ("forward", "backward", "double backward")
Map = Callable[[Tensor, Tensor, Tensor], Tensor]

# Functions of points x, y (n, d) and c ().
OURS: dict[str, Map] = {
    "exp0": lambda x, y, c: ball.expmap0(x, c),
    "log0": lambda x, y, c: ball.logmap0(x, c),
    "mobius_add": ball.mobius_add,
    "distance": ball.dist,
    "all-pairs distance": ball.pairwise_distance,
    "midpoint": lambda x, y, c: ball.midpoint(groups(x), c),
}


def groups(x: Tensor) -> Tensor:
    """Return points in groups, each of which has a midpoint: (n / GROUP, GROUP, d)."""
    return x.unflatten(0, (-1, GROUP))


def geoopt_maps() -> dict[str, Map]:
    """Return geoopt's functions, which take k = -c."""
    from geoopt.manifolds.stereographic import math

    return {
        "exp0": lambda x, y, c: math.expmap0(x, k=-c),
        "log0": lambda x, y, c: math.logmap0(x, k=-c),
        "mobius_add": lambda x, y, c: math.mobius_add(x, y, k=-c),
        "distance": lambda x, y, c: math.dist(x, y, k=-c),
        "all-pairs distance": lambda x, y, c: math.dist(x[:, None], y[None], k=-c),
        "midpoint": lambda x, y, c: math.weighted_midpoint(groups(x), k=-c, reducedim=[1]),
    }


def hypll_maps() -> dict[str, Map]:
    """Return HypLL's functions, without the cost of its tensor classes."""
    from hypll.manifolds.poincare_ball.math import diffgeom, stats

    return {
        "exp0": lambda x, y, c: diffgeom.expmap0(x, c),
        "log0": lambda x, y, c: diffgeom.logmap0(x, c),
        "mobius_add": lambda x, y, c: diffgeom.mobius_add(x, y, c),
        "distance": lambda x, y, c: diffgeom.dist(x, y, c),
        "all-pairs distance": lambda x, y, c: diffgeom.cdist(x[None], y[None], c)[0],
        "midpoint": lambda x, y, c: stats.midpoint(groups(x), c, batch_dim=1),
    }


PEERS: dict[str, Callable[[], dict[str, Map]]] = {"geoopt": geoopt_maps, "hypll": hypll_maps}


def cases(device: torch.device, tiny: bool) -> Iterator[Case]:
    """Yield each map and order of differentiation, small and large, against both peers."""
    for (n, d), name in product(TINY if tiny else SIZES, OURS):
        all_pairs = name == "all-pairs distance"
        points = max(n // PAIRS, GROUP) if all_pairs else n - n % GROUP or GROUP
        for order, (peer, maps) in product(ORDERS, PEERS.items()):
            yield Case(
                f"{name}, {order}, n={points} d={d}",
                peer,
                partial(pair, name, order, maps, points, d, device),
                at_least(2 if all_pairs else 1),
                tolerance=2e-3 if order == "double backward" else 2e-4,
                needs=peer,
            )


def pair(
    name: str, order: str, maps: Callable[[], dict[str, Map]], n: int, d: int, device: torch.device
) -> tuple[Run, Run]:
    """Build a map of both packages at the same points, of up to 0.8 of the ball's radius."""
    # x and y are distinct: geoopt has no gradient at x = y
    g = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(2, n, d, generator=g), dim=-1)
    c = torch.tensor(0.5)
    x, y = directions * torch.empty(2, n, 1).uniform_(0.1, 0.8, generator=g) / c.sqrt()
    leaves = [part.to(device).requires_grad_() for part in (x, y, c)]
    theirs = maps()[name]
    shape = theirs(*leaves).shape
    cotangent = torch.randn(shape, generator=g).to(device)
    both = (OURS[name], theirs)
    mine, peer = (partial(call, f, order, leaves, cotangent) for f in both)
    return mine, peer


def call(f: Map, order: str, leaves: list[Tensor], cotangent: Tensor) -> Any:
    """Return the value; its gradients in points and c; those of a weighted sum of these."""
    value = f(*leaves)
    if order == "forward":
        return value
    twice = order == "double backward"
    how = {"create_graph": twice, "materialize_grads": True}
    first = torch.autograd.grad(value, leaves, cotangent, **how)
    if not twice:
        return value, first
    weighted = sum((g * leaf.detach()).sum() for g, leaf in zip(first, leaves, strict=True))
    return value, first, torch.autograd.grad(weighted, leaves, materialize_grads=True)
