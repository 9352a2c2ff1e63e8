"""Tasks on images in colour, on augmented images and with batch statistics; evaluation in parts."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from hsac.models.cnn import Cnn
from hsac.models.conv4_protonet import Conv4Protonet
from hsac.models.mlp import Mlp
from hsac.models.resnet import Resnet
from hsac.train.ensemble import Ensemble
from hsac.train.loop import Schedule
from hsac.train.tasks import episodes, images, metrics
from hsac.train.tasks.episodes import EpisodeTask
from hsac.train.tasks.images import ImageTask
from hsac.train.tasks.types import plain_loss

CPU = torch.device("cpu")
PARTS = {
    "train": list(range(90)),
    "validation": list(range(90, 130)),
    "test": list(range(130, 200)),
}


@pytest.fixture(scope="module")
def colour():
    """Two hundred colour images of side 16 in ten classes."""
    g = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (200, 16, 16, 3), generator=g, dtype=torch.uint8).numpy()
    label = torch.randint(0, 10, (200,), generator=g).numpy()
    group, classes = torch.arange(200).numpy(), "abcdefghij"
    return {"image": image, "label": label, "group": group, "classes": classes}


def image_task(arrays, dtype=torch.float32, **options):
    variant = {"indices": PARTS, "recipe": {"recipe": "plain"}}
    return ImageTask(arrays, variant, (0, 1), 16, torch.zeros((), dtype=dtype), **options)


def network(model, inputs, **parameters):
    """An ensemble of two runs with curvatures 0.5."""
    ensemble, w = Ensemble.start(model(inputs, space="hyperbolic", **parameters), (0, 1), CPU)
    return ensemble, w, torch.full((2, 1), 0.5, dtype=model.dtype)


def test_batches_are_floats_channels_first(colour):
    task = image_task(colour)
    x, y, _ = task.batch("batches")
    assert task.inputs == (3, 16, 16)
    assert x.shape == (2, 16, 3, 16, 16)
    assert x.dtype == torch.float32
    stored = torch.from_numpy(colour["image"][:90]).permute(0, 3, 1, 2) / 255
    row = next(i for i in range(90) if torch.equal(stored[i], x[1, 3]))
    assert y[1, 3] == colour["label"][row]
    assert task.pixels.bytes.dtype == torch.uint8


@pytest.mark.parametrize(("model", "small"), [(Mlp, {"pool": 2}), (Cnn, {"width": 4})])
def test_evaluation_ignores_chunk_size(colour, monkeypatch, model, small):
    task = image_task(colour, model.dtype)
    given = network(model, task.inputs, classes=10, **small)
    whole = [
        task.evaluate(*given),
        task.risk(*given),
        task.held_out_risk(*given),
        task.embedding(*given),
    ]
    monkeypatch.setattr(images, "CHUNK", 7)
    parts = [
        task.evaluate(*given),
        task.risk(*given),
        task.held_out_risk(*given),
        task.embedding(*given),
    ]
    torch.testing.assert_close(parts, whole)
    assert task.statistics(*given, "train") is None


def test_batch_statistics_see_no_labels(colour, monkeypatch):
    """In evaluation they are of rows whose labels play no part.

    These are spread training rows for what is reported, and validation rows for what a certificate
    is about.
    """
    monkeypatch.setattr(images, "CHUNK", 45)  # train in halves, every other row in each
    task = image_task(colour)
    ensemble, w, c = network(Resnet, task.inputs, classes=10, depth=20)

    def logits(rows, *batches):
        state = ensemble.statistics(w, c, map(task.pixels, batches))
        return ensemble.call("forward", w, c, task.pixels(rows), shared=True, state=state)

    train, validation, test = task.rows.values()
    found = task.evaluate(ensemble, w, c)
    for part, rows in task.rows.items():
        right, nll, _ = metrics.answers(logits(rows, train[::2], train[1::2]), task.y[part])
        torch.testing.assert_close(found[f"{part}_nll"], metrics.mean(nll))
        torch.testing.assert_close(found[f"{part}_accuracy"], metrics.mean(right))
    assert found["test_right"].shape == (2, len(test))
    wrong = ~metrics.answers(logits(train, validation), task.y["train"])[0]
    torch.testing.assert_close(task.risk(ensemble, w, c), metrics.mean(wrong))
    seen = metrics.answers(logits(train, train[::2], train[1::2]), task.y["train"])[0]
    assert not torch.equal(seen, ~wrong)
    assert task.held_out_risk(ensemble, w, c).shape == (2,)
    assert task.embedding(ensemble, w, c)[0].shape == (2, len(test), 64)


def test_training_normalises_by_its_batch(colour):
    task = image_task(colour)
    ensemble, w, c = network(Resnet, task.inputs, classes=10, depth=20)
    x, y, _ = task.batch("batches")
    model, params = ensemble.model, [ensemble.unflatten(one) for one in w]
    want = [cross_entropy(model.forward(params[i], c[i], x[i]), y[i]) for i in range(2)]
    torch.testing.assert_close(plain_loss(task, ensemble, w, c, (x, y, None)), torch.stack(want))


def test_only_training_batches_are_augmented(colour):
    plain, augmented, again = (
        image_task(colour),
        image_task(colour, augment="crop_flip"),
        image_task(colour, augment="crop_flip"),
    )
    for stream in ("batches", "upper", "upper"):
        (x, y, _), (moved, same, _), (twice, _, _) = (
            task.batch(stream) for task in (plain, augmented, again)
        )
        assert torch.equal(y, same)
        assert moved.shape == x.shape
        assert not torch.equal(moved, x)
        assert torch.equal(moved, twice)
    assert torch.equal(plain.probe()[0], augmented.probe()[0])
    given = network(Cnn, plain.inputs, classes=10, width=4)
    torch.testing.assert_close(augmented.evaluate(*given), plain.evaluate(*given), rtol=0, atol=0)


def episode_task(arrays, way, shot, query, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    drawn = {
        part: torch.randint(0, 200, (7, way, shot + query), generator=g).tolist() for part in PARTS
    }
    variant = {"episodes": drawn, "shot": shot, "query": query}
    return EpisodeTask(arrays, variant, (0, 1), 2, torch.zeros((), dtype=dtype))


def test_episodes_are_evaluated_in_parts(colour, monkeypatch):
    # Another number of episodes at once is another order of its sums.
    """Of images in colour."""
    task = episode_task(colour, 3, 2, 4, torch.float64)
    x = task.batch("batches")
    assert x.shape == (2, 2, 3, 6, 3, 16, 16)
    ensemble, w, c = network(Conv4Protonet, task.inputs, shot=2, width=4)
    given = ensemble, w.double(), c.double()
    assert plain_loss(task, *given, x).shape == (2,)
    whole = task.evaluate(*given)
    logits = given[0].call("forward", *given[1:], task.pixels(task.episodes["test"]), shared=True)
    right, nll, _ = metrics.answers(logits, task.answers)
    torch.testing.assert_close(whole["test_nll"], metrics.mean(nll.flatten(1)))
    assert torch.equal(whole["test_right"], right.sum(-1))
    monkeypatch.setattr(episodes, "DISTANCES", 1)
    monkeypatch.setattr(episodes, "CHUNK", 5)
    torch.testing.assert_close(task.evaluate(*given), whole)


@pytest.mark.parametrize(
    ("way", "shot", "query", "count"),
    [(3, 2, 4, 4), (5, 5, 15, 4), (10, 5, 15, 2), (20, 5, 15, 1), (20, 5, 16, 1)],
)
def test_probe_of_episodes_is_bounded(colour, way, shot, query, count):
    assert episode_task(colour, way, shot, query).probe().shape[:3] == (2, count, way)


def test_warmup_scales_with_training():
    """The shares are those of two hundred epochs."""
    plan = Schedule(200, 0.0, "warmup_steps", 1, 0.3, 1)
    assert [plan.factor(epoch, 200) for epoch in (0, 1, 4, 5, 159)] == pytest.approx(
        [0.2, 0.4, 1, 1, 1]
    )
    assert [plan.factor(epoch, 200) for epoch in (160, 179, 180, 199)] == pytest.approx(
        [1e-2, 1e-2, 1e-4, 1e-4]
    )
    assert Schedule(1, 0.0, "warmup_steps", 1, 0.3, 1, rate=0.5).factor(0, 1) == 0.5
