"""What the two levels of the bi-level problem see in the training loop.

Batches of their own, once a step, counted.
"""

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from studies import cell_of

from hsac.ops.runner import train_seeds
from hsac.rules.curvature.hsac import Hsac
from hsac.rules.curvature.pac_bayes import PacBayes
from hsac.train.inputs import load_inputs
from hsac.train.loop import StepBatches, Trainer
from hsac.train.seeds import generator
from hsac.train.setup import prepare
from hsac.train.tasks.episodes import EpisodeTask
from hsac.train.tasks.images import ImageTask
from hsac.train.tasks.types import SAMPLES

SEEDS = (0, 1)
SIZE, ROWS = 8, 30
PARTS = {"train": list(range(ROWS)), "validation": list(range(30, 40)), "test": list(range(40, 50))}


def pictures() -> dict[str, Any]:
    """Fifty random images of side 16."""
    g = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (50, 16, 16), generator=g, dtype=torch.uint8).numpy()
    label = torch.randint(0, 3, (50,), generator=g).numpy()
    return {"image": image, "label": label, "group": torch.arange(50).numpy(), "classes": "abc"}


def image_task(augment: str | None = None) -> ImageTask:
    variant = {"indices": PARTS, "recipe": {"recipe": "plain"}}
    like = torch.zeros((), dtype=torch.float64)
    return ImageTask(pictures(), variant, SEEDS, SIZE, like, augment)


def episode_task() -> EpisodeTask:
    g = torch.Generator().manual_seed(1)
    drawn = {part: torch.randint(0, 50, (ROWS, 2, 3), generator=g).tolist() for part in PARTS}
    variant = {"episodes": drawn, "shot": 1, "query": 2}
    return EpisodeTask(pictures(), variant, SEEDS, SIZE, torch.zeros((), dtype=torch.float64))


def shuffled(level: str) -> torch.Tensor:
    """The order (R, N) of the first epoch of a level's stream."""
    return torch.stack([torch.randperm(ROWS, generator=generator(seed, level)) for seed in SEEDS])


@dataclass
class Watched:
    """A task that notes which batches are drawn, and on which ones outputs are asked for."""

    task: Any
    drawn: list[tuple[str, int]] = field(default_factory=list)
    used: list[Any] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def batch(self, stream: str, times: int = 1) -> Any:
        self.drawn.append((stream, times))
        return self.task.batch(stream, times)

    def held_out(self, stream: str = "held_out") -> Any:
        self.drawn.append((stream, 1))
        return self.task.held_out(stream)

    def held_out_loss(self, ensemble: Any, w: Any, c: Any, batch: Any) -> Any:
        self.used.append(batch)
        return self.task.held_out_loss(ensemble, w, c, batch)

    def outputs(self, ensemble: Any, w: Any, c: Any, batch: Any) -> Any:
        self.used.append(batch)
        return self.task.outputs(ensemble, w, c, batch)


def training(small: Any, name: str = "digits", rule: Any = None) -> Trainer:
    """A training of two runs on a watched task."""
    study, cell = cell_of(small.keys, name, "sgd+hsac")
    inputs = load_inputs(study.device, cell, small.variants[name], small.data)
    made = prepare(inputs, SEEDS)
    watched = replace(made, task=Watched(made.task), curvature_rule=rule or made.curvature_rule)
    streams = {"upper": torch.Generator().manual_seed(0)}

    def normal(purpose):
        return torch.randn(made.w.shape, generator=streams[purpose], dtype=made.w.dtype)

    return Trainer(watched, normal)


def fresh(small: Any) -> tuple[Trainer, StepBatches, Watched]:
    """A training, what its step may draw, and the watched task."""
    going = training(small)
    return going, StepBatches(going.losses, going.w, going.theta), going.losses.task


@pytest.mark.parametrize("level", SAMPLES)
def test_each_level_has_own_stream(level: str) -> None:
    """Rows are those of the stream named for the level, so that neither depends on the other."""
    _, y, rows = image_task().batch(level)
    assert torch.equal(rows, shuffled(level)[:, :SIZE])
    assert torch.equal(y, image_task().y["train"][rows])
    task = episode_task()
    assert torch.equal(
        task.batch(level), task.pixels(task.episodes["train"][shuffled(level)[:, :SIZE]])
    )


