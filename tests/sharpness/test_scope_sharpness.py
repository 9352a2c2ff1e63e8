"""Scope sharpness: the ascent, the scope, the objectives."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hsac.rules.curvature.hsac import Hsac
from hsac.sharpness import HERE, Perturbation, ascend, perturbed_loss, scope_scale

F64 = torch.float64
RUNS, SIZE = 3, 6


def oracle(loss: Callable[[Tensor], Tensor]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Losses and gradients, as `ascend` wants them."""

    def gradient(w: Tensor) -> tuple[Tensor, Tensor]:
        w = w.detach().requires_grad_()
        value = loss(w)
        return value.detach(), torch.autograd.grad(value.sum(), w)[0]

    return gradient


def quadratic(seed: int, convex: bool = False) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """½ wᵀHw + b·w for each run, with H and b."""
    g = torch.Generator().manual_seed(seed)
    h = torch.randn(RUNS, SIZE, SIZE, generator=g, dtype=F64)
    h = h @ h.mT if convex else h + h.mT
    b = torch.randn(RUNS, SIZE, generator=g, dtype=F64)
    return lambda w: 0.5 * torch.einsum("rp,rpq,rq->r", w, h, w) + (b * w).sum(-1), h, b


def network(seed: int) -> Callable[[Tensor], Tensor]:
    """A tiny ReLU network's loss: 6 weights, 4 points."""
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(4, 2, generator=g, dtype=F64), torch.randn(4, generator=g, dtype=F64)
    return lambda w: (
        ((x @ w[:, :4].view(-1, 2, 2)).relu() @ w[:, 4:, None] - y[:, None]).square().mean((1, 2))
    )


def start(seed: int) -> Tensor:
    return torch.randn(RUNS, SIZE, generator=torch.Generator().manual_seed(seed + 1000), dtype=F64)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["euclidean", "adaptive"]),
    st.floats(0.01, 3),
    st.booleans(),
    st.booleans(),
)
def test_more_steps_never_find_less(
    seed: int, scope: str, radius: float, net: bool, warm: bool
) -> None:
    """The ascent stays in the scope, and more steps never find less."""
    loss = network(seed) if net else quadratic(seed)[0]
    w = start(seed)
    scale = scope_scale(w, scope)
    earlier = (
        radius * scale * torch.nn.functional.normalize(start(seed + 1), dim=-1) if warm else None
    )
    reached = None
    for steps in (1, 2, 3, 5, 8):
        e = ascend(oracle(loss), w, scale, radius, steps, earlier)
        length = (e / scale).norm(dim=-1)
        dead = (length == 0) & net  # every ReLU off at a point visited: nowhere to go from there
        torch.testing.assert_close(
            length[~dead], torch.full_like(length, radius)[~dead], rtol=1e-9, atol=0
        )
        value = loss(w + e)
        if reached is not None:
            assert (value >= reached - 1e-12 * reached.abs()).all()
        reached = value


def test_one_euclidean_step_is_sams() -> None:
    loss, _, _ = quadratic(0)
    w = start(0)
    g = oracle(loss)(w)[1]
    found = ascend(oracle(loss), w, scope_scale(w, "euclidean"), 0.3)
    torch.testing.assert_close(found, 0.3 * g / g.norm(dim=-1, keepdim=True), rtol=1e-14, atol=0)


def test_one_adaptive_step_is_adaptive_sams() -> None:
    loss, _, _ = quadratic(0)
    w = start(0)
    t, g = w.abs() + 0.01, oracle(loss)(w)[1]
    found = ascend(oracle(loss), w, scope_scale(w, "adaptive"), 0.3)
    torch.testing.assert_close(
        found, 0.3 * t * t * g / (t * g).norm(dim=-1, keepdim=True), rtol=1e-12, atol=0
    )


def test_many_steps_find_leading_eigenvector() -> None:
    """Many steps without a linear term find the leading eigenvector."""
    _, h, _ = quadratic(3, convex=True)
    loss = lambda w: 0.5 * torch.einsum("rp,rpq,rq->r", w, h, w)  # noqa: E731
    w, radius = torch.zeros(RUNS, SIZE, dtype=F64), 0.7
    seed = 0.7 * torch.nn.functional.normalize(start(3), dim=-1)
    e = ascend(oracle(loss), w, torch.ones_like(w), radius, 300, seed)
    values, vectors = torch.linalg.eigh(h)
    cosine = (e * vectors[..., -1]).sum(-1).abs() / radius
    torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=1e-6, atol=0)
    torch.testing.assert_close(loss(w + e), 0.5 * radius**2 * values[:, -1], rtol=1e-8, atol=0)


