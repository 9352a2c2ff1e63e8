"""Curvature rules: when they move, which way, what they carry."""

import pytest
import torch

from hsac.errors import InputError
from hsac.parts import build
from hsac.rules.curvature.drift import Drift
from hsac.rules.curvature.euclidean import Euclidean
from hsac.rules.curvature.fixed import Fixed
from hsac.rules.curvature.hsac import Hsac
from hsac.rules.curvature.learned import Learned
from hsac.rules.curvature.random_walk import RandomWalk
from hsac.rules.types import Gradient

F64 = torch.float64
THETA = torch.tensor([[-1.0, 0.5], [0.0, -0.2], [0.3, 0.1]], dtype=F64)
W = torch.randn(3, 6, generator=torch.Generator().manual_seed(5), dtype=F64)
EXACT = {"solver": {"name": "exact", "damping": 0.01}}


def bowl(w, theta):
    """Steeper where θ is larger, away from the origin's minimum: (R, P), (R, C) -> (R,)."""
    return 0.5 * theta[:, 0].exp() * (w[:, :3] ** 2).sum(-1) + 0.5 * (1 + theta[:, 1] ** 2) * (
        w[:, 3:] ** 2
    ).sum(-1)


def moves(rule, make_step, total, loss=bowl, w=W, theta=THETA):
    """Indices of the steps at which θ moved, and the trajectory."""
    state, path, moved = rule.init(theta), [theta], []
    for index in range(total):
        theta, state, log = rule.update(theta, state, make_step(index, total, w, loss))
        if not torch.equal(theta, path[-1]):
            moved.append(index)
        if isinstance(rule, Hsac):
            assert bool(log) == (bool(moved) and moved[-1] == index)
        path.append(theta)
    return moved, path


@pytest.mark.parametrize("rule", [Fixed(), Euclidean()])
def test_fixed_and_euclidean_stand_still(rule, make_step) -> None:
    assert moves(rule, make_step, 20)[0] == []


@pytest.mark.parametrize(
    "make", [lambda **k: Drift(**k), lambda **k: RandomWalk(**k), lambda **k: Hsac(**k)]
)
@pytest.mark.parametrize(
    ("period", "warm_up", "want"),
    [
        (10, 0.3, [19, 29, 39]),
        (10, 0.1, [9, 19, 29, 39]),
        (7, 0.5, [20, 27, 34]),
        (1, 0.9, [36, 37, 38, 39]),
    ],
)
def test_moves_when_due(make, period, warm_up, want, make_step) -> None:
    """Every `period` steps from the warm-up share on."""
    assert moves(make(period=period, warm_up=warm_up), make_step, 40)[0] == want


def test_drift_and_hsac_are_due_together(make_step) -> None:
    """Drift and hsac are due together by default."""
    assert moves(Drift(), make_step, 60)[0] == moves(Hsac(), make_step, 60)[0]


@pytest.mark.parametrize("direction", [1, -1])
def test_drift_moves_by_its_sign(direction, make_step) -> None:
    moved, path = moves(Drift(direction=direction, step=0.2), make_step, 50)
    torch.testing.assert_close(path[-1], THETA + direction * 0.2 * len(moved))


@pytest.mark.parametrize(
    "make", [lambda **k: Drift(direction=-1, step=0.4, **k), lambda **k: Hsac(step=0.4, **k)]
)
def test_annealed_steps_fall_by_half_cosine(make, make_step) -> None:
    """Annealed steps fall by half a cosine.

    At a third of training three quarters of the step are left, at two thirds one, after the last
    none.
    """
    rule, annealed = make(period=1, warm_up=0.0), make(period=1, warm_up=0.0, anneal=True)
    state = rule.init(THETA)
    for index, factor in ((0, 1.0), (10, 0.75), (15, 0.5), (20, 0.25), (30, 0.0)):
        step = make_step(index, 30, W, bowl)
        whole = rule.update(THETA, state, step)[0] - THETA
        assert (whole != 0).all()
        torch.testing.assert_close(annealed.update(THETA, state, step)[0] - THETA, factor * whole)


def test_random_walk_steps_both_ways(make_step) -> None:
    """Random walk takes both ways each by its step.

    Every curvature of every run has signs of its own.
    """
    moved, path = moves(RandomWalk(step=0.2, period=1, warm_up=0.0), make_step, 100)
    signs = (torch.stack(path).diff(dim=0) / 0.2).flatten(1)
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs))
    assert len(moved) == 100
    assert (signs.mean(0).abs() < 0.5).all()  # five standard errors
    assert (torch.corrcoef(signs.T) - torch.eye(signs.shape[1], dtype=F64)).abs().max() < 0.5


