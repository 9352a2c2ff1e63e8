"""kl and its inverse, and the certificate against its formula taken apart."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from hsac.errors import InputError
from hsac.theory.pac_bayes import Posteriors, certify, kl_bernoulli, kl_inverse, round_curvature

F64 = torch.float64
share = st.floats(0, 1)
nats = st.floats(0, 30)
FIXTURES = [
    (0.0, 0.05, 0.04877058),
    (0.02, 0.01, 0.04651592),
    (0.1, 0.05, 0.2200786),
    (0.5, 0.02, 0.59900828),
]


@pytest.mark.parametrize(("q", "bound", "p"), FIXTURES)
def test_known_inverses(q: float, bound: float, p: float) -> None:
    assert kl_inverse(q, bound) == pytest.approx(p, abs=5e-9)


@pytest.mark.parametrize("q", [0.0, 1e-300, 5e-324, 1e-12, 0.3, 1 - 1e-12, 1.0])
def test_edges_of_the_inverse(q: float) -> None:
    assert kl_inverse(q, 0.0) == q
    assert kl_inverse(q, 1e6) == kl_inverse(q, math.inf) == 1.0
    assert q <= kl_inverse(q, 1e-12) <= kl_inverse(q, 1e-3) <= 1.0


@given(share, nats)
def test_kl_at_inverse_is_bound(q: float, bound: float) -> None:
    """To 1e-14 in p: near p = 1 kl itself differs by much between neighbouring floats."""
    p = kl_inverse(q, bound)
    assert q <= p <= 1
    below, above = kl_bernoulli(q, max(q, p - 1e-14)), kl_bernoulli(q, min(1.0, p + 1e-14))
    assert below - 1e-12 <= bound * (1 + 1e-9)
    assert q == 1 or bound * (1 - 1e-9) <= above + 1e-12


@given(share, share, nats, nats)
def test_the_inverse_grows_in_both(q: float, r: float, a: float, b: float) -> None:
    (q, r), (a, b) = sorted((q, r)), sorted((a, b))
    assert kl_inverse(q, a) <= kl_inverse(q, b) + 1e-13
    assert kl_inverse(q, a) <= kl_inverse(r, a) + 1e-13


@given(st.floats(1e-6, 1 - 1e-6), st.floats(1e-6, 1 - 1e-6))
def test_kl_is_the_textbook_formula(q: float, p: float) -> None:
    plain = q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    assert kl_bernoulli(q, p) == pytest.approx(plain, rel=1e-9, abs=1e-14)
    assert kl_bernoulli(q, p) >= 2 * (q - p) ** 2 * (1 - 1e-9)  # Pinsker


def test_kl_of_close_arguments_is_exact() -> None:
    """It is not lost in rounding."""
    q, h = 0.3, 1e-9
    assert kl_bernoulli(q, q + h) == pytest.approx(h * h / (2 * q * (1 - q)), rel=1e-5)


def test_kl_at_the_ends() -> None:
    assert kl_bernoulli(0.2, 0.0) == kl_bernoulli(0.2, 1.0) == kl_bernoulli(0.0, 1.0) == math.inf
    assert kl_bernoulli(0.0, 0.0) == kl_bernoulli(1.0, 1.0) == 0.0


@pytest.mark.parametrize(
    ("q", "bound"), [(math.nan, 0.1), (-0.1, 0.1), (1.1, 0.1), (0.1, -1.0), (0.1, math.nan)]
)
def test_improbable_arguments_are_refused(q: float, bound: float) -> None:
    """What is no probability or bound."""
    with pytest.raises(InputError, match="allowed is"):
        kl_inverse(q, bound)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 50, 400])
@pytest.mark.parametrize("p", [0.01, 0.2, 0.5, 0.97])
def test_maurers_lemma(n: int, p: float) -> None:
    """E exp(n kl(k/n|p)) ≤ 2√n for k binomial: what the constant in the bound rests on."""
    k = np.arange(n + 1)
    kl = np.array([kl_bernoulli(i / n, p) for i in k])
    moment = np.exp(stats.binom.logpmf(k, n, p) + n * kl).sum()
    assert 1 <= moment <= 2 * math.sqrt(n)


def half_space(w: Tensor) -> Tensor:
    """An error that grows smoothly with the distance of the first weight from 1."""
    return 1 - torch.exp(-(w[:, 0] - 1).square())


def example(**changes: object):
    w, prior = torch.tensor([1.0, 2.0, 3.0], dtype=F64), torch.tensor([0.0, 2.0, 3.5], dtype=F64)
    given = {"risk": half_space, "w": w, "prior": prior, "n": 300, "chance": 0.5}
    given |= {"generator": torch.Generator().manual_seed(0)}
    chosen = {"sigmas": [0.1, 0.3, 1.0], "delta": 0.05, "draws": 400, "pilot_draws": 30}
    for name, value in changes.items():
        (given if name in given else chosen)[name] = value
    return certify(posteriors=Posteriors(**chosen), **given)


def test_the_certificate_is_its_formula() -> None:
    found = example(log_choices=1.5, alphas=(0.5, 1.0))
    length = 1 + 0.25
    assert found.kl == pytest.approx(found.alpha**2 * length / (2 * found.sigma**2))
    half = 0.05 / 2
    assert found.slack == pytest.approx(
        (found.kl + math.log(2 * math.sqrt(300) / half) + math.log(3) + 1.5) / 300
    )
    assert kl_bernoulli(found.empirical, found.empirical_upper) == pytest.approx(
        math.log(2 / half) / 400
    )
    assert kl_bernoulli(found.empirical_upper, found.bound) == pytest.approx(found.slack)
    exact = 1 - math.exp(-((found.alpha - 1) ** 2) / (1 + 2 * found.sigma**2)) / math.sqrt(
        1 + 2 * found.sigma**2
    )
    assert found.empirical == pytest.approx(exact, abs=0.05)  # E exp(-(x - 1)²) for a Gaussian x
    assert exact < found.empirical_upper


def test_best_posterior_is_chosen() -> None:
    """The best σ and α."""
    bounds = {
        (s, a): example(sigmas=[s], alphas=[a]).bound for s in (0.1, 0.3, 1.0) for a in (0.3, 1.0)
    }
    found = example(alphas=(0.3, 1.0))
    assert (found.sigma, found.alpha) == min(bounds, key=bounds.__getitem__)
    assert found.bound > min(bounds.values())  # the union over σ has a price


def test_only_sigmas_have_a_price() -> None:
    """More α have none."""
    one = example(sigmas=[0.3])
    assert example(sigmas=[0.3], alphas=(1.0, 1.0)).bound == one.bound
    assert example(sigmas=[0.3, 0.3]).slack == pytest.approx(one.slack + math.log(2) / 300)


def test_choice_has_its_own_draws() -> None:
    """A risk that is 0 for the pilot's draws and 1 afterwards leaves no trace of the pilot."""
    seen = 0

    def risk(w: Tensor) -> Tensor:
        nonlocal seen
        seen += len(w)
        return torch.full((len(w),), float(seen > 3 * 30), dtype=F64)

    found = example(risk=risk)
    assert seen == 3 * 30 + 400
    assert found.empirical == found.bound == 1.0
    assert found.vacuous