def test_many_steps_reach_closed_form_maximum() -> None:
    """Many steps reach the closed form maximum of a convex quadratic.

    max of g·e + ½ eᵀHe on |e| = ρ: (ηI - H)e = g with η above H's spectrum.
    """
    loss, h, _ = quadratic(4, convex=True)
    w, radius = start(4), 0.5
    g = oracle(loss)(w)[1]
    values, vectors = torch.linalg.eigh(h)
    coordinates = torch.einsum("rpq,rp->rq", vectors, g)
    low, high = values[:, -1:], values[:, -1:] + g.norm(dim=-1, keepdim=True) / radius
    for _ in range(200):
        middle = (low + high) / 2
        long = (coordinates / (middle - values)).norm(dim=-1, keepdim=True) > radius
        low, high = torch.where(long, middle, low), torch.where(long, high, middle)
    want = torch.einsum("rpq,rq->rp", vectors, coordinates / (high - values))
    found = ascend(oracle(loss), w, torch.ones_like(w), radius, 500)
    torch.testing.assert_close(loss(w + found), loss(w + want), rtol=1e-9, atol=0)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["euclidean", "adaptive"]),
    st.floats(0.01, 3),
    st.booleans(),
)
def test_radius_per_layer_holds_in_each(seed: int, scope: str, radius: float, warm: bool) -> None:
    """A radius per layer holds in every layer."""
    loss, layers = quadratic(seed)[0], (1, 3, 2)
    w = start(seed)
    scale = scope_scale(w, scope)
    earlier = 0.1 * radius * scale if warm else None
    reached = None
    for steps in (1, 2, 4, 8):
        e = ascend(oracle(loss), w, scale, radius, steps, earlier, layers)
        lengths = torch.stack([part.norm(dim=-1) for part in (e / scale).split(layers, -1)])
        torch.testing.assert_close(lengths, torch.full_like(lengths, radius), rtol=1e-9, atol=0)
        value = loss(w + e)
        assert reached is None or (value >= reached - 1e-12 * reached.abs()).all()
        reached = value


def test_independent_layers_are_searched_alone() -> None:
    """Layers that do not interact are searched as if alone."""
    layers = (2, 4)
    h = torch.stack(
        [
            torch.block_diag(*(quadratic(i, convex=True)[1][0, :n, :n] for n in layers))
            for i in range(RUNS)
        ]
    )
    loss = lambda w: 0.5 * torch.einsum("rp,rpq,rq->r", w, h, w)  # noqa: E731
    w = start(5)
    together = ascend(oracle(loss), w, torch.ones_like(w), 0.4, 200, layers=layers)
    for part in (slice(0, 2), slice(2, 6)):
        alone = lambda x, part=part: 0.5 * torch.einsum("rp,rpq,rq->r", x, h[:, part, part], x)  # noqa: E731
        e = ascend(oracle(alone), w[:, part], torch.ones_like(w[:, part]), 0.4, 200)
        torch.testing.assert_close(together[:, part], e, rtol=1e-6, atol=1e-9)
    one_ball = ascend(oracle(loss), w, torch.ones_like(w), 0.4, 200)
    assert (loss(w + together) > loss(w + one_ball)).all()


@pytest.mark.parametrize("per_layer", [False, True])
def test_gaussian_mean_is_closed_form(per_layer: bool) -> None:
    """The gaussian mean is the closed form of a quadratic.

    E L(w + e) = L(w) + ½ Σ H_ii σ_i², with |e/T|² = ρ² on average, in the network or in each layer.
    """
    loss, h, _ = quadratic(6, convex=True)
    w, layers, radius, samples = start(6), (2, 4), 0.5, 20_000
    generator = torch.Generator().manual_seed(0)
    rule = Hsac(objective="mean", radius=radius, samples=samples, per_layer=per_layer)
    normal = lambda: torch.randn(w.shape, generator=generator, dtype=F64)  # noqa: E731
    point = (w, torch.zeros(RUNS, 1, dtype=F64))
    found = rule.scope_objective.find(lambda w, theta: loss(w), point, None, normal, layers)
    draws = [place.weights for place in found.added]
    scale = scope_scale(w, "adaptive")
    sizes = torch.tensor([2, 2, 4, 4, 4, 4] if per_layer else [6] * 6, dtype=F64)
    want = loss(w) + 0.5 * (h.diagonal(dim1=-2, dim2=-1) * (radius * scale) ** 2 / sizes).sum(-1)
    values = torch.stack([loss(w + e) for e in draws])
    assert ((values.mean(0) - want).abs() < 4 * values.std(0) / samples**0.5).all()


def test_warm_start_leaves_degenerate_direction() -> None:
    """A warm start leaves the degenerate direction.

    At a regularised minimum ∇L = -μw, so one cold step goes along -w; carried steps turn to the
    sharp direction.
    """
    h = torch.diag(torch.tensor([0.1, 20.0], dtype=F64))
    # minimum of L + μ/2|w|² at (1, 0.02): L = ½(w-m)ᵀH(w-m)
    mu, point = 0.05, torch.tensor([[1.0, 0.02]], dtype=F64)
    centre = point + mu * point @ torch.linalg.inv(h)
    loss = lambda w: 0.5 * torch.einsum("rp,pq,rq->r", w - centre, h, w - centre)  # noqa: E731
    ones = torch.ones_like(point)
    cold = ascend(oracle(loss), point, ones, 0.3)
    torch.testing.assert_close(cold, -0.3 * point / point.norm(), rtol=1e-9, atol=1e-12)
    carried = cold
    for _ in range(10):
        carried = ascend(oracle(loss), point, ones, 0.3, start=carried)
    assert loss(point + carried) > 10 * loss(point + cold)