def test_learned_is_adam_on_theta(make_step) -> None:
    rule = Learned(lr=0.03)
    theta, state = THETA, rule.init(THETA)
    reference = THETA.clone().requires_grad_()
    optimiser = torch.optim.Adam([reference], 0.03)
    for index in range(15):
        at = theta.clone().requires_grad_()
        g = torch.autograd.grad(bowl(W, at).sum(), at)[0]
        seen = Gradient(torch.zeros(3, dtype=F64), torch.zeros_like(W), g)
        theta, state, log = rule.update(theta, state, make_step(index, 15, W, bowl, gradient=seen))
        assert log == {}
        optimiser.zero_grad()
        bowl(W, reference).sum().backward()
        optimiser.step()
    torch.testing.assert_close(theta, reference.detach(), rtol=1e-11, atol=1e-13)
    assert rule.needs_gradient


def test_learned_waits_for_its_warm_up(make_step) -> None:
    rule = Learned(warm_up=0.5)
    theta, state, moved = THETA, rule.init(THETA), []
    for index in range(6):
        seen = Gradient(torch.zeros(3, dtype=F64), torch.zeros_like(W), torch.ones_like(THETA))
        after, state, _ = rule.update(theta, state, make_step(index, 6, W, bowl, gradient=seen))
        moved += [index] * (not torch.equal(after, theta))
        theta = after
    assert moved == [3, 4, 5]
    assert state["count"] == 3  # its moments start there too


@pytest.mark.parametrize("solver", [{"name": "none"}, {"name": "neumann"}])
@pytest.mark.parametrize("objective", ["worst", "gap", "mean"])
def test_objective_loss_is_radius_0(objective, solver, make_step) -> None:
    """Objective loss is the others at radius 0.

    `gap` alone has the loss taken off, and goes to 0.
    """
    plain = Hsac(objective="loss", period=1, warm_up=0.0, solver=solver)
    other = Hsac(objective=objective, radius=1e-9, period=1, warm_up=0.0, solver=solver)
    rules = plain, other
    logs = [rule.update(THETA, rule.init(THETA), make_step(0, 9, W, bowl))[2] for rule in rules]
    want = {
        key: 0 * logs[0][key] if objective == "gap" else logs[0][key]
        for key in ("value", "hypergradient")
    }
    for key, value in want.items():
        torch.testing.assert_close(logs[1][key], value, rtol=1e-6, atol=1e-6)


def test_objective_loss_spends_no_ascent(make_step) -> None:
    seen = []
    loss = lambda w, theta: seen.append(w) or bowl(w, theta)  # noqa: E731
    rule = Hsac(objective="loss", period=1, warm_up=0.0, solver={"name": "none"})
    rule.update(THETA, rule.init(THETA), make_step(0, 9, W, loss))
    assert len(seen) == 1


@pytest.mark.parametrize("batch", ["held_out", "meta"])
def test_other_batch_moves_objective_only(make_step, batch) -> None:
    """The objective is taken on the part that `batch` names, the implicit term in training."""
    other = lambda w, theta: 3 * bowl(w + 1, theta - 1)  # noqa: E731
    given = {"objective": "loss", "period": 1, "warm_up": 0.0, **EXACT}
    rule = Hsac(batch=batch, **given)
    step = make_step(0, 9, W, None, bowl, **{batch: other})
    _, _, log = rule.update(THETA, rule.init(THETA), step)
    plain = Hsac(**given)
    _, _, want = plain.update(THETA, plain.init(THETA), make_step(0, 9, W, other, bowl))
    for key in want:
        assert torch.equal(log[key], want[key])


@pytest.mark.parametrize("objective", ["worst", "gap", "mean"])
@pytest.mark.parametrize("scope", ["adaptive", "euclidean"])
def test_hsac_moves_towards_flatness(objective, scope, make_step) -> None:
    """The landscape's steepness is e^θ around a fixed minimum, so flatter means a smaller θ."""
    rule = Hsac(objective=objective, scope=scope, period=1, warm_up=0.0, **EXACT)
    w = 1e-3 * W
    loss = lambda w, theta: 0.5 * theta.sum(-1).exp() * (w * w).sum(-1)  # noqa: E731
    moved, path = moves(rule, make_step, 5, loss, w)
    assert moved == [0, 1, 2, 3, 4]
    assert (torch.stack(path).diff(dim=0) < 0).all()


def test_hsac_moves_up_where_flatter(make_step) -> None:
    """Hsac moves up where a larger theta is flatter."""
    rule = Hsac(objective="gap", period=1, warm_up=0.0, **EXACT)
    loss = lambda w, theta: 0.5 * (-theta.sum(-1)).exp() * (w * w).sum(-1)  # noqa: E731
    assert (torch.stack(moves(rule, make_step, 3, loss, 1e-3 * W)[1]).diff(dim=0) > 0).all()


