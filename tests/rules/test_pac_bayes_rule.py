"""The rule `pac_bayes`: its objective, its hypergradient, its σ."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from hsac.errors import InputError
from hsac.rules.curvature.pac_bayes import SPREADS, PacBayes

F64 = torch.float64
CONFIDENCE = math.log(2 * math.sqrt(100) / 0.05)  # at the 100 examples of `make_step`


def test_the_bound_is_the_formula() -> None:
    g = torch.Generator().manual_seed(0)
    w, origin, e = (torch.randn(2, 4, generator=g, dtype=F64) for _ in range(3))
    both = torch.tensor([[0.2, math.log(0.1)], [-0.3, math.log(0.5)]], dtype=F64)
    found = PacBayes().bound(lambda w, theta: (theta[:, :1] * w).sum(-1), [e, -e], origin, 100)(
        w, both
    )
    for run, sigma in enumerate((0.1, 0.5)):
        kl = float(((w[run] - origin[run]) ** 2).sum()) / (2 * sigma**2)
        loss = float(both[run, 0] * w[run].sum())  # the two draws cancel
        assert float(found[run]) == pytest.approx(
            loss + math.sqrt((kl + CONFIDENCE) / 200), rel=1e-12
        )


def test_hypergradient_of_the_solved_problem(make_step) -> None:
    """The hypergradient is that of the solved problem.

    w*(θ) = θ + 1 in every coordinate and a loss that sees neither: U moves with θ through the
    complexity alone.
    """
    theta = torch.tensor([[0.3], [-0.2]], dtype=F64)
    rule = PacBayes(
        solver={"name": "cg", "terms": 5, "damping": 0.0},
        clip=math.inf,
        warm_up=0.0,
        period=1,
        sigma=0.5,
    )
    lower = lambda w, theta: 0.5 * (w - theta - 1).square().sum(-1)  # noqa: E731
    nothing = lambda w, theta: 0 * (w.sum(-1) + theta.sum(-1))  # noqa: E731
    state = rule.init(theta) | {"origin": torch.zeros(2, 5, dtype=F64)}
    _, _, log = rule.update(theta, state, make_step(0, 1, (theta + 1).expand(2, 5), nothing, lower))

    def objective(value: float) -> float:
        return math.sqrt((5 * (value + 1) ** 2 / (2 * 0.5**2) + CONFIDENCE) / 200)

    for run, at in enumerate((0.3, -0.2)):
        slope = (objective(at + 1e-5) - objective(at - 1e-5)) / 2e-5
        assert float(log["hypergradient"][run, 0]) == pytest.approx(slope, rel=1e-8)


def test_sigma_minimises_the_objective(make_step) -> None:
    """Sigma goes to the least objective.

    A quadratic loss of curvature 4 in 5 coordinates, whose mean under the noise is L(w) + 10σ².
    """
    w = torch.full((1, 5), 0.05, dtype=F64)
    theta = torch.zeros(1, 1, dtype=F64)
    rule = PacBayes(warm_up=0.0, period=1, samples=64, step=0.05)
    state = rule.init(theta) | {"origin": torch.zeros_like(w)}
    tail = []
    for index in range(300):
        step = make_step(index, 300, w, lambda w, theta: 2 * w.square().sum(-1) + 0 * theta.sum(-1))
        theta, state, _ = rule.update(theta, state, step)
        tail += [float(state["spread"].exp())] * (index >= 200)

    def objective(log_sigma: float) -> float:
        sigma = math.exp(log_sigma)
        return 10 * sigma**2 + math.sqrt((5 * 0.05**2 / (2 * sigma**2) + CONFIDENCE) / 200)

    best = minimize_scalar(objective, bounds=tuple(map(math.log, SPREADS)), method="bounded").x
    assert math.log(sum(tail) / len(tail)) == pytest.approx(best, abs=0.05)
    assert float(theta) == 0.0


def test_the_prior_stays_where_training_began(make_step) -> None:
    rule, theta = PacBayes(), torch.zeros(1, 1, dtype=F64)
    loss = lambda w, theta: w.square().sum(-1) * theta.exp().sum(-1)  # noqa: E731
    state = rule.init(theta)
    for index in range(10):
        theta, state, _ = rule.update(
            theta, state, make_step(index, 10, torch.full((1, 5), float(index)), loss)
        )
    assert torch.equal(state["origin"], torch.zeros(1, 5))


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": 2.0}, "sigma"),
        ({"delta": 1.0}, "delta"),
        ({"period": 0}, "period"),
        ({"batch": "test"}, "batch"),
        ({"solver": {"name": "nwton"}}, "solver"),
    ],
)
def test_bad_parameters(parameters, key) -> None:
    with pytest.raises(InputError, match=key):
        PacBayes(**parameters)
