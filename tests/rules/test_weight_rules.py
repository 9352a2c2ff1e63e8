"""Weight rules against torch.optim and a hand-written SAM, all runs of a bundle at once."""

import pytest
import torch
from studies import keys_of, unchecked

from hsac.errors import InputError
from hsac.parts import build
from hsac.rules.weights.adam import Adam
from hsac.rules.weights.sam import Sam
from hsac.rules.weights.sgd import Sgd
from hsac.sharpness import scope
from hsac.study import resolve

RATES = [1.0 - 0.03 * i for i in range(20)]


def run(rule, w, gradient):
    """Twenty steps under a falling schedule."""
    state = rule.init(w)
    for rate in RATES:
        w, state, _ = rule.update(w, state, gradient, rate)
    return w


def torch_run(make, lr, w, loss, ascend=None):
    """The same with torch.optim, one run at a time."""
    out = []
    for row in w:
        p = row.clone().requires_grad_()
        optimiser = make([p], lr)
        for rate in RATES:
            optimiser.param_groups[0]["lr"] = lr * rate
            optimiser.zero_grad()
            loss(p[None]).sum().backward()
            if ascend is not None:
                e = ascend(p.detach(), p.grad)
                with torch.no_grad():
                    p.add_(e)
                optimiser.zero_grad()
                loss(p[None]).sum().backward()
                with torch.no_grad():
                    p.sub_(e)
            optimiser.step()
        out.append(p.detach())
    return torch.stack(out)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(momentum, w, valley, make_gradient) -> None:
    want = torch_run(lambda p, lr: torch.optim.SGD(p, lr, momentum=momentum), 0.004, w, valley)
    torch.testing.assert_close(
        run(Sgd(0.004, momentum), w, make_gradient(valley)), want, rtol=1e-11, atol=1e-13
    )
    assert not torch.allclose(want, w, atol=1e-3)


def test_adam(w, valley, make_gradient) -> None:
    want = torch_run(
        lambda p, lr: torch.optim.Adam(p, lr, betas=(0.8, 0.95), eps=1e-7), 0.02, w, valley
    )
    found = run(Adam(0.02, (0.8, 0.95), 1e-7), w, make_gradient(valley))
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scope", ["euclidean", "adaptive"])
def test_sam_with_sgd(scope, w, valley, make_gradient) -> None:
    def ascend(p, g):
        t = p.abs() + 0.01 if scope == "adaptive" else torch.ones_like(p)
        return 0.1 * t * t * g / (t * g).norm()

    want = torch_run(lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9), 0.004, w, valley, ascend)
    rule = Sam(0.1, scope, "sgd", {"lr": 0.004, "momentum": 0.9})
    torch.testing.assert_close(run(rule, w, make_gradient(valley)), want, rtol=1e-10, atol=1e-12)
    plain = run(Sgd(0.004, 0.9), w, make_gradient(valley))
    assert not torch.allclose(want, plain, atol=1e-4)


