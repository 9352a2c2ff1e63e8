"""The curvature parameter: τ is inverted exactly at the start."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from hsac.ball import Curvature, Transform
from hsac.ball.curvature import TRANSFORMS
from hsac.errors import InputError

BOUNDS = [(1e-3, 10.0), (0.005, 5.0), (1e-6, 100.0)]


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_a_tenth_is_a_tenth(kind: str) -> None:
    assert Curvature(0.1, kind)().item() == pytest.approx(0.1, rel=1e-15)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(TRANSFORMS), st.sampled_from(BOUNDS), st.floats(0, 1))
def test_start_is_exact_between_the_bounds(
    kind: str, bounds: tuple[float, float], share: float
) -> None:
    """Start value is exact between the bounds."""
    low, high = bounds
    c = min(max(low * (high / low) ** share, low), high)
    curvature = Curvature(c, kind, bounds)
    assert curvature().item() == pytest.approx(c, rel=1e-9, abs=2e-12 * high)
    assert curvature().shape == ()
    (g,) = torch.autograd.grad(curvature(), curvature.theta)
    assert g > 0


@pytest.mark.parametrize("kind", TRANSFORMS)
@pytest.mark.parametrize("c", [0.0, -1.0, 0.99e-3, 10.001, float("nan"), float("inf")])
def test_out_of_bounds(kind: str, c: float) -> None:
    with pytest.raises(InputError, match=r"curvature: found .*allowed is 0\.001 to 10"):
        Curvature(c, kind)


def test_bad_transform() -> None:
    with pytest.raises(InputError, match=r"'tanh'.*exp, softplus, sigmoid"):
        Transform("tanh")
    for bounds in ((0.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (1.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(InputError, match="bounds"):
            Transform("exp", bounds)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_clamp_keeps_c_in_its_bounds(kind: str) -> None:
    """Clamp keeps c in its bounds and leaves the inside alone."""
    transform = Transform(kind, (0.005, 5.0))
    theta = torch.tensor([-100.0, transform.inverse(0.3), 100.0], dtype=torch.float64)
    clamped = transform.clamp(theta)
    assert clamped[1] == theta[1]
    torch.testing.assert_close(
        transform(clamped), torch.tensor([0.005, 0.3, 5.0], dtype=torch.float64)
    )
    assert transform.clamp(torch.tensor(float("nan"))).isnan()  # divergence stays visible


# Optimizers that know nothing of bounds, and what they do to θ of (0.05, 0.2) in 300 steps.
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05),
    "decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("kind", TRANSFORMS)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("sign", [1, -1])
def test_c_stays_in_its_bounds(kind: str, name: str, sign: int) -> None:
    """Any optimizer may move θ."""
    curvature = Curvature(0.1, kind, (0.05, 0.2))
    optimizer = OPTIMIZERS[name](curvature.parameters())
    for _ in range(300):
        optimizer.zero_grad()
        (sign * curvature()).backward()
        optimizer.step()
        assert 0.05 * (1 - 1e-12) <= curvature().item() <= 0.2 * (1 + 1e-12)


def beyond(kind: str, sign: int) -> Curvature:
    curvature = Curvature(0.1, kind, (0.05, 0.2))
    low, high = curvature.transform.theta_bounds
    with torch.no_grad():
        curvature.theta.fill_(low - 1 if sign > 0 else high + 1)
    return curvature


@pytest.mark.parametrize("kind", TRANSFORMS)
@pytest.mark.parametrize("sign", [1, -1])
def test_gradient_beyond_is_the_bounds(kind: str, sign: int) -> None:
    """θ has the gradient that it has at the bound, whichever way it leads."""
    curvature = beyond(kind, sign)
    at = torch.tensor(curvature.transform.theta_bounds[0 if sign > 0 else 1], dtype=torch.float64)
    (wanted,) = torch.autograd.grad(curvature.transform(at.requires_grad_()), at)
    (found,) = torch.autograd.grad(curvature(), curvature.theta)
    torch.testing.assert_close(found, wanted)
    by_call = torch.func.grad(lambda theta: functional_call(curvature, {"theta": theta}, ()))
    torch.testing.assert_close(by_call(curvature.theta.detach()), wanted)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_c_comes_back_from_a_bound(maximize: bool, sign: int) -> None:
    curvature = beyond("exp", sign)
    optimizer = torch.optim.SGD([curvature.theta], lr=1.0, maximize=maximize)
    for _ in range(60):
        optimizer.zero_grad()
        ((sign if maximize else -sign) * curvature()).backward()
        optimizer.step()
    bound, other = (0.05, 0.2) if sign > 0 else (0.2, 0.05)
    assert abs(curvature().item() - bound) > 1e-3
    assert abs(curvature().item() - bound) <= abs(other - bound)


def test_functions_of_the_inputs_transform() -> None:
    """torch.func takes a module whose θ is no variable of the transform."""
    curvature = Curvature(0.3)
    x = torch.arange(1.0, 4.0, dtype=torch.float64)
    torch.testing.assert_close(torch.func.vmap(lambda t: curvature() * t)(x), 0.3 * x)
    slope = torch.func.grad(lambda t: (curvature() * t * t).sum())(x)
    torch.testing.assert_close(slope, 0.6 * x)
    hessian = torch.func.hessian(lambda t: functional_call(curvature, {"theta": t}, ()))
    torch.testing.assert_close(hessian(curvature.theta.detach()).item(), 0.3)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_gradients_inside_are_plain(kind: str) -> None:
    curvature = Curvature(0.1, kind)
    (first,) = torch.autograd.grad(curvature() ** 2, curvature.theta, create_graph=True)
    at = curvature.theta.detach().requires_grad_()
    (wanted,) = torch.autograd.grad(curvature.transform(at) ** 2, at, create_graph=True)
    assert first == wanted
    second = torch.autograd.grad(first, curvature.theta)
    assert second == torch.autograd.grad(wanted, at)


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        (Curvature(0.5, "softplus"), "found the transform softplus with bounds 0.001 to 10"),
        (Curvature(0.5, bounds=(1e-3, 1.0)), "found the transform exp with bounds 0.001 to 1;"),
        (Curvature(0.5, "sigmoid"), "found the transform sigmoid"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_state_of_another_curvature(saved: Curvature, words: str, strict: bool) -> None:
    """It is refused before anything is copied."""
    model = nn.ModuleDict({"c": Curvature(0.3)})
    state = nn.ModuleDict({"c": saved}).state_dict()
    with pytest.raises(RuntimeError, match=rf"curvature 'c': {words}.*transform exp with"):
        model.load_state_dict(state, strict=strict)
    assert model["c"]().item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("theta", "words"),
    [
        (math.nan, "found θ = nan; allowed is a finite number"),
        (math.inf, "found θ = inf"),
        (math.log(20.0), r"found c = 20; allowed is 0\.001 to 10"),
        (math.log(5e-4), r"found c = 0\.0005; allowed is"),
    ],
)
def test_old_state_out_of_bounds(theta: float, words: str) -> None:
    """It is refused where the checkpoint does not say what bounds θ had."""
    curvature = Curvature(0.3)
    state = {"theta": torch.tensor(theta, dtype=torch.float64)}
    with pytest.raises(RuntimeError, match=words):
        curvature.load_state_dict(state, strict=False)
    assert curvature().item() == pytest.approx(0.3)
    curvature.load_state_dict({"theta": torch.tensor(math.log(0.5))}, strict=False)
    assert curvature().item() == pytest.approx(0.5)


@pytest.mark.parametrize("kind", TRANSFORMS)
@pytest.mark.parametrize("sign", [1, -1])
def test_own_state_beyond_the_bounds(kind: str, sign: int) -> None:
    """What an optimizer left θ at can be loaded again."""
    saved, loaded = beyond(kind, sign), Curvature(0.1, kind, (0.05, 0.2))
    loaded.load_state_dict(saved.state_dict())
    assert loaded.theta == saved.theta
    with pytest.raises(RuntimeError, match="found θ = nan"):
        loaded.load_state_dict(saved.state_dict() | {"theta": torch.tensor(math.nan)})


@pytest.mark.parametrize("extra", [None, torch.zeros(2), {"kind": "exp"}])
def test_damaged_extra_state(extra: object) -> None:
    """It is refused, not passed over."""
    curvature = Curvature(0.3)
    with pytest.raises(RuntimeError, match="found the extra state"):
        curvature.load_state_dict(Curvature(0.5).state_dict() | {"_extra_state": extra})
    assert curvature().item() == pytest.approx(0.3)


def test_small_difference_of_bounds() -> None:
    """A percent is not rounding, unless the numbers were stored in half precision."""
    curvature = Curvature(0.3, bounds=(1e-3, 1.0))
    with pytest.raises(RuntimeError, match=r"bounds 0\.001 to 1\.015; allowed is"):
        curvature.load_state_dict(Curvature(0.3, bounds=(1e-3, 1.015)).state_dict())


def test_meta_modules_take_a_state() -> None:
    with torch.device("meta"):
        curvature = Curvature(0.3)
    curvature.load_state_dict(Curvature(0.5).state_dict(), assign=True)
    assert curvature().item() == pytest.approx(0.5)
    with torch.device("meta"):
        curvature = Curvature(0.3)
    curvature.to_empty(device="cpu").reset_parameters()
    assert curvature().item() == pytest.approx(0.3)


@pytest.mark.parametrize("assign", [False, True])
def test_half_states_leave_theta_single(assign: bool) -> None:
    half = {name: value.half() for name, value in Curvature(0.5).state_dict().items()}
    curvature = Curvature(0.3).half()
    curvature.load_state_dict(half, assign=assign)
    assert curvature.theta.dtype == torch.float32


@pytest.mark.parametrize("kind", TRANSFORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_own_state_is_taken(kind: str, dtype: torch.dtype) -> None:
    """Also at a bound, and stored in half precision, which rounds c by less than two percent."""
    for c in (1e-3, 0.3, 10.0):
        saved, loaded = Curvature(c, kind), Curvature(0.5, kind)
        state = {name: value.to(dtype) for name, value in saved.state_dict().items()}
        loaded.load_state_dict(copy.deepcopy(state))
        # the rounding of θ, of which |θ| is at most 14, in each type
        exact = 14 * torch.finfo(dtype).eps
        assert loaded().item() == pytest.approx(saved().item(), rel=exact)