@pytest.mark.parametrize("make", [image_task, lambda: image_task("crop_flip"), episode_task])
def test_one_level_leaves_the_other_alone(make) -> None:
    """A draw of one level changes no later draw of the other, nor of the batches trained on."""
    quiet, asked = make(), make()
    for level in SAMPLES:
        asked.batch(level)
        for stream in ("batches", *(other for other in SAMPLES if other != level)):
            one, two = (task.batch(stream) for task in (quiet, asked))
            assert all(
                map(torch.equal, *((b if isinstance(b, tuple) else (b,)) for b in (one, two)))
            )
        quiet.batch(level)


@pytest.mark.parametrize("level", SAMPLES)
def test_both_levels_are_augmented(level: str) -> None:
    """Each by draws of its own: the same rows come out differently."""
    plain, augmented, other = image_task(), image_task("crop_flip"), image_task("crop_flip")
    x, _, rows = plain.batch(level)
    moved, _, same = augmented.batch(level)
    assert torch.equal(rows, same)
    assert not torch.equal(x, moved)
    pixels = plain.pixels.bytes[plain.rows["train"][rows]]
    assert torch.equal(moved, plain.pixels.floats(other.augment[level](pixels)))
    for different in {*SAMPLES} - {level}:
        assert not torch.equal(moved, plain.pixels.floats(other.augment[different](pixels)))


@pytest.mark.parametrize(("times", "count"), [(1, 8), (2, 16), (3, 24), (4, 30), (100, 30)])
@pytest.mark.parametrize("level", SAMPLES)
def test_times_enlarge_up_to_the_part(level: str, times: int, count: int) -> None:
    """No row comes twice in a batch, and the largest is the whole part."""
    rows = image_task().batch(level, times)[2]
    assert rows.shape == (2, count)
    assert all(len(run.unique()) == count for run in rows)
    assert episode_task().batch(level, times).shape[:2] == (2, count)
    assert image_task().batches == episode_task().batches == 4


def test_levels_see_different_batches(small) -> None:
    going, fresh_, task = fresh(small)
    upper, lower = fresh_.loss(), fresh_.objective()
    for loss in (upper, lower):
        loss(going.w, going.theta)
    assert task.drawn == [("upper", 1), ("lower", 1)]
    first, second = (batch[2] for batch in task.used)
    assert first.shape == second.shape
    assert not torch.equal(first.sort().values, second.sort().values)


def test_shared_level_sees_the_same_object(small) -> None:
    going, fresh_, task = fresh(small)
    for loss in (fresh_.loss(), fresh_.objective(shared=True)):
        loss(going.w, going.theta)
    assert task.used[0] is task.used[1]
    assert task.drawn == [("upper", 1)]


def test_levels_draw_once_a_step(small) -> None:
    """However often a rule asks, and nothing where it does not.

    The next step draws another batch.
    """
    going, fresh_, task = fresh(small)
    assert task.drawn == []
    for _ in range(3):
        for loss in (fresh_.loss(times=2), fresh_.objective(times=2)):
            loss(going.w, going.theta)
    assert task.drawn == [("upper", 2), ("lower", 2)]
    assert all(task.used[i] is task.used[i % 2] for i in range(6))
    after = StepBatches(going.losses, going.w, going.theta)
    after.objective(times=2)(going.w, going.theta)
    assert not torch.equal(task.used[-1][2], task.used[1][2])


@pytest.mark.parametrize("times", [1, 2, 5])
def test_gradients_count_as_often(small, times: int) -> None:
    """A gradient of a batch five times as large costs five."""
    going, fresh_, _ = fresh(small)
    for count, loss in enumerate((fresh_.loss(times=times), fresh_.objective(times=times)), 1):
        loss(going.w, going.theta)
        assert going.losses.gradients == count * times


def cost(small: Any, **parameters: Any) -> tuple[int, int]:
    """Gradients beyond those of the weights, and products, of one run of the rule."""
    keys = copy.deepcopy(small.keys)
    keys["rules"]["curvature"]["hsac"] = {"period": 5, **parameters}
    study, cell = cell_of(keys, "digits", "sgd+hsac")
    ((record, _),) = train_seeds(study, cell, [0], small.variants["digits"], small.data)
    return record["gradients"] - record["steps"], record["products"]


