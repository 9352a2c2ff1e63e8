"""Losses of two ranks and their mean, against the mean computed by one process."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from two_ranks import on_two_ranks

from hsac.hypergradient import implicit_hypergradient
from hsac.hypergradient.ranks import agreed, mean_over_ranks, same_on_ranks
from hsac.parts import build

F64 = torch.float64
SOLVERS = ("neumann", "cg", "amortised", "unrolled", "nystrom", "identity")


def loss_of(part: int):
    """A loss that is neither quadratic nor separable, and another one for each part of the data."""
    generator = torch.Generator().manual_seed(part)
    a, b = torch.randn(2, 6, 4, generator=generator, dtype=F64)

    def loss(w: Tensor, theta: Tensor) -> Tensor:
        fit = (a @ w[0] + theta[0].sum() * (b @ w[0]).tanh()).square().mean()
        return (fit + theta.exp().sum() * w.square().sum()).reshape(1)

    return loss


def derivatives(loss: Any) -> list[Tensor]:
    """Value, gradients, a Hessian product, a mixed product and a third derivative."""
    w = torch.linspace(-1, 1, 4, dtype=F64)[None].requires_grad_()
    theta = torch.tensor([[0.3, -0.2]], dtype=F64).requires_grad_()
    v = torch.linspace(1, 2, 4, dtype=F64)[None].requires_grad_()
    value = loss(w, theta)
    g, direct = torch.autograd.grad(value.sum(), (w, theta), create_graph=True)
    hv, mixed = torch.autograd.grad(g, (w, theta), v, create_graph=True)
    third = torch.autograd.grad(hv.square().sum(), (w, theta, v))
    return [x.detach() for x in (value, g, direct, hv, mixed, *third)]


def hypergradient(solver: str, upper: Any, lower: Any) -> list[Tensor]:
    w = torch.linspace(-1, 1, 4, dtype=F64)[None]
    theta = torch.tensor([[0.3, -0.2]], dtype=F64)
    state: dict[str, Tensor] = {}
    for _ in range(2):
        found = implicit_hypergradient(
            upper, lower, w, theta, build("solver", solver, {}, "solver"), state
        )
        state = found.state
    return [found.total, found.residual, *state.values()]


def work(rank: int) -> dict[str, Any]:
    group = dist.group.WORLD
    together = [mean_over_ranks(loss_of(part + rank), group) for part in (0, 2)]
    alone = [lambda *x, p=part: (loss_of(p)(*x) + loss_of(p + 1)(*x)) / 2 for part in (0, 2)]
    found: dict[str, Any] = {"derivatives": (derivatives(together[0]), derivatives(alone[0]))}
    for solver in SOLVERS:
        found[solver] = (hypergradient(solver, *together), hypergradient(solver, *alone))

    def leaves_out(w: Tensor, theta: Tensor) -> Tensor:
        return (w.square().sum() + (theta.sum() if rank == 0 else 0)).reshape(1)

    w, theta = (torch.ones(1, 2, dtype=F64).requires_grad_() for _ in range(2))
    value = mean_over_ranks(leaves_out, group)(w, theta)
    found["left out"] = torch.autograd.grad(value.sum(), (w, theta))
    value = mean_over_ranks(lambda w, _: w.sum().reshape(1), group)(w, theta)
    found["unused"] = torch.autograd.grad(value.sum(), (w, theta), allow_unused=True)[1]
    try:
        with agreed(group, w.device):
            if rank == 1:
                raise ValueError("of rank 1")
    except (ValueError, RuntimeError) as error:
        found["error"] = repr(error)
    apart = {"rounding": 1e-12, "another": 1e-3, "nan on both": float("nan")}
    ones = torch.ones(2, dtype=F64)
    found["same"] = {k: same_on_ranks(ones + (1 + rank) * x, group) for k, x in apart.items()}
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_two_ranks(work, tmp_path_factory.mktemp("ranks"))


def close(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.allclose(x, y, 1e-9) for x, y in zip(found, expected, strict=True))


@pytest.mark.parametrize("what", ["derivatives", *SOLVERS])
def test_mean_has_all_derivatives(ranks: list[dict[str, Any]], what: str) -> None:
    """Up to the third, and so hypergradients and the solvers' states: one process finds the same.

    They are the same on both ranks to the last bit.
    """
    assert close(*ranks[0][what])
    first, second = (rank[what][0] for rank in ranks)
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


def test_ranks_may_leave_out_variables(ranks: list[dict[str, Any]]) -> None:
    """One rank's loss is without θ, and no rank waits. What no rank uses has no gradient."""
    for rank in ranks:
        assert [g.tolist() for g in rank["left out"]] == [[[2.0, 2.0]], [[0.5, 0.5]]]
        assert rank["unused"] is None


def test_ranks_fail_together(ranks: list[dict[str, Any]]) -> None:
    assert ranks[1]["error"] == "ValueError('of rank 1')"
    assert "failed on another rank" in ranks[0]["error"]


def test_copies_agree_to_rounding(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert rank["same"] == {"rounding": True, "another": False, "nan on both": True}
