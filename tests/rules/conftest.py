"""A toy problem for rules: weights (R, P), gradients of a loss given as a function."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hsac.ball import Transform
from hsac.rules.types import Gradient, Step

BOUNDS = (0.005, 5.0)
F64 = torch.float64


def gradient_of(
    loss: Callable[[Tensor], Tensor], decay: float = 0.0
) -> Callable[[Tensor], Gradient]:
    """What a weight rule is given, from a loss (R, P) -> (R,) and a weight decay."""

    def gradient(w: Tensor) -> Gradient:
        w = w.detach().requires_grad_()
        value = loss(w) + decay / 2 * (w * w).sum(-1)
        return Gradient(value.detach(), torch.autograd.grad(value.sum(), w)[0], decay=decay)

    return gradient


def rosenbrock(w: Tensor) -> Tensor:
    """A curved valley, not the same in every coordinate: (R, P) -> (R,)."""
    return (5 * (w[:, 1:] - w[:, :-1] ** 2) ** 2 + (1 - w[:, :-1]) ** 2).sum(-1)


@pytest.fixture
def w() -> Tensor:
    """Start weights of three runs."""
    return 0.4 * torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=F64)


def step_at(  # noqa: PLR0913 - what a step can draw, each by its name
    index: int,
    total: int,
    w: Tensor,
    upper: Callable,
    lower: Callable | None = None,
    gradient: Gradient | None = None,
    held_out: Callable | None = None,
    meta: Callable | None = None,
) -> Step:
    """A training step as a curvature rule sees it.

    `upper`, `lower`, `held_out` and `meta` are losses (w, θ) -> (R,). What is not given must not be
    asked for.
    """

    def absent() -> Any:
        raise AssertionError("not given")

    generator = torch.Generator().manual_seed(index)
    given = gradient or Gradient(torch.zeros(len(w), dtype=w.dtype), torch.zeros_like(w))
    return Step(
        index=index,
        total=total,
        w=w,
        gradient=given,
        upper=lambda times=1: upper,
        lower=lambda times=1, shared=False: lower or upper,
        adversary=lambda times=1: upper,
        normal=lambda: torch.randn(w.shape, generator=generator, dtype=w.dtype),
        layers=(2, w.shape[1] - 2),
        held_out=(lambda stream="held_out": held_out) if held_out else absent,
        meta=(lambda stream="meta": meta) if meta else absent,
        head=absent,
        put=absent,
        features=absent,
        to_theta=Transform(bounds=BOUNDS).to_theta,
        inverse=Transform(bounds=BOUNDS).inverse,
        examples=100,
        batches=1,
    )


@pytest.fixture
def make_step() -> Callable[..., Step]:
    """`step_at`."""
    return step_at


@pytest.fixture
def make_gradient() -> Callable[..., Callable[[Tensor], Gradient]]:
    """`gradient_of`."""
    return gradient_of


@pytest.fixture
def valley() -> Callable[[Tensor], Tensor]:
    """`rosenbrock`."""
    return rosenbrock
