"""Bias and noise of the hypergradient, on a short training of digits with wrong labels."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from studies import cell_of, recipe_of, smoke_keys, with_training
from torch.testing import assert_close

from hsac import cli
from hsac.data import build_variant, load_images, load_variant, write_variant
from hsac.errors import InputError
from hsac.files import write_json
from hsac.hypergradient import HessianOperator
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.rules.curvature.hsac import SHARED, Hsac, Samples
from hsac.study.models import HypergradientOptions
from hsac.theory import hypergradient_bias as bias
from hsac.train.inputs import load_inputs
from hsac.train.loop import Trainer
from hsac.train.seeds import normals
from hsac.train.setup import prepare
from hsac.train.tasks.episodes import EpisodeTask

METHOD = "sgd+fixed@0.3"
SEARCH = {"search": {"points": 2}}
OPTIONS = HypergradientOptions(at=[0.5, 1.0], sizes=[0.25, 1.0], draws=6, seed=0, rows=None)


@pytest.fixture(scope="module")
def keys():
    keys = smoke_keys()
    digits = keys["experiments"]["digits"]
    digits["setting"] = "noisy"
    digits["variant"] = {
        "name": "noisy",
        "recipe": "label_noise",
        "kind": "symmetric_exclusive",
        "rate": 0.4,
    }
    digits["training"] |= {"epochs": 20, "evaluations": 1}
    digits["model"] |= {"hidden": 16, "dim": 4}
    return keys


def variant_of(keys, name, data_folder, folder):
    experiment = keys["experiments"][name]
    recipe = recipe_of(experiment)
    path = folder / f"{name}.json"
    write_variant(build_variant(experiment["dataset"], name, recipe, data_folder), path)
    return path


@pytest.fixture(scope="module")
def variant(keys, data_folder, tmp_path_factory):
    return variant_of(keys, "digits", data_folder, tmp_path_factory.mktemp("variants"))


@pytest.fixture(scope="module")
def point(keys, variant, data_folder):
    """A training stopped after a quarter of its steps, and the rows of its training part."""
    study, cell = cell_of(keys, "digits", METHOD)
    made = prepare(load_inputs(study.device, cell, load_variant(variant), data_folder), [0])
    going = Trainer(made, normals([0], made.w))
    list(bias.points(going, [0.25]))
    rows = bias.population(made.task, None, 0)
    truth = {
        name: bias.known(going.losses, going.w, going.theta, rows, name) for name in bias.OBJECTIVES
    }
    return SimpleNamespace(
        losses=going.losses, w=going.w, theta=going.theta, task=made.task, rows=rows, truth=truth
    )


def estimated(point, objective, shared, size, numbers=range(4)):
    draws = bias.Draws(point.task, point.rows, size, 0, "test", numbers)
    at = (point.losses, point.w, point.theta, objective, shared, draws, point.truth[objective])
    return bias.estimates(*at)


@pytest.mark.parametrize("objective", bias.OBJECTIVES)
def test_truth_is_the_rules_own(point, objective, monkeypatch):
    """From the same carried state the rule `hsac` takes the hypergradient that is called the truth.

    Both are on all rows. The truth does not depend on the parts that it is computed in.
    """
    rule, truth = Hsac(objective=objective), point.truth[objective]
    state = rule.init(point.theta) | {"adversary": truth.carried, "solver": {"power": truth.power}}
    batch = bias.batch_of(point.task, point.rows[None])
    loss, lower = point.losses.loss(batch), point.losses.objective(batch)
    _, _, log = rule.outer(
        point.theta, state, point.w, Samples(loss, lower, loss), lambda: point.w, ()
    )
    assert_close(truth.found.total, log["hypergradient"], rtol=1e-8, atol=1e-12)
    assert truth.found.implicit.abs() > 1e-4
    monkeypatch.setattr(bias, "IMAGES", 100)
    parts = bias.known(point.losses, point.w, point.theta, point.rows, objective)
    assert_close(parts.found.total, truth.found.total, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("objective", "shared"),
    [(o, s) for o in bias.OBJECTIVES for s in bias.KINDS if (o, s) != ("loss", "adversary")],
)
def test_all_rows_leave_no_error(point, objective, shared):
    """An estimate from all rows has neither bias nor noise, whatever it shares."""
    total = estimated(point, objective, shared, len(point.rows), range(3)).total
    assert float(total.std(0)) < 1e-12
    assert_close(total, point.truth[objective].found.total.expand_as(total), rtol=1e-8, atol=1e-12)


def test_only_one_batch_is_biased(point):
    """With one batch for both levels the bias is of order one over the batch size.

    It is that of the loss's hypergradient (Ghadimi and Wang 2018). With independent batches it is
    within four standard errors of the truth.
    """
    found = {
        (shared, size): bias.summary(
            estimated(point, "loss", shared, size, range(400)).total,
            point.truth["loss"].found.total[0],
        )
        for shared in ("none", "levels")
        for size in (32, 128)
    }
    z = {key: one["bias"][0] / one["bias_se"][0] for key, one in found.items()}
    assert max(abs(z["none", 32]), abs(z["none", 128])) < 4
    assert max(z["levels", 32], z["levels", 128]) < -8
    assert 2.5 < found["levels", 32]["bias"][0] / found["levels", 128]["bias"][0] < 6


@pytest.mark.parametrize("shared", SHARED)
def test_estimates_are_the_rules(point, shared):
    """On the samples that its key `shared` says, the rule `hsac` takes the same hypergradients."""
    numbers, truth = range(3), point.truth["worst"]
    draws = bias.Draws(point.task, point.rows, 32, 0, "test", numbers)
    upper, lower, adversary = (draws.batch(name) for name in ("upper", "lower", "adversary"))
    problem, w, theta = (
        bias.repeated(point.losses, 3),
        point.w.repeat(3, 1),
        point.theta.repeat(3, 1),
    )
    step = SimpleNamespace(
        upper=lambda times: problem.loss(upper),
        lower=lambda times, shared: problem.objective(upper if shared else lower),
        adversary=lambda times: problem.loss(adversary),
        batches=1,
    )
    rule, carried = Hsac(objective="worst", shared=shared), truth.carried.expand_as(w)
    state = rule.init(theta) | {"adversary": carried, "solver": {"power": truth.power.expand_as(w)}}
    _, _, log = rule.outer(theta, state, w, rule.draw(step), lambda: w, ())
    assert_close(estimated(point, "worst", shared, 32, numbers).total, log["hypergradient"])


def test_costs_count_every_product(point):
    """A Hessian product counts as two gradients.

    Three power steps, three terms and the mixed one come on top of the upper and the lower
    gradient. Where each product has a batch, each also has a gradient of its own.
    """
    cost = {
        shared: estimated(point, "loss", shared, 8).gradients
        for shared in ("none", "levels", "terms", "step")
    }
    assert cost == {
        "none": 1 + 1 + 2 * 7,
        "levels": 1 + 1 + 2 * 7,
        "terms": 1 + 3 * 7,
        "step": 1 + 1 + 2 * 4,
    }
    assert {estimated(point, "worst", shared, 8).gradients for shared in SHARED} == {2 + 1 + 2 * 7}


def test_known_step_is_neumanns(point):
    """A series with this step fixed is the adaptive one, bit for bit."""
    batch = bias.batch_of(point.task, point.rows[None, :50])
    leaves = point.w.clone().requires_grad_(), point.theta.clone().requires_grad_()
    hessian = HessianOperator(point.losses.objective(batch), *leaves)
    v = torch.randn(point.w.shape, generator=torch.Generator().manual_seed(0), dtype=point.w.dtype)
    adaptive, power = Neumann(), point.truth["loss"].power
    step = bias.neumann_step(adaptive, hessian, v, power)
    assert 0 < step < 1
    fixed = Neumann(step=step).solve(hessian, v, {}).x
    assert torch.equal(fixed, adaptive.solve(hessian, v, {"power": power}).x)


def test_a_mean_operator_is_the_means(point):
    """Products of parts, weighted by their shares, are those of the whole.

    Losses drawn afresh give others.
    """
    batches = [
        bias.batch_of(point.task, some[None]) for some in (point.rows[:300], point.rows[300:])
    ]
    shares = [300 / len(point.rows), 1 - 300 / len(point.rows)]
    losses = [point.losses.objective(batch) for batch in batches]
    mean = bias.MeanOperator(lambda: zip(shares, losses, strict=True), point.w, point.theta)
    leaves = point.w.clone().requires_grad_(), point.theta.clone().requires_grad_()
    whole = HessianOperator(
        point.losses.objective(bias.batch_of(point.task, point.rows[None])), *leaves
    )
    v = torch.randn(point.w.shape, generator=torch.Generator().manual_seed(0), dtype=point.w.dtype)
    assert_close(mean(v), whole(v))
    assert_close(mean.mixed(v), whole.mixed(v))
    draws = bias.Draws(point.task, point.rows, 16, 0, "test", range(1))
    afresh = bias.MeanOperator(bias._one_a_product(point.losses, draws), point.w, point.theta)
    assert (afresh(v) != afresh(v)).any()


def test_draws_are_independent_samples(point):
    """A draw is the same whatever is drawn with it.

    It differs from the next and by purpose, and holds no row twice.
    """
    rows = bias.population(point.task, 50, 0)
    every = bias.Draws(point.task, rows, 40, 0, "here", range(4)).batch("upper")[2]
    parts = [
        bias.Draws(point.task, rows, 40, 0, "here", some).batch("upper")[2]
        for some in (range(2), range(2, 4))
    ]
    other = bias.Draws(point.task, rows, 40, 0, "here", range(4)).batch("lower")[2]
    assert torch.equal(every, torch.cat(parts))
    assert all(len(set(one.tolist())) == 40 for one in every)
    assert set(every.flatten().tolist()) <= set(rows.tolist())
    assert len({tuple(one.tolist()) for one in (*every, *other)}) == 8


def test_a_population_is_a_sample(point):
    n = len(point.task.rows["train"])
    assert torch.equal(bias.population(point.task, None, 0), torch.arange(n))
    assert torch.equal(bias.population(point.task, n + 1, 0), torch.arange(n))
    some = bias.population(point.task, 20, 0)
    assert len(set(some.tolist())) == 20
    assert not torch.equal(some, bias.population(point.task, 20, 1))


def test_episodes_are_rows(data_folder):
    """Of few-shot training the rows are episodes, and a batch holds those that were asked for."""
    images = load_images("digits", data_folder)
    episodes = np.arange(5 * 2 * 3).reshape(
        5, 2, 3
    )  # five episodes of two classes, three images each
    variant = {"name": "e", "data_sha256": images.sha256, "shot": 1, "query": 2}
    variant["episodes"] = {part: episodes for part in ("train", "validation", "test")}
    arrays = {"image": images.image}
    task = EpisodeTask(arrays, variant, [0], 1, torch.zeros((), dtype=torch.float64))
    for vmapped, rows in ((True, 2048 // 6), (False, 512 // 6)):
        assert (
            bias.rows_at_once(SimpleNamespace(task=task, ensemble=SimpleNamespace(vmapped=vmapped)))
            == rows
        )
    assert torch.equal(bias.population(task, None, 0), torch.arange(5))
    before = dict(task.streams)
    batch = bias.batch_of(task, torch.tensor([[4, 0], [1, 2]]))
    assert torch.equal(batch[0, 0], task.pixels(task.episodes["train"][4]))
    assert batch.shape == (2, 2, 2, 3, 8, 8)
    assert (task.size, task.streams) == (1, before)  # the training's own go on as they would


def test_a_summary_by_hand():
    found = bias.summary(
        torch.tensor([[1.0, -1.0], [3.0, -1.0], [-1.0, -1.0]]), torch.tensor([0.5, -1.0])
    )
    assert found == {
        "mean": [1.0, -1.0],
        "bias": [0.5, 0.0],
        "bias_se": pytest.approx([2 / 3**0.5, 0.0]),
        "sd": [2.0, 0.0],
        "wrong_sign": pytest.approx([1 / 3, 0.0]),
    }


def test_rows_of_a_training(keys, variant, data_folder):
    """Every point, objective, size and kind has a row; the same call gives the same rows."""
    study, cell = cell_of(keys, "digits", METHOD)
    said = []
    cell = with_training(cell, epochs=2)
    found = bias.hypergradient_bias(study, cell, OPTIONS, variant, data_folder, said.append)
    steps = sorted({row["step"] for row in found})
    assert steps[1] == 2 * steps[0]
    assert {row["share"] for row in found} == {0.5, 1.0}
    assert len(found) == len(said) * (len(bias.KINDS) * 2 - 1) * len(OPTIONS.sizes)
    assert {row["size"] for row in found} == {16, 64}
    assert {(row["experiment"], row["method"], row["seed"]) for row in found} == {
        ("digits", METHOD, 0)
    }
    one = found[0]
    assert one["bias"] == pytest.approx(one["mean"] - one["truth"])
    assert one["truth"] == pytest.approx(one["truth_direct"] - one["truth_implicit"])
    assert found == bias.hypergradient_bias(study, cell, OPTIONS, variant, data_folder)
    capped = bias.hypergradient_bias(
        study, cell, OPTIONS.model_copy(update={"rows": 40, "at": [1.0]}), variant, data_folder
    )
    assert {row["size"] for row in capped} == {16, 40}
    assert max(row["sd"] for row in capped if row["size"] == 40) < 1e-12


def test_progress_follows_each_point(keys, variant, data_folder, monkeypatch):
    """A point is told of after its rows are there."""
    study, cell = cell_of(keys, "digits", METHOD)
    seen = []
    cell = with_training(cell, epochs=1)
    monkeypatch.setattr(bias, "at_point", lambda *given: [seen.append("measured")] and [{}])
    bias.hypergradient_bias(
        study, cell, OPTIONS, variant, data_folder, lambda text: seen.append("told")
    )
    assert seen == ["measured", "told"] * 2


def test_batch_statistics_are_refused(keys, variant, data_folder):
    """The loss of a model that normalises by batch is no mean over rows."""
    changed = copy.deepcopy(keys)
    changed["experiments"]["digits"]["model"] = {"name": "resnet", "depth": 20}
    study, cell = cell_of(changed, "digits", METHOD)
    said = (
        r"experiments\.digits\.hypergradient: found model 'resnet'; allowed are models that do not"
        r" normalise"
    )
    with pytest.raises(InputError, match=said):
        bias.hypergradient_bias(study, cell, OPTIONS, variant, data_folder)


def test_a_training_that_diverges(keys, variant, data_folder):
    wild = copy.deepcopy(keys)
    wild["rules"]["weights"]["sgd"]["lr"] = 1e9
    study, cell = cell_of(wild, "digits", METHOD)
    assert bias.hypergradient_bias(study, cell, OPTIONS, variant, data_folder) == []


@pytest.mark.parametrize(
    ("experiment", "method", "changes", "found"),
    [
        (
            "digits",
            "sgd+euclidean",
            {},
            r"found 'sgd\+euclidean'; allowed is a method with a curvature",
        ),
        (
            "digits",
            METHOD,
            {"augment": "crop_flip"},
            "allowed where batches are drawn and images not augmented",
        ),
        (
            "disease",
            "adam+fixed@0.3",
            {},
            "experiments.disease.hypergradient: .*allowed where batches are drawn",
        ),
    ],
)
def test_what_has_no_bias_to_measure(
    keys, data_folder, tmp_path, experiment, method, changes, found
):
    changed = copy.deepcopy(keys)
    changed["experiments"][experiment]["training"] |= changes
    path = variant_of(changed, experiment, data_folder, tmp_path)
    study, cell = cell_of(changed, experiment, method)
    with pytest.raises(InputError, match=found):
        bias.hypergradient_bias(study, cell, OPTIONS, path, data_folder)


NO_POINT = "--points: found none of sgd+fixed@0.3; allowed is what `hsac job tune`"


@pytest.mark.parametrize(
    ("command", "override", "said"),
    [
        (
            "hypergradient --experiment disease",
            {},
            "--experiment: found 'disease'; allowed is one with the key hypergradient",
        ),
        ("hypergradient --experiment digits", SEARCH, NO_POINT),
        ("certify --experiment digits", SEARCH, NO_POINT),
    ],
)
def test_command_says_what_misses(keys, variant, tmp_path, capsys, command, override, said):
    own = keys["experiments"]["digits"] | {"hypergradient": {"method": METHOD}}
    own |= {"informed": [METHOD]}
    given = keys | override | {"experiments": keys["experiments"] | {"digits": own}}
    write_json(tmp_path / "settings.json", given)
    files = ["--settings", str(tmp_path / "settings.json"), "--variant", str(variant)]
    output = tmp_path / "rows.csv"
    assert cli.main(["job", *command.split(), *files, "--output", str(output)]) == 2
    assert capsys.readouterr().err.startswith(f"hsac: {said}")
    assert not output.exists()