def test_hsac_follows_implicit_term_alone(make_step) -> None:
    """Hsac follows the implicit term where there is no direct one.

    L = ½|w - θ1|², U = L at the adversary of another loss: only w*(θ) = θ1 carries θ to U's minimum
    at w = 2.
    """
    lower = lambda w, theta: 0.5 * ((w - theta) ** 2).sum(-1)  # noqa: E731
    upper = lambda w, theta: 0.5 * ((w - 2.0) ** 2).sum(-1) + 0.0 * theta.sum(-1)  # noqa: E731
    rule = Hsac(
        scope="euclidean",
        radius=1e-6,
        period=1,
        warm_up=0.0,
        step=0.05,
        ratio=float("inf"),
        solver={"name": "exact"},
    )
    theta = torch.full((3, 1), -1.0, dtype=F64)
    state = rule.init(theta)
    for index in range(150):
        w = theta.expand(3, 4)
        theta, state, log = rule.update(theta, state, make_step(index, 150, w, upper, lower))
    torch.testing.assert_close(theta, torch.full((3, 1), 2.0, dtype=F64), atol=0.05, rtol=0)
    direct = Hsac(scope="euclidean", radius=1e-6, period=1, warm_up=0.0, solver={"name": "none"})
    still, _, log = direct.update(-theta, direct.init(theta), make_step(0, 10, w, upper, lower))
    assert torch.equal(still, -theta)
    assert (log["products"] == 0).all()


