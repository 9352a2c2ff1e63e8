"""Every loss against its published formula, in its limits, and in what training asks of it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from hsac.errors import InputError
from hsac.losses.types import Labels, LearningLoss
from hsac.parts import build, filled, names

COUNTS = torch.tensor([120.0, 40.0, 12.0, 5.0, 1.0], dtype=torch.float64)
LONG_TAILED = (
    *("ldam_drw", "balanced_softmax", "logit_adjusted", "logit_adjusted_post_hoc"),
    "class_balanced",
)
STATELESS = [name for name in names("loss") if name not in ("elr", "meta_weight_net")]
# Pure functions of the logits: the weights of the other one are constants to its gradient.
PURE = [name for name in names("loss") if name != "meta_weight_net"]


def make(name, counts=COUNTS, **parameters):
    context = {"training": Labels(counts)} if "training" in filled("loss", name) else {}
    return build("loss", name, parameters, **context)


def some(runs=2, rows=6, classes=5, seed=0, scale=3.0):
    g = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(runs, rows, classes, generator=g, dtype=torch.float64)
    return logits, torch.randint(0, classes, (runs, rows), generator=g)


def memory(loss, logits):
    """A state of the batch's rows, of targets that are no softmax of the logits."""
    if isinstance(loss, LearningLoss):
        return loss.start(logits.detach().flatten(1))
    target = torch.softmax(logits.detach().flip(-1), -1)
    return {"target": 0.8 * target} if loss.init(len(logits)) else {}


def softmax(z):
    e = [math.exp(v) for v in z]
    return [v / sum(e) for v in e]


def published(name, z, y, n, late):
    """The loss of one row as its paper writes it: n are the class counts, z a list of logits."""
    p = softmax(z)
    margins = [0.5 * (min(n) / k) ** 0.25 for k in n]
    lowered = [v - margins[y] * (k == y) for k, v in enumerate(z)]
    others = [k for k in range(len(z)) if k != y]
    weighted = [k * math.exp(v) for k, v in zip(n, z, strict=True)]
    effective = [(1 - 0.9999) / (1 - 0.9999**k) for k in n]
    odds = sum((n[k] / n[y]) * math.exp(z[k] - z[y]) for k in others)
    values = {
        "cross_entropy": -math.log(p[y]),
        "focal": -((1 - p[y]) ** 2) * math.log(p[y]),
        "ldam_drw": -math.log(softmax(lowered)[y]),
        "balanced_softmax": -math.log(weighted[y] / sum(weighted)),
        "logit_adjusted": math.log(1 + odds),
        "logit_adjusted_post_hoc": -math.log(p[y]),
        "crt": -math.log(p[y]),
        "mixup": -math.log(p[y]),
        "class_balanced": -len(n) * effective[y] / sum(effective) * math.log(p[y]),
        "forward_correction": -math.log(
            sum((0.6 if k == y else 0.4 / (len(z) - 1)) * p[k] for k in range(len(z)))
        ),
        "gce": (1 - p[y] ** 0.7) / 0.7,
        "sce": -0.1 * math.log(p[y]) + 4 * sum(p[k] for k in others),
    }
    if name == "elr":
        agreement = sum(a * b for a, b in zip(p, late, strict=True))
        return -math.log(p[y]) + 3 * math.log(1 - agreement)
    return values[name]


@pytest.mark.parametrize("name", PURE)
def test_losses_are_their_published_formulas(name):
    """Each loss is its published formula."""
    logits, labels = some()
    loss = make(name)
    state = memory(loss, logits)
    targets = state.get("target", torch.zeros_like(logits)).tolist()
    want = []
    for run, own, late in zip(logits.tolist(), labels.tolist(), targets, strict=True):
        rows = zip(run, own, late, strict=True)
        want.append(np.mean([published(name, z, y, COUNTS.tolist(), t) for z, y, t in rows]))
    torch.testing.assert_close(
        loss(logits, labels, state, 0.0), torch.tensor(want, dtype=torch.float64)
    )