@pytest.mark.parametrize("solver", ["neumann", "amortised"])
def test_rule_counts_larger_batches(small, solver: str) -> None:
    """Gradients and products grow by `batch_factor`, up to the twenty batches of the part.

    Sharing costs as much.
    """
    given = {"solver": {"name": solver}}
    gradients, products = cost(small, **given)
    assert gradients > 0
    assert products > 0
    assert cost(small, batch_factor=3, **given) == (3 * gradients, 3 * products)
    assert cost(small, batch_factor=1000, **given) == (20 * gradients, 20 * products)
    assert cost(small, shared="levels", **given) == (gradients, products)


@pytest.mark.parametrize(
    ("parameters", "drawn"),
    [
        ({}, {("upper", 1), ("lower", 1), ("adversary", 1)}),
        ({"batch_factor": 4}, {("upper", 4), ("lower", 4), ("adversary", 4)}),
        ({"shared": "adversary"}, {("upper", 1), ("lower", 1)}),
        ({"shared": "levels"}, {("upper", 1)}),
        ({"objective": "mean"}, {("upper", 1), ("lower", 1)}),
        ({"objective": "loss"}, {("upper", 1), ("lower", 1)}),
        ({"batch": "held_out"}, {("lower", 1), ("held_out", 1), ("held_out adversary", 1)}),
        ({"batch": "held_out", "shared": "adversary"}, {("lower", 1), ("held_out", 1)}),
    ],
)
def test_rule_draws_a_batch_a_level(
    small, parameters: dict[str, Any], drawn: set[tuple[str, int]]
) -> None:
    going = training(small, rule=Hsac(period=2, warm_up=0.0, **parameters))
    going.step(0)
    assert going.losses.task.drawn == [("batches", 1)]  # not due, nothing drawn
    going.step(1)
    assert set(going.losses.task.drawn[2:]) == drawn
    assert len(going.losses.task.drawn[2:]) == len(drawn)


@pytest.mark.parametrize("batch", ["training", "held_out"])
def test_each_draw_goes_to_its_part(small, batch: str) -> None:
    """Objective, implicit term and ascent are each on the sample that was drawn for it."""
    going = training(small)
    task, seen = going.losses.task, []

    def watch(theta: Any, state: Any, step: Any) -> Any:
        # without `lower_radius` there is no plain loss of the lower level
        for loss in filter(None, vars(Hsac(batch=batch).draw(step)).values()):
            loss(step.w, theta)
            seen.append(task.used[-1])
        return theta, state, {}

    watching = {"update": staticmethod(watch), "needs_gradient": False}
    going.made = replace(going.made, curvature_rule=type("Watching", (), watching)())
    going.step(0)
    again = training(small).losses.task
    streams = (
        ("held_out", "lower", "held_out adversary")
        if batch == "held_out"
        else ("upper", "lower", "adversary")
    )
    want = [
        again.held_out(name) if name.startswith("held_out") else again.batch(name)
        for name in streams
    ]
    for found, expected in zip(seen, want, strict=True):
        assert all(map(torch.equal, found, expected))
    assert not torch.equal(seen[0][0], seen[2][0])


def test_pac_bayes_levels_are_independent(small) -> None:
    """Its complexity has no batch, but its loss and the lower level have one each."""
    going = training(small, rule=PacBayes(period=1, warm_up=0.0))
    going.step(0)
    task = going.losses.task
    assert task.drawn == [("batches", 1), ("upper", 1), ("lower", 1)]
    rows = {id(batch): batch[2] for batch in task.used}
    trained, upper, lower = rows.values()
    assert not torch.equal(upper, lower)
    assert not torch.equal(upper, trained)
    assert not torch.equal(lower, trained)


def test_batch_levels_of_graphs_are_whole(small) -> None:
    """On a graph both levels are all training nodes.

    So neither the sharing nor the factor changes anything.
    """
    going = training(small, "disease")
    at = going.w, going.theta
    fresh_ = StepBatches(going.losses, *at)
    own, shared = (fresh_.objective(shared=given)(*at) for given in (False, True))
    assert going.losses.task.batches == 1
    assert going.losses.task.rate == 0  # dropout masks would be a level's own
    torch.testing.assert_close(own, shared, rtol=0, atol=0)
