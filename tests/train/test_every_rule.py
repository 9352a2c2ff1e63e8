"""Every curvature rule under every weight rule on every kind of data, and what they must share."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from studies import cell_of, keys_of, unchecked

from hsac import learner, parts
from hsac.ops.runner import train_seeds
from hsac.report.gather import check_record
from hsac.study import resolve

EXPERIMENTS = ("digits", "disease", "glyphs_few_shot")
SEARCHES = {
    "random_search": {"points": 2},
    "temperature_search": {"steps": [1.2]},
    "halving": {"starts": [0.1, 1.0]},
}
TRIED = {"random_search": 2, "temperature_search": 3, "halving": 2}
DEFAULT = unchecked(keys_of("default"))
DERIVED = {
    name
    for name in parts.names("curvature rule")
    if parts.marked("curvature rule", name, "derived")
}


def rule_of(name):
    """The curvature rule that a name of the default scale stands for."""
    return resolve.rule_of(DEFAULT, DEFAULT.experiments["digits"], "curvature", name, "").name


RULES = [name for name in sorted(DEFAULT.rules.curvature) if rule_of(name) not in DERIVED]
READINGS = [f"hsac_{reading}" for reading in learner.READINGS]
# What a rule needs and the data have not: a meta set, a head.
IMPOSSIBLE = {(name, "hsac_meta") for name in EXPERIMENTS}
IMPOSSIBLE |= {("glyphs_few_shot", rule) for rule in ("hsac_head", "hsac_landscape")}
IDENTITY = {"config_hash": "0", "code": "0", "variant_hash": "0", "weights": "0" * 64}


class Stop(Exception):
    """Seen enough."""


@dataclass(frozen=True)
class First:
    """A weight rule that keeps what the first gradient was given and gave, and ends there."""

    rule: Any
    seen: list[Any]

    def init(self, w):
        return self.rule.init(w)

    def update(self, w, state, gradient, rate):
        def watched(point):
            self.seen.append((point, gradient(point).loss))
            raise Stop

        return self.rule.update(w, state, watched, rate)


def named(weights, rule):
    """Name a method that starts at 0.3, where its rule takes a start."""
    takes_none = parts.marked("curvature rule", rule_of(rule), "ignores_start")
    return f"{weights}+{rule}" if takes_none else f"{weights}+{rule}@0.3"


def settings_of(small):
    keys = copy.deepcopy(small.keys)
    keys["rules"]["curvature"] |= SEARCHES
    keys["rules"]["curvature"]["hsac_exact"]["period"] = (
        20  # one outer step: it takes a product a weight
    )
    keys["rules"]["curvature"]["hsac_steady"] = {
        "threshold": 0.0
    }  # two outer steps are too few to know a sign
    keys["rules"]["curvature"]["random_walk"] = {"period": 20}  # one step, as two may cancel
    for rule in READINGS:
        keys["rules"]["curvature"][rule] = {"period": 10}
    # solved as well as a test can wait for
    brief = {"rows": 100, "tolerance": 1e-2}
    keys["rules"]["curvature"]["hsac_head"] = brief | {"period": 10}
    keys["rules"]["curvature"]["hsac_landscape"] = brief | {"candidates": [0.01, 0.1]}
    return keys


def test_default_scale_names_every_rule() -> None:
    found = {rule_of(name) for name in RULES}
    assert found == {*parts.names("curvature rule")} - DERIVED


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("weights", ["sgd", "adam", "sam"])
@pytest.mark.parametrize("rule", RULES)
def test_twenty_steps(small, doubled, name, weights, rule) -> None:
    if (name, rule) in IMPOSSIBLE:
        pytest.skip("its own tests have what it needs")
    if rule in READINGS and weights != ("sam" if rule == "hsac_sam" else "sgd"):
        pytest.skip("readings are one class, which `hsac` is tried with under every weight rule")
    keys = settings_of(small)
    study, cell = cell_of(keys, name, named(weights, rule))
    tried = TRIED.get(rule, 1)
    steps = 25 if rule == "halving" else 20 * tried  # the other start goes after a quarter
    for record, _ in train_seeds(study, cell, [0], small.variants[name], small.data):
        check_record(record | IDENTITY, Path("seed.json"))
        assert (record["status"], record["steps"], record["tried"]) == (
            "ok",
            steps,
            tried,
        )
        assert record["gradients"] >= steps * (2 if weights == "sam" else 1)
        assert (record["held_out_batches"] > 0) == ("held_out" in rule)
        still = [c == pytest.approx(0.3) for c in record["curvature"]["final"]]
        made = cell.config.curvature_rule.name
        if made == "hsac_head":
            # Other curvatures than the head's rest.
            still = still[-1:]
        assert (
            not any(still)
            if made not in ("fixed", "euclidean")
            else all(still) == (made == "fixed")
        )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_all_methods_start_alike(small, doubled, name) -> None:
    """With the same weights, and the same loss on the first batch.

    In flat space, where a search starts and where θ decays it is another loss, so there the batch
    itself is looked at.
    """
    for weights in ("sgd", "adam", "sam", "asam"):
        for rule in RULES:
            w, loss, batch = first_step(small, name, named(weights, rule))
            if (weights, rule) == ("sgd", RULES[0]):
                want = w, loss, batch
                assert not torch.equal(w[0], w[1])
            # Under `joint` the weight rule sees θ behind the weights.
            assert torch.equal(w[:, : want[0].shape[1]], want[0]), (weights, rule)
            alike = rule not in ("euclidean", "joint_decay", *SEARCHES)
            assert torch.equal(loss, want[1]) == alike, (weights, rule)
            assert same(batch, want[2]), (weights, rule)


def first_step(small, name, method):
    """Start weights (R, P), losses (R,) on the first batch of training, and that batch."""
    seen, batches = [], []

    def watch(made):
        inner = made.task.batch

        def batch(stream, times=1):
            found = inner(stream, times)
            if stream == "batches":
                batches.append(found)
            return found

        made.task.batch = batch
        return replace(made, weight_rule=First(made.weight_rule, seen))

    keys = settings_of(small)
    study, cell = cell_of(keys, name, method)
    with pytest.raises(Stop):
        train_seeds(study, cell, [0, 1], small.variants[name], small.data, watch)
    return *seen[0], batches[0]


def same(a, b):
    return (
        a is b is None or all(map(torch.equal, a, b))
        if not isinstance(a, torch.Tensor)
        else torch.equal(a, b)
    )


@pytest.mark.parametrize("rule", TRIED)
def test_search_repeats_the_same_batches(small, rule) -> None:
    """Whole trainings, by the rows that their streams drew."""
    drawn = []

    def watch(made):
        stream, rows = made.task.streams["batches"], []
        inner = stream.next
        stream.next = lambda size: rows.append(inner(size)) or rows[-1]
        drawn.append(rows)
        return made

    keys = settings_of(small)
    study, cell = cell_of(keys, "digits", named("sgd", rule))
    train_seeds(study, cell, [0, 1], small.variants["digits"], small.data, watch)
    assert len(drawn) == TRIED[rule]
    whole = max(drawn, key=len)
    for rows in drawn:
        # Halving ends some of them on the way.
        assert torch.equal(torch.stack(rows), torch.stack(whole[: len(rows)]))
    assert len(whole) == 20