def test_hsac_equals_the_rule_written_out(make_step) -> None:
    """The default rule equals three outer steps written out for one run.

    Adversary, power vector and moments are carried.
    """
    hessian_decay = 0.05

    def lower(w, theta):
        return bowl(w, theta) + hessian_decay / 2 * (w * w).sum(-1) + theta[:, 0] * w[:, 0] ** 3

    rule = Hsac(period=1, warm_up=0.0)
    theta, state = THETA[:1], rule.init(THETA[:1])
    mine, e, u = THETA[0].clone(), None, None
    m, s = torch.zeros(2, dtype=F64), torch.zeros(2, dtype=F64)
    for index in range(3):
        w = W[:1] + 0.1 * index
        theta, state, log = rule.update(theta, state, make_step(index, 3, w, bowl, lower))

        def one(f, x, k):
            return f(x[None], k[None])[0]

        w0 = w[0]
        t = w0.abs() + 0.01
        g = torch.func.grad(lambda x: one(bowl, x, mine))(w0 if e is None else w0 + e)  # noqa: B023 - called at once
        e = 0.3 * t * t * g / (t * g).norm()
        v, d = torch.func.grad(lambda x, k: one(bowl, x, k), (0, 1))(w0 + e, mine)
        h = torch.func.hessian(lambda x: one(lower, x, mine))(w0)  # noqa: B023 - called at once
        u = v if u is None else u
        for _ in range(3):
            u = h @ (u / u.norm())
        a = min(1.0, 0.9 / max(u.norm().item(), ((h @ v).norm() / v.norm()).item()))
        contraction = torch.eye(6, dtype=F64) - a * h
        series = [torch.linalg.matrix_power(contraction, j) @ v for j in range(4)]
        grown = series[-1].norm() / v.norm()
        q = a * sum(series)
        mixed = torch.func.jacfwd(torch.func.grad(lambda x, k: one(lower, x, k)), 1)(w0, mine)
        total = d if grown > 2 else d - mixed.mT @ q
        torch.testing.assert_close(log["hypergradient"][0], total, rtol=1e-10, atol=1e-12)
        total = total * min(1.0, 1 / total.norm().item())
        m, s = 0.9 * m + 0.1 * total, 0.99 * s + 0.01 * total**2
        n = index + 1
        mine = mine - 0.25 * m / (1 - 0.9**n) / ((s / (1 - 0.99**n)).sqrt() + 1e-8)
        torch.testing.assert_close(theta[0], mine, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(state["adversary"][0], e, rtol=1e-10, atol=1e-12)


def test_hsac_carries_adversary_when_warm(make_step) -> None:
    """Hsac carries its adversary only when warm."""
    loss = lambda w, theta: (w**4).sum(-1) * theta.sum(-1).exp()  # noqa: E731
    first, second = {}, {}
    for warm in (True, False):
        rule = Hsac(period=1, warm_up=0.0, warm_start=warm, scope="euclidean")
        _, state, _ = rule.update(THETA, rule.init(THETA), make_step(0, 9, W, loss))
        first[warm] = state["adversary"]
        assert state["solver"]["power"].shape == W.shape
        second[warm] = rule.update(THETA, state, make_step(1, 9, W, loss))[1]["adversary"]
    assert torch.equal(first[True], first[False])
    torch.testing.assert_close(second[False], first[False])
    assert not torch.allclose(second[True], second[False], atol=1e-4)


def test_hsac_clips_the_hypergradient(make_step) -> None:
    """Adam forgets a constant scale, so a clip shows in its moments."""
    loss = lambda w, theta: 1e6 * bowl(w, theta)  # noqa: E731
    rule = Hsac(period=1, warm_up=0.0, clip=2.0, solver={"name": "none"})
    _, state, log = rule.update(THETA, rule.init(THETA), make_step(0, 9, W, loss))
    assert (log["hypergradient"].norm(dim=-1) > 1e3).all()
    torch.testing.assert_close(
        state["adam"]["first"].norm(dim=-1), torch.full((3,), 0.2, dtype=F64)
    )


def run_three(w_at, make_step):
    rule = Hsac(period=1, warm_up=0.0)
    theta, state, logs, path = THETA, rule.init(THETA), [], []
    for index in range(4):
        theta, state, log = rule.update(theta, state, make_step(index, 4, w_at(index), bowl))
        logs.append(log)
        path.append(theta)
    return path, logs


@pytest.mark.parametrize("bad", [float("nan"), 1e200])
def test_bad_run_rests_alone_and_flagged(bad, make_step) -> None:
    """A run gone bad rests flagged and does not touch the others."""
    spoilt = W.clone()
    spoilt[1, 0] = bad
    clean, logs = run_three(lambda index: W, make_step)
    found, bad_logs = run_three(lambda index: spoilt, make_step)
    assert torch.equal(found[-1][[0, 2]], clean[-1][[0, 2]])
    assert torch.equal(found[-1][1], THETA[1])
    assert not any(log["fallback"].any() for log in logs)
    assert all(log["fallback"].tolist() == [False, True, False] for log in bad_logs)


def test_run_recovers_from_bad_step(make_step) -> None:
    """A run recovers from one bad step.

    What is carried (adversary, power vector, Adam's moments) must not keep the NaN of one overflow.
    """
    spoilt = W.clone()
    spoilt[1, 0] = float("nan")
    path, logs = run_three(lambda index: spoilt if index == 1 else W, make_step)
    assert [log["fallback"][1].item() for log in logs] == [False, True, False, False]
    assert path[-1].isfinite().all()
    assert not torch.equal(path[3][1], path[2][1])


@pytest.mark.parametrize(
    ("name", "parameters", "key"),
    [
        ("hsac", {"objective": "wurst"}, "objective"),
        ("hsac", {"batch": "test"}, "batch"),
        ("hsac", {"scope": "round"}, "scope"),
        ("hsac", {"radius": -0.3}, "radius"),
        ("hsac", {"radius": True}, "radius"),
        ("hsac", {"period": 0}, "period"),
        ("hsac", {"period": 2.5}, "period"),
        ("hsac", {"warm_up": 1.0}, "warm_up"),
        ("hsac", {"solver": {"name": "neuman"}}, "solver"),
        ("hsac", {"solver": {"name": "cg", "trems": 3}}, "solver.trems"),
        ("hsac", {"solver": {"name": "cg", "terms": 0}}, "solver.terms"),
        ("hsac", {"solver": "cg"}, "solver"),
        ("hsac", {"clip": 0}, "clip"),
        ("drift", {"direction": 0}, "direction"),
        ("drift", {"step": -1.0}, "step"),
        ("drift", {"period": 0}, "period"),
        ("random_walk", {"step": 0.0}, "step"),
        ("random_walk", {"period": 0}, "period"),
        ("random_walk", {"warm_up": 1.0}, "warm_up"),
        ("learned", {"lr": 0}, "lr"),
        ("learned", {"warm_up": 1.0}, "warm_up"),
        ("grid", {"curvatures": []}, "curvatures"),
        ("grid", {"curvatures": [0.1, -1]}, "curvatures"),
        ("grid", {"curvatures": ["a"]}, "curvatures"),
        ("fixed", {"c": 1.0}, "c"),
    ],
)
def test_bad_parameters(name, parameters, key) -> None:
    with pytest.raises(InputError) as caught:
        build("curvature rule", name, parameters, "rules.curvature.mine")
    assert str(caught.value).startswith(f"rules.curvature.mine.{key}: found ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("solver", [None, {"name": "neumann", "terms": 3}])
def test_the_default_solver_is_neumann_3(solver) -> None:
    assert Hsac(solver=solver).linear_solver == build("solver", "neumann", {"terms": 3})