def test_bad_gradient_stays_in_its_run() -> None:
    """A run with a bad gradient does not touch the others."""
    loss, _, _ = quadratic(5)
    w = start(5)
    clean = ascend(oracle(loss), w, torch.ones_like(w), 0.2, 3)
    w[1, 0] = float("nan")
    assert torch.equal(ascend(oracle(loss), w, torch.ones_like(w), 0.2, 3)[[0, 2]], clean[[0, 2]])


def test_zero_gradient_gives_no_step() -> None:
    """A zero gradient gives no step and no nan."""
    w = torch.zeros(1, 3, dtype=F64)
    for steps in (1, 4):
        assert torch.equal(
            ascend(oracle(lambda w: (w * w).sum(-1)), w, torch.ones_like(w), 0.2, steps), w
        )


def test_gradient_evaluations() -> None:
    for steps, want in ((1, 1), (2, 3), (5, 6)):
        calls = []
        inner = oracle(quadratic(6)[0])

        def counted(w: Tensor, calls=calls, inner=inner) -> tuple[Tensor, Tensor]:
            calls.append(1)
            return inner(w)

        ascend(counted, start(6), torch.ones(RUNS, SIZE, dtype=F64), 0.2, steps)
        assert len(calls) == want


@pytest.mark.parametrize("factor", [0.1, 3.0, 50.0])
def test_adaptive_sharpness_ignores_rescaling(factor: float) -> None:
    """Adaptive sharpness does not see a rescaling of two layers.

    f(x) = v·Wx is unchanged by (W, v) -> (sW, v/s), and so is the adaptive scope but for its floor.
    """
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 3, generator=g, dtype=F64), torch.randn(30, generator=g, dtype=F64)
    signs = torch.randn(1, 8, generator=g, dtype=F64).sign()
    w = signs * (2 + torch.rand(1, 8, generator=g, dtype=F64)) * 100

    def loss(w: Tensor) -> Tensor:
        return ((x @ w[:, :6].view(-1, 3, 2) @ w[:, 6:, None]).squeeze(-1) - y).square().mean(-1)

    def sharpness(w: Tensor, scope: str) -> float:
        e = ascend(oracle(loss), w, scope_scale(w, scope), 0.1, 5)
        return (loss(w + e) - loss(w)).item()

    scaled = torch.cat((w[:, :6] * factor, w[:, 6:] / factor), -1)
    assert loss(scaled).item() == pytest.approx(loss(w).item())
    assert sharpness(scaled, "adaptive") == pytest.approx(sharpness(w, "adaptive"), rel=0.01)
    assert sharpness(scaled, "euclidean") != pytest.approx(sharpness(w, "euclidean"), rel=0.2)


def test_scope_scale() -> None:
    w = torch.tensor([[-2.0, 0.0, 0.5]], dtype=F64, requires_grad=True)
    adaptive = scope_scale(w, "adaptive")
    torch.testing.assert_close(adaptive, torch.tensor([[2.01, 0.01, 0.51]], dtype=F64))
    assert not adaptive.requires_grad
    assert torch.equal(scope_scale(w, "euclidean"), torch.ones(1, 3, dtype=F64))


def test_objectives() -> None:
    def loss(w: Tensor, theta: Tensor) -> Tensor:
        return theta[:, 0].exp() * (w**4).sum(-1)

    w, theta = start(7), torch.full((RUNS, 1), 0.3, dtype=F64)
    draws = [0.1 * start(i) for i in range(3)]
    places = [Perturbation(e) for e in draws]
    worst, gap = perturbed_loss(loss, places[:1]), perturbed_loss(loss, places[:1], [HERE])
    torch.testing.assert_close(worst(w, theta), loss(w + draws[0], theta))
    torch.testing.assert_close(gap(w, theta), worst(w, theta) - loss(w, theta))
    mean = perturbed_loss(loss, places)
    torch.testing.assert_close(mean(w, theta), sum(loss(w + e, theta) for e in draws) / 3)
    # Danskin: the gradients are those at the perturbed point
    w, theta = w.requires_grad_(), theta.requires_grad_()
    found = torch.autograd.grad(gap(w, theta).sum(), (w, theta))
    factor = theta.detach().exp()
    torch.testing.assert_close(found[0], factor * 4 * ((w + draws[0]) ** 3 - w**3).detach())
    torch.testing.assert_close(
        found[1], factor * ((w + draws[0]) ** 4 - w**4).sum(-1, keepdim=True).detach()
    )
