"""What searching rules propose and choose, without any training."""

import math

import pytest
import torch

from hsac.ball import Transform
from hsac.errors import InputError
from hsac.parts import build
from hsac.rules.curvature.halving import Halving
from hsac.rules.curvature.random_search import RandomSearch
from hsac.rules.curvature.temperature_search import TemperatureSearch
from hsac.rules.types import Trial

F64 = torch.float64
TRANSFORM = Transform("exp", (0.005, 5.0))


def searched(rule, loss, start=0.3, transform=TRANSFORM, curvatures=2, seed=0):
    """Every θ that was tried, and the chosen one, where a training at θ gives the loss."""
    stream = torch.Generator().manual_seed(seed)
    theta = torch.full((curvatures,), transform.inverse(start), dtype=F64)
    tried = []
    while (proposed := rule.propose(theta, tried, transform, stream)) is not None:
        value = loss(proposed)
        tried.append(Trial(proposed, (-value, 0.0), value))
        assert len(tried) < 500
    return [t.theta for t in tried], max(tried, key=rule.score).theta


def to(target):
    """A loss with its minimum where all curvatures are `target`."""
    return lambda theta: float((theta - math.log(target)).abs().sum())


@pytest.mark.parametrize("target", [0.05, 0.1, 0.2, 0.5, 1.0, 2.0])
def test_temperature_search_finds_better_c(target) -> None:
    """Temperature search finds the better c in three trainings.

    From .3: the second pair's points are .6 and 1.8 from the start, on the side where the loss
    falls.
    """
    tried, chosen = searched(TemperatureSearch(), to(target))
    offsets = [float(theta[0]) - math.log(0.3) for theta in tried]
    torch.testing.assert_close(offsets, [-0.6, 0.6, 1.8 if target > 0.3 else -1.8])
    assert to(target)(chosen) == min(map(to(target), tried))


def test_temperature_search_trains_new_points_only() -> None:
    """Temperature search with other steps trains what it has not."""
    tried, chosen = searched(TemperatureSearch(pair=0.5, steps=(1.0, 0.4)), to(2.0))
    offsets = [float(theta[0]) - math.log(0.3) for theta in tried]
    torch.testing.assert_close(offsets, [-0.5, 0.5, 1.5, 1.4])
    torch.testing.assert_close(chosen, tried[-2])  # of least loss, wherever the search ended


def test_temperature_search_stays_on_flat_loss() -> None:
    """Temperature search stays where it started on a flat loss."""
    tried, _ = searched(TemperatureSearch(), lambda theta: 1.0)
    torch.testing.assert_close(
        [float(theta[0]) - math.log(0.3) for theta in tried], [-0.6, 0.6, 0.0]
    )


def test_temperature_search_stays_in_bounds() -> None:
    """Temperature search stays in the bounds."""
    tried, chosen = searched(TemperatureSearch(), to(5.0), start=4.0)
    assert all((theta.exp() <= 5.0 + 1e-12).all() for theta in tried)
    torch.testing.assert_close(chosen.exp(), torch.full((2,), 5.0, dtype=F64))


def test_diverged_training_is_worst() -> None:
    """A diverged training is worse than any."""
    _, chosen = searched(
        TemperatureSearch(), lambda theta: math.inf if theta[0] < math.log(0.3) else 3.0
    )
    assert chosen[0] > math.log(0.3)


def test_random_search_draws_log_uniformly() -> None:
    """Random search draws each layer log uniformly."""
    tried, _ = searched(RandomSearch(points=400), to(1.0), curvatures=3)
    share = (torch.stack(tried) - math.log(0.005)) / math.log(1000)
    assert share.min() >= 0
    assert share.max() <= 1
    torch.testing.assert_close(share.mean(0), torch.full((3,), 0.5, dtype=F64), atol=0.05, rtol=0)
    torch.testing.assert_close(share.var(0), torch.full((3,), 1 / 12, dtype=F64), atol=0.01, rtol=0)
    assert share.mT.corrcoef()[0, 1].abs() < 0.15


@pytest.mark.parametrize("points", [1, 7])
def test_random_search_chooses_the_best(points) -> None:
    """Random search chooses the best of its candidates."""
    tried, chosen = searched(RandomSearch(points=points), to(1.0))
    assert len(tried) == points
    assert torch.equal(chosen, min(tried, key=to(1.0)))


def test_runs_draw_their_own_stream() -> None:
    """Runs draw for themselves and again the same."""
    first, again, other = (searched(RandomSearch(3), to(1.0), seed=seed)[0] for seed in (0, 0, 1))
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_halving_costs_two_trainings() -> None:
    """Four starts: 4 quarters, 2 quarters and a half; fewer cost less, one a single training."""
    costs = [Halving(tuple(range(1, n + 1))).trainings for n in (1, 2, 3, 4)]
    assert costs == [1.0, 1.25, 1.75, 2.0]


@pytest.mark.parametrize(
    ("name", "parameters", "key"),
    [
        ("random_search", {"points": 0}, "points"),
        ("temperature_search", {"pair": 0.0}, "pair"),
        ("temperature_search", {"steps": []}, "steps"),
        ("temperature_search", {"steps": [1.0, -1]}, "steps"),
        ("temperature_search", {"steps": ["a"]}, "steps"),
        ("halving", {"starts": []}, "starts"),
        ("halving", {"starts": [0.1, 0.2, 0.3, 0.4, 0.5]}, "starts"),
        ("halving", {"starts": [0.3, 0.3]}, "starts"),
        ("halving", {"starts": [0.3, 0.0]}, "starts"),
        ("halving", {"starts": ["a"]}, "starts"),
    ],
)
def test_bad_parameters(name, parameters, key) -> None:
    with pytest.raises(InputError, match=f"mine.{key}: found"):
        build("curvature rule", name, parameters, "mine")
