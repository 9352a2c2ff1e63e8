"""The ball's maps keep their analytic Lipschitz bounds, attain the tight ones, and flatten at 0."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsac import ball
from hsac.errors import InputError
from hsac.theory.studies.lipschitz import MAPS, Lipschitz, rounding, spectral_norms, supremum

F64 = torch.float64
CASES = [(name, argument) for name, item in MAPS.items() for argument in item.arguments]
TIGHT = [(name, argument) for name, argument in CASES if MAPS[name].bound(argument, 1.0, 2.0).tight]
QUICK = Lipschitz(samples=256, climbers=1)


def tangents(count: int, r: float, seed: int, dimension: int = 3) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return ball.clip_norm(r * torch.randn(count, 2, dimension, generator=g, dtype=F64), r)


def test_which_bounds_are_tight() -> None:
    maps = {("exp", "base"), ("exp", "c"), ("log", "base"), ("log", "c")}
    assert set(CASES) - set(TIGHT) == maps | {("squared_distance", "c")}


@pytest.mark.parametrize(("name", "argument"), CASES)
@settings(max_examples=15, deadline=None)
@given(
    c=st.floats(1e-3, 10),
    r=st.floats(0.1, 2),
    seed=st.integers(0, 2**31),
    dimension=st.integers(2, 4),
)
def test_no_point_exceeds_the_bound(
    name: str, argument: str, c: float, r: float, seed: int, dimension: int
) -> None:
    norms = spectral_norms(MAPS[name], argument, tangents(64, r, seed, dimension), c)
    assert norms.max().item() <= MAPS[name].bound(argument, c, r).value * (1 + rounding(c, r))


@pytest.mark.parametrize("c", [0.01, 1.0, 3.0])
@pytest.mark.parametrize(("name", "argument"), CASES)
def test_ascent_reaches_tight_bounds(name: str, argument: str, c: float) -> None:
    """The ascent reaches tight bounds and passes none."""
    bound = MAPS[name].bound(argument, c, 2.0)
    found = supremum(MAPS[name], argument, c, 2.0, QUICK)
    assert found <= bound.value * (1 + rounding(c, 2.0))
    assert found >= bound.value * (1 - 1e-6 if bound.tight else 0.35)


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_flat_limits(name: str, argument: str) -> None:
    r = 1.5
    # In c: d/dc at c = 0 of tanh and artanh series, of -(x + y) x̄y and of the MLR's logit. In the
    # point: the slopes of 4|x - y|² and 4⟨u, z⟩.
    flat = {
        ("exp0", "c"): r**3 / 3,
        ("log0", "c"): r**3 / 3,
        ("mobius_add", "c"): 2 * r**3,
        ("squared_distance", "point"): 16 * r,
        ("mlr_logit", "point"): 4.0,
        ("mlr_logit", "c"): 16 / (9 * math.sqrt(3)) * r**3,
    }
    bound = MAPS[name].bound(argument, 1e-4, r)
    if bound.tight or argument != "c":
        assert bound.value == pytest.approx(flat.get((name, argument), 1.0), rel=2e-3)
    else:
        assert 0 < bound.value < 10 * r**3 * (8 * r if name == "squared_distance" else 1)


def test_left_translations_scale_conformally() -> None:
    """Norms of left translations are the ratio of conformal factors."""
    pairs, c = tangents(50, 2.0, 0), torch.tensor(0.7, dtype=F64)
    x, y = (ball.expmap0(pairs[:, i], c) for i in (0, 1))
    ratio = ball.conformal_factor(y, c) / ball.conformal_factor(ball.mobius_add(x, y, c), c)
    torch.testing.assert_close(
        spectral_norms(MAPS["mobius_add"], "point", pairs, 0.7), ratio.squeeze(-1)
    )


def test_norms_against_finite_differences_in_c() -> None:
    pairs, step = tangents(50, 2.0, 1), 1e-5
    c = torch.tensor(0.7, dtype=F64)
    x, y = (ball.expmap0(pairs[:, i], c) for i in (0, 1))
    difference = (ball.logmap(x, y, c + step) - ball.logmap(x, y, c - step)) / (2 * step)
    found = spectral_norms(MAPS["log"], "c", pairs, 0.7)
    torch.testing.assert_close(found, difference.norm(dim=-1), rtol=1e-6, atol=1e-8)


def test_rows_are_plain_and_repeat() -> None:
    """Rows are flat and the same every time."""
    study, told = Lipschitz(count=2, high=1.0, samples=64, climbers=1, iterations=5), []
    rows = study.rows(told.append)
    assert rows == study.rows(lambda text: None)
    assert [(row["map"], row["argument"]) for row in rows] == [
        case for case in CASES for _ in range(2)
    ]
    assert [row["c"] for row in rows] == pytest.approx([1e-3, 1.0] * len(CASES))
    assert all(type(value) in (str, float, bool) for row in rows for value in row.values())
    assert len(told) == len(CASES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"low": 0.0},
        {"high": 1e-4},
        {"count": 1},
        {"radius": 3.0},
        {"dimension": 1},
        {"climbers": 0},
        {"samples": 2},
    ],
)
def test_wrong_parameters_are_named(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Lipschitz(**wrong)