def test_sam_with_adam(w, valley, make_gradient) -> None:
    want = torch_run(torch.optim.Adam, 0.02, w, valley, lambda p, g: 0.1 * g / g.norm())
    rule = Sam(0.1, base="adam", base_parameters={"lr": 0.02})
    torch.testing.assert_close(run(rule, w, make_gradient(valley)), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scope", ["euclidean", "adaptive"])
@pytest.mark.parametrize("base", ["sgd", "adam"])
def test_sam_climbs_no_weight_decay(base, scope, w, valley, make_gradient) -> None:
    """The ascent is on the loss alone, and the decay's gradient is that at w, as in public SAMs.

    There backward gives the loss's gradient, and the optimizer adds the decay once w is restored.
    200 steps are compared, of a decay large enough to turn the ascent.
    """
    decay, rho, steps = 0.05, 0.1, 200
    # Rates at which the trajectory settles: an oscillating one multiplies what rounding leaves.
    given = {"sgd": {"lr": 0.001, "momentum": 0.9}, "adam": {"lr": 0.01}}[base]
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[base]
    want = []
    for row in w:
        p = row.clone().requires_grad_()
        optimizer = make([p], weight_decay=decay, **given)
        for _ in range(steps):
            optimizer.zero_grad()
            valley(p[None]).sum().backward()
            with torch.no_grad():
                t = p.abs() + 0.01 if scope == "adaptive" else torch.ones_like(p)
                e = rho * t * t * p.grad / (t * p.grad).norm()
                kept = p.clone()
                p.add_(e)
            optimizer.zero_grad()
            valley(p[None]).sum().backward()
            with torch.no_grad():
                p.copy_(kept)
            optimizer.step()
        want.append(p.detach())

    rule, found = Sam(rho, scope, base, given), w
    state, gradient = rule.init(w), make_gradient(valley, decay)
    for _ in range(steps):
        found, state, _ = rule.update(found, state, gradient, 1.0)
    torch.testing.assert_close(found, torch.stack(want), rtol=1e-10, atol=1e-12)


def test_asam_without_floor_is_the_librarys(w, valley, make_gradient, monkeypatch) -> None:
    """Asam is the librarys where no floor is added.

    pytorch_optimizer takes T = |w|, ours is |w| + η as in Kwon et al. (ICML 2021), which
    `test_sam_with_sgd` has.
    """
    library = pytest.importorskip("pytorch_optimizer")
    monkeypatch.setattr(scope, "FLOOR", 0.0)
    want = []
    for row in w:
        p = row.clone().requires_grad_()
        optimiser = library.SAM(
            [p], torch.optim.SGD, rho=0.5, adaptive=True, lr=0.004, momentum=0.9
        )
        for rate in RATES:
            optimiser.param_groups[0]["lr"] = 0.004 * rate

            def closure(p=p, optimiser=optimiser):
                optimiser.zero_grad()
                valley(p[None]).sum().backward()

            closure()
            optimiser.step(closure)
        want.append(p.detach())
    rule = Sam(0.5, "adaptive", "sgd", {"lr": 0.004, "momentum": 0.9})
    # the library sums the squares of the gradient in float32
    torch.testing.assert_close(
        run(rule, w, make_gradient(valley)), torch.stack(want), rtol=1e-6, atol=1e-8
    )


def test_default_asam_is_adaptive_scope() -> None:
    """ASAM of the default scale is the adaptive scope."""
    study = unchecked(keys_of("default"))
    for name, base in (
        ("digits", "sgd"),
        ("disease", "adam"),
        ("glyphs_noisy", "sgd"),
        ("glyphs_few_shot", "adam"),
    ):
        own, plain = (
            resolve.cell(study, name, f"{rule}+fixed").config.weight_rule
            for rule in ("asam", "sam")
        )
        rule = build("weight rule", own.name, own.parameters)
        assert (rule.scope, rule.rho, rule.base) == ("adaptive", 0.5, base)
        assert rule.base_parameters == plain.parameters["base_parameters"]


@pytest.mark.parametrize(("rule", "calls"), [(Sgd(), 1), (Adam(), 1), (Sam(), 2)])
def test_gradient_evaluations(rule, calls, w, valley, make_gradient) -> None:
    seen = []
    inner = make_gradient(valley)
    rule.update(w, rule.init(w), lambda p: seen.append(p) or inner(p), 1.0)
    assert len(seen) == calls


@pytest.mark.parametrize("rule", [Sgd(0.001), Adam(), Sam(base_parameters={"lr": 0.001})])
def test_nan_stays_in_its_run(rule, w, valley, make_gradient) -> None:
    """A nan in one run does not touch the others."""
    clean = run(rule, w, make_gradient(valley))
    w[1, 2] = float("nan")
    found = run(rule, w, make_gradient(valley))
    assert torch.equal(found[[0, 2]], clean[[0, 2]])
    assert found[1].isnan().any()


def test_rules_leave_their_input_alone(w, valley, make_gradient) -> None:
    before = w.clone()
    for rule in (Sgd(), Adam(), Sam()):
        run(rule, w, make_gradient(lambda w: 0.01 * valley(w)))
        assert torch.equal(w, before)


@pytest.mark.parametrize(
    ("name", "parameters", "key"),
    [
        ("sgd", {"lr": 0.0}, "lr"),
        ("sgd", {"lr": float("nan")}, "lr"),
        ("sgd", {"momentum": 1.0}, "momentum"),
        ("adam", {"betas": [0.9]}, "betas"),
        ("adam", {"betas": [0.9, 1.0]}, "betas"),
        ("adam", {"betas": ["a", "b"]}, "betas"),
        ("adam", {"eps": 0}, "eps"),
        ("sam", {"rho": -0.1}, "rho"),
        ("sam", {"scope": "round"}, "scope"),
        ("sam", {"base": "sam"}, "base"),
        ("sam", {"base": "sdg"}, "base"),
        ("sam", {"base_parameters": {"lr": -1.0}}, "base.lr"),
        ("sam", {"base_parameters": {"rate": 1.0}}, "base.rate"),
    ],
)
def test_bad_parameters(name, parameters, key) -> None:
    with pytest.raises(InputError) as caught:
        build("weight rule", name, parameters, "rules.weights.mine")
    line = str(caught.value)
    assert line.startswith(f"rules.weights.mine.{key}: found ")
    assert "allowed" in line or "did you mean" in line
    assert "\n" not in line