def test_deferred_weights_are_class_balanced():
    """Deferred weights are the class balanced ones.

    Cui et al.: (1 - beta) / (1 - beta^n), and torch's own weighted cross-entropy averages by the
    weights it met.
    """
    logits, labels = some(runs=1)
    loss = make("ldam_drw", max_margin=0.0)
    weights = torch.tensor(
        [(1 - 0.9999) / (1 - 0.9999**n) for n in COUNTS.tolist()], dtype=torch.float64
    )
    want = torch.nn.functional.cross_entropy(logits[0], labels[0], weight=weights)
    torch.testing.assert_close(loss(logits, labels, {}, 0.8)[0], want)
    torch.testing.assert_close(
        loss(logits, labels, {}, 0.799), make("cross_entropy")(logits, labels, {}, 0.799)
    )


def test_ldam_predicts_at_its_scale():
    """The scale of LDAM is that of its predictions."""
    logits, labels = some()
    plain, scaled = make("ldam_drw", max_margin=0.0), make("ldam_drw", max_margin=0.0, scale=30.0)
    torch.testing.assert_close(scaled(logits, labels, {}, 0.0), plain(30 * logits, labels, {}, 0.0))
    assert torch.equal(scaled.adjust(logits), 30 * logits)


@pytest.mark.parametrize("uniform", [1.0, 7.0])
def test_uniform_counts_give_cross_entropy(uniform):
    """Losses for long tails are cross entropy under uniform counts."""
    logits, labels = some()
    counts = torch.full((5,), uniform, dtype=torch.float64)
    want = make("cross_entropy")(logits, labels, {}, 0.9)
    for name in LONG_TAILED[1:]:
        loss = make(name, counts)
        torch.testing.assert_close(loss(logits, labels, {}, 0.9), want)
        torch.testing.assert_close(loss.adjust(logits).log_softmax(-1), logits.log_softmax(-1))
    # the margins are constant, and so are the deferred weights
    margin = torch.nn.functional.one_hot(labels, 5) * 0.5
    lowered = make("cross_entropy")(logits - margin, labels, {}, 0.9)
    torch.testing.assert_close(make("ldam_drw", counts)(logits, labels, {}, 0.9), lowered)


def test_limits():
    logits, labels = some()
    want = make("cross_entropy")(logits, labels, {}, 0.0)
    wrong = 1 - logits.softmax(-1).gather(-1, labels[..., None]).mean((1, 2))
    for name, parameters, limit, rtol in [
        ("focal", {"gamma": 0.0}, want, 1e-12),
        ("gce", {"q": 1e-9}, want, 1e-7),
        ("gce", {"q": 1.0}, wrong, 1e-12),
        ("sce", {"alpha": 1.0, "beta": 0.0}, want, 1e-12),
        ("sce", {"alpha": 0.0, "beta": 0.25}, wrong, 1e-12),
        ("logit_adjusted", {"tau": 0.0}, want, 1e-12),
        ("class_balanced", {"beta": 0.0}, want, 1e-12),
        ("forward_correction", {"rate": 1e-12}, want, 1e-8),
        ("ldam_drw", {"max_margin": 0.0, "beta": 0.0}, want, 1e-12),
    ]:
        torch.testing.assert_close(
            make(name, **parameters)(logits, labels, {}, 1.0), limit, rtol=rtol, atol=0
        )
    still = make("elr", strength=0.0)
    torch.testing.assert_close(still(logits, labels, memory(still, logits), 0.0), want)
    adjusted = make("logit_adjusted")(logits, labels, {}, 0.0)
    torch.testing.assert_close(make("balanced_softmax")(logits, labels, {}, 0.0), adjusted)


def test_forward_corrections_use_the_matrix():
    """The loss is the cross-entropy of Tᵀp with T as a matrix, and constant where T is uniform."""
    logits, labels = some()
    for rate in (0.2, 0.7, 0.95):
        matrix = torch.full((5, 5), rate / 4, dtype=torch.float64)
        matrix.fill_diagonal_(1 - rate)
        noisy = (logits.softmax(-1) @ matrix).log()
        want = -noisy.gather(-1, labels[..., None]).mean((1, 2))
        got = make("forward_correction", rate=rate)(logits, labels, {}, 0.0)
        torch.testing.assert_close(got, want)
    still = make("forward_correction", rate=0.8)(logits, labels, {}, 0.0)
    torch.testing.assert_close(still, torch.full_like(still, math.log(5)))


def test_class_weights_have_known_values():
    """As Cui et al.: beta 0 counts all alike, beta near 1 weighs by 1/n; 1 and 2 rows at 0.5."""
    counts = torch.tensor([1.0, 2.0], dtype=torch.float64)
    for beta, ratio in ((0.0, 1.0), (0.5, 1.5), (1 - 1e-9, 2.0)):
        first, second = make("class_balanced", counts, beta=beta).weights.tolist()
        assert first / second == pytest.approx(ratio, rel=1e-6)
        assert first + second == pytest.approx(2.0)