def test_same_generator_gives_same_certificate() -> None:
    """Chunks are bounded."""
    sizes = []

    def risk(w: Tensor) -> Tensor:
        sizes.append(len(w))
        return half_space(w)

    w = torch.zeros(30_000, dtype=F64)
    kinds = {"w": w + 1e-3, "prior": w, "draws": 10, "pilot_draws": 4, "risk": risk}
    assert example(**kinds) == example(**kinds)
    assert max(sizes) == 3
    assert sum(sizes) == 2 * (3 * 4 + 10)


def test_vacuous_is_chance_or_worse() -> None:
    """No better than predicting one class."""
    found = example()
    assert example(chance=found.bound + 1e-9).vacuous is False
    assert example(chance=found.bound).vacuous is True


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sigmas": []}, "sigmas"),
        ({"sigmas": [0.1, 0.0]}, "sigmas"),
        ({"alphas": [1.5]}, "alphas"),
        ({"delta": 1.0}, "delta"),
        ({"draws": 0}, "draws"),
        ({"n": 0}, "n: "),
        ({"chance": 1.2}, "chance"),
        ({"log_choices": -1.0}, "log_choices"),
        ({"w": torch.full((3,), math.nan, dtype=F64)}, "weights"),
        ({"risk": lambda w: half_space(w) * math.nan}, "q: "),
    ],
)
def test_bad_input_is_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        example(**changes)


@settings(deadline=None)  # the first call into torch is slow
@given(st.lists(st.floats(0.005, 5.0), min_size=1, max_size=4), st.integers(2, 60))
def test_rounding_takes_nearest_grid_point(values: list[float], points: int) -> None:
    c = torch.tensor(values, dtype=F64)
    rounded, log_choices = round_curvature(c, (0.005, 5.0), points)
    grid = torch.logspace(math.log10(0.005), math.log10(5.0), points, dtype=F64)
    distance = (c.log()[:, None] - grid.log()).abs().min(1).values
    torch.testing.assert_close((rounded.log() - c.log()).abs(), distance, rtol=1e-9, atol=1e-12)
    assert log_choices == pytest.approx(math.log(points ** len(values)))
    torch.testing.assert_close(round_curvature(rounded, (0.005, 5.0), points)[0], rounded)


@pytest.mark.parametrize(
    ("c", "bounds", "points", "named"),
    [
        (7.0, (0.005, 5.0), 9, "c: "),
        (math.nan, (0.005, 5.0), 9, "c: "),
        (1.0, (0.0, 5.0), 9, "bounds"),
        (1.0, (0.1, 5.0), 1, "points"),
    ],
)
def test_curvatures_off_the_grid_are_refused(
    c: float, bounds: tuple[float, float], points: int, named: str
) -> None:
    with pytest.raises(InputError, match=named):
        round_curvature(torch.tensor([c], dtype=F64), bounds, points)
