"""Poincaré MLR on tangent features, forward and backward."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.case import FASTER, SLOWER, Case, Run, Target, at_least, at_most
from hsac.ball import expmap0
from hsac.models.heads.poincare_mlr import PoincareMlr

SIZES = ((128, 16, 10), (256, 64, 100), (512, 256, 300), (1024, 512, 1000))
TINY = ((8, 4, 3),)
# B·d·K from which a size counts as one of the larger.
LARGE = 512 * 256 * 300
# Most numbers of one of geoopt's (B, K, d) intermediates: it needs tens of GiB for a larger batch,
# which is therefore cut.
ROOM = 2**24

Size = tuple[int, int, int]
Build = Callable[[int, int, int, torch.device], tuple[Run, Run]]


def cases(device: torch.device, tiny: bool) -> Iterator[Case]:
    """Yield each size against geoopt's hyperplanes, HypLL's, and a linear layer."""
    for b, d, k in TINY if tiny else SIZES:
        fits = min(b, ROOM // (d * k))
        yield from sized((fits, d, k), "geoopt", geoopt, at_least(10), device)
        yield from sized((b, d, k), "hypll", hypll, at_least(2), device)
        target = at_most(4) if b * d * k >= LARGE else SLOWER
        yield from sized((b, d, k), "linear", linear, target, device)


def sized(
    size: Size, peer: str, build: Build, target: Target, device: torch.device
) -> Iterator[Case]:
    """Yield the seconds and the peak memory of one size against one peer."""
    same = peer != "linear"
    seconds = Case(
        "B={} d={} K={}".format(*size),
        peer,
        partial(build, *size, device),
        target,
        tolerance=1e-4 if same else None,
        needs=peer if same else "",
    )
    yield seconds
    yield replace(seconds, target=FASTER if same else SLOWER, unit="MiB")


def drawn(
    b: int, d: int, k: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Draw features, normals, offsets, curvature and cotangent.

    Returns:
        u (B, d) of length about 1, z (K, d), r (K,), c (), cotangent (B, K).
    """
    g = torch.Generator().manual_seed(0)
    u, z, g_out = (torch.randn(*shape, generator=g) for shape in ((b, d), (k, d), (b, k)))
    r, c = 0.3 * torch.randn(k, generator=g), torch.tensor(0.5)
    leaves = (u / d**0.5, z / d**0.5, r, c)
    return *(x.to(device).requires_grad_() for x in leaves), g_out.to(device)  # type: ignore[return-value]


def ours(
    u: Tensor, z: Tensor, r: Tensor, c: Tensor, cotangent: Tensor, shown: int
) -> tuple[Tensor, ...]:
    """Return logits and the first `shown` of the gradients in (u, c, z, r)."""
    head = PoincareMlr(z.shape[1], z.shape[0])
    logits = head.forward({"z": z, "r": r}, c, u)
    return logits, *torch.autograd.grad(logits, (u, c, z, r), cotangent)[:shown]


def geoopt(b: int, d: int, k: int, device: torch.device) -> tuple[Run, Run]:
    """Build geoopt's hyperplanes, given by points p and normals a.

    They are the same hyperplanes, so logits and the features' gradient agree. Gradients in p and a
    have no counterpart.
    """
    from hsac.models.heads.geoopt_mlr import GeooptMlr

    u, z, r, c, cotangent = drawn(b, d, k, device)
    with torch.no_grad():
        p = expmap0(r[:, None] * torch.nn.functional.normalize(z, dim=-1), c)
        a = z * (1 - c * p.square().sum(-1, keepdim=True))
    params = {"p": p.requires_grad_(), "a": a.requires_grad_()}
    head = GeooptMlr(d, k)

    def theirs() -> tuple[Tensor, Tensor]:
        logits = head.forward(params, c, u)
        return logits, torch.autograd.grad(logits, (u, c, p, a), cotangent)[0]

    return lambda: ours(u, z, r, c, cotangent, shown=1), theirs


def hypll(b: int, d: int, k: int, device: torch.device) -> tuple[Run, Run]:
    """Build the part of HypLL's `HLinear` that gives logits, `expmap` and `hyperplane_dists`."""
    from hypll.manifolds.euclidean import Euclidean
    from hypll.manifolds.poincare_ball import Curvature, PoincareBall
    from hypll.tensors import ManifoldParameter, TangentTensor

    u, z, r, c, cotangent = drawn(b, d, k, device)
    free = {"constraining_strategy": torch.nn.Identity(), "requires_grad": True}
    ball = PoincareBall(Curvature(c.item(), **free).to(device))
    weight = ManifoldParameter(z.detach().mT.contiguous(), manifold=Euclidean(), man_dim=0)

    def theirs() -> tuple[Tensor, ...]:
        x = ball.expmap(TangentTensor(u, manifold=ball))
        logits = ball.hyperplane_dists(x, weight, r)
        g = torch.autograd.grad(logits, (u, ball.c.value, weight.tensor, r), cotangent)
        return logits, g[0], g[1], g[2].mT, g[3]

    return lambda: ours(u, z, r, c, cotangent, shown=4), theirs


def linear(b: int, d: int, k: int, device: torch.device) -> tuple[Run, Run]:
    """Build the operation of `torch.nn.Linear`: another function, as the limit of speed."""
    u, z, r, c, cotangent = drawn(b, d, k, device)

    def theirs() -> tuple[Tensor, ...]:
        logits = torch.nn.functional.linear(u, z, r)
        return logits, *torch.autograd.grad(logits, (u, z, r), cotangent)

    return lambda: ours(u, z, r, c, cotangent, shown=4), theirs