def test_post_hoc_adjustment_undoes_the_prior():
    """Post hoc adjustment undoes the prior that the loss puts in."""
    logits, _ = some()
    prior = COUNTS / COUNTS.sum()
    torch.testing.assert_close(make("logit_adjusted_post_hoc").adjust(logits + prior.log()), logits)
    assert torch.equal(make("logit_adjusted").adjust(logits), logits)
    twice = logits.softmax(-1) / prior**2
    got = make("logit_adjusted_post_hoc", tau=2.0).adjust(logits).softmax(-1)
    torch.testing.assert_close(got, twice / twice.sum(-1, keepdim=True))


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("name", PURE)
def test_both_derivatives(name, progress):
    logits, labels = some(rows=3)
    loss = make(name)
    state = memory(loss, logits)
    logits.requires_grad_()
    assert gradcheck(lambda z: loss(z, labels, state, progress), (logits,))
    assert gradgradcheck(lambda z: loss(z, labels, state, progress), (logits,))


@pytest.mark.parametrize("name", names("loss"))
@pytest.mark.parametrize("parameters", [{}, {"gamma": 0.5}])
def test_derivatives_finite_at_certain_rows(name, parameters):
    """Derivatives stay finite where a row is certain."""
    loss = make(name, **(parameters if name == "focal" else {}))
    for sign in (1, -1):
        logits = sign * 800 * torch.eye(5, dtype=torch.float64)[None]
        labels = torch.arange(5)[None]
        state = memory(loss, logits)
        logits.requires_grad_()
        (g,) = torch.autograd.grad(
            loss(logits, labels, state, 1.0).sum(), logits, create_graph=True
        )
        (h,) = torch.autograd.grad((g * torch.randn_like(g)).sum(), logits, allow_unused=True)
        assert g.isfinite().all()
        assert h is None or h.isfinite().all()


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(names("loss")),
    order=st.permutations(range(5)),
    seed=st.integers(0, 9),
    late=st.booleans(),
)
def test_classes_have_no_order(name, order, seed, late):
    """Classes renamed, with their counts and targets, leave every loss and prediction as it was."""
    logits, labels = some(seed=seed)
    order = torch.tensor(order)
    place = torch.argsort(order)
    loss, renamed = make(name), make(name, COUNTS[order])
    state = memory(loss, logits)
    # What is learned knows no classes.
    other = {k: v[..., order] if k == "target" else v for k, v in state.items()}
    want = loss(logits, labels, state, float(late))
    torch.testing.assert_close(renamed(logits[..., order], place[labels], other, float(late)), want)
    torch.testing.assert_close(renamed.adjust(logits[..., order]), loss.adjust(logits)[..., order])


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(STATELESS), shift=st.floats(-50, 50), seed=st.integers(0, 9))
def test_constant_on_logits_changes_nothing(name, shift, seed):
    """A constant added to the logits changes nothing."""
    logits, labels = some(seed=seed)
    loss = make(name)
    torch.testing.assert_close(loss(logits + shift, labels, {}, 1.0), loss(logits, labels, {}, 1.0))


@pytest.mark.parametrize("name", names("loss"))
def test_runs_do_not_see_each_other(name):
    logits, labels = some(runs=3)
    loss = make(name)
    state = memory(loss, logits)
    together = loss(logits, labels, state, 1.0)
    for i in range(3):
        own = {k: v[i : i + 1] for k, v in state.items()}
        torch.testing.assert_close(
            loss(logits[i : i + 1], labels[i : i + 1], own, 1.0)[0], together[i]
        )


def network(state):
    """The network of a state of one run, of torch's own layers."""
    flat = state["network"][0]
    hidden = (len(flat) - 1) // 3
    first, last = torch.nn.Linear(1, hidden).double(), torch.nn.Linear(hidden, 1).double()
    with torch.no_grad():
        first.weight.copy_(flat[:hidden, None])
        first.bias.copy_(flat[hidden : 2 * hidden])
        last.weight.copy_(flat[None, 2 * hidden : 3 * hidden])
        last.bias.copy_(flat[-1:])
    return torch.nn.Sequential(first, torch.nn.ReLU(), last, torch.nn.Sigmoid())


def test_meta_weight_net_weighs_rows():
    """The loss and its gradient are those of rows with torch's network as constant weights."""
    logits, labels = some(runs=1)
    loss = make("meta_weight_net", hidden=7)
    state = memory(loss, logits)
    logits.requires_grad_()
    each = torch.nn.functional.cross_entropy(logits[0], labels[0], reduction="none")
    weights = network(state)(each.detach()[:, None]).squeeze(1)
    assert weights.min() < weights.max()
    want, got = (weights * each).mean(), loss(logits, labels, state, 0.0)[0]
    torch.testing.assert_close(got, want)
    slopes = [torch.autograd.grad(value, logits)[0] for value in (got, want)]
    torch.testing.assert_close(*slopes)


def test_meta_weight_net_learns_by_adam():
    """Two steps are those of torch's Adam with weight decay."""
    loss = make("meta_weight_net", hidden=4, lr=0.01, decay=0.1)
    state = loss.start(torch.zeros(2, 3, dtype=torch.float64))
    flat = state["network"].clone().requires_grad_()
    adam = torch.optim.Adam([flat], lr=0.01, weight_decay=0.1)
    for step in range(2):
        flat.grad = torch.linspace(-1, 1 + step, flat.numel(), dtype=torch.float64).view_as(flat)
        state = loss.learn(state, flat.grad.clone())
        adam.step()
    torch.testing.assert_close(state["network"], flat.detach())


def test_mixup_is_linear_in_labels():
    """Shares of the classes give the mixture of the two labels' cross-entropies."""
    logits, labels = some()
    one = torch.nn.functional.one_hot(labels, 5).double()
    loss = make("mixup")
    plain, rolled = (loss(logits, y, {}, 0.0) for y in (labels, labels.roll(1, 1)))
    mixed = loss(logits, 0.3 * one + 0.7 * one.roll(1, 1), {}, 0.0)
    torch.testing.assert_close(mixed, 0.3 * plain + 0.7 * rolled)


def test_elr_remembers_its_predictions():
    loss = make("elr", momentum=0.9)
    state = loss.init(2)
    assert state["target"].shape == (2, 178, 5)
    assert not state["target"].any()
    first, second = some(seed=1)[0], some(seed=2)[0]
    rows = {"target": state["target"][:, :6]}
    after = loss.observe(loss.observe(rows, first), second)["target"]
    torch.testing.assert_close(after, 0.9 * 0.1 * first.softmax(-1) + 0.1 * second.softmax(-1))
    assert not loss.observe(rows, first.requires_grad_())["target"].requires_grad


def test_empty_class_is_finite():
    """A class without training rows is finite."""
    counts = COUNTS.clone()
    counts[2] = 0
    logits, labels = some()
    for name in LONG_TAILED:
        loss = make(name, counts)
        assert loss(logits, labels, {}, 1.0).isfinite().all()
        assert loss.adjust(logits).isfinite().all()


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("focal", {"gamma": -1}, "gamma: found -1; allowed is a number from 0"),
        ("gce", {"q": 0.0}, r"q: found 0.0; allowed is a number in \(0, 1\]"),
        ("sce", {"floor": 4.0}, "floor: found 4.0; allowed is a number below 0"),
        ("elr", {"momentum": 1.0}, r"momentum: found 1.0; allowed is a number in \[0, 1\)"),
        ("ldam_drw", {"scale": 0.0}, "scale: found 0.0; allowed is a number above 0"),
        ("ldam_drw", {"deferred": 2.0}, "deferred: found 2.0; allowed is a share"),
        ("class_balanced", {"beta": 1.0}, r"beta: found 1.0; allowed is a number in \[0, 1\)"),
        ("crt", {"deferred": 1.0}, r"deferred: found 1.0; allowed is a share of training in \(0"),
        (
            "meta_weight_net",
            {"look_ahead": 0.0},
            "look_ahead: found 0.0; allowed is a number above",
        ),
        ("mixup", {"alpha": 0.0}, "alpha: found 0.0; allowed is a number above 0"),
        ("forward_correction", {"rate": 0.0}, "rate: found 0.0; allowed is a number between"),
        ("logit_adjusted", {"tau": -0.5}, "tau: found -0.5; allowed is a number from 0"),
    ],
)
def test_bad_parameters(name, parameters, words):
    with pytest.raises(InputError, match=words):
        make(name, **parameters)
