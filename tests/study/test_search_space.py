"""Values that trials draw: of their space, spread over it, and said in words."""

import math

from hypothesis import given
from hypothesis import strategies as st
from searches import points, searching
from studies import smoke_keys

from hsac import parts
from hsac.rules.weights.sam import Sam
from hsac.study import resolve, search_space
from hsac.study.part import Part

POSITIVE = st.floats(1e-6, 1e6)
DRAWS = st.integers(0, 10_000)


@given(POSITIVE, POSITIVE, DRAWS, st.integers(0, 9))
def test_ranges_hold_their_draws(one, other, k, key):
    low, high = sorted([one, other])
    drawn = search_space.value({"low": low, "high": high}, k, key)
    assert low <= drawn <= high


@given(st.lists(st.integers(), min_size=1), DRAWS, st.integers(0, 9))
def test_lists_hold_their_draws(listed, k, key):
    assert search_space.value(listed, k, key) in listed


def test_draws_follow_their_law():
    """Of a range log-uniform, so that half lie below the middle; of a list each member alike."""
    drawn = [search_space.value({"low": 0.01, "high": 0.3}, k, 0) for k in range(300)]
    assert all(0.01 <= one <= 0.3 and one == float(f"{one:.3g}") for one in drawn)
    assert 0.4 < sum(one < (0.01 * 0.3) ** 0.5 for one in drawn) / 300 < 0.6
    listed = [search_space.value([1, 2, 4], k, 0) for k in range(300)]
    assert all(70 < listed.count(one) < 130 for one in (1, 2, 4))


def test_few_trials_do_not_cluster():
    spec = {"low": 1.0, "high": 1e8}
    for key in range(20):
        assert len({search_space.value([1, 2, 3, 4], k, key) for k in range(4)}) == 4
        drawn = [search_space.value(spec, k, key) for k in range(8)]
        shares = sorted(math.log(one) / math.log(1e8) for one in drawn)
        assert all(k / 8 - 1e-3 <= share <= (k + 1) / 8 + 1e-3 for k, share in enumerate(shares))


def test_nested_parameters_are_replaced():
    """So are parameters of losses and heads, and each is named in the words of a trial."""
    spaces = {
        "weights": {"sam": {"base_parameters.lr": [0.5]}},
        "losses": {"focal": {"gamma": [7.5]}},
        "heads": {"linear_scaled": {"scale": ["learned"]}},
        "curvature": {"hsac": {"solver.terms": [9]}},
    }
    rules = smoke_keys("rules")
    rules["curvature"]["hsac"] = {"solver": {"name": "neumann", "terms": 2}}
    method = "sam+hsac+focal+linear_scaled"
    digits = {"methods": ["sgd+fixed@0.3", method]}
    study = searching({"points": 2}, digits, spaces=spaces, rules=rules)
    before, after = (resolve.cell(study, "digits", method, k).config for k in range(2))
    assert after.weight_rule.parameters["base_parameters"] == {"lr": 0.5, "momentum": 0.9}
    assert before.weight_rule.parameters["base_parameters"]["lr"] == 0.03
    assert after.loss.parameters == {"gamma": 7.5}
    assert after.curvature_rule.parameters["solver"] == {"name": "neumann", "terms": 9}
    names = resolve.named_rules(study, "digits", method)
    words = "sam.base_parameters.lr=0.5, hsac.solver.terms=9, focal.gamma=7.5"
    said = search_space.text(points(study, method)[1], names)
    assert said == f"{words}, linear_scaled.scale=learned"


@given(st.permutations(["curvature.start", "weights.momentum", "weights.lr"]))
def test_words_ignore_the_stored_order(order):
    names = {"weights": "sgd", "curvature": "hsac"}
    point = {"curvature.start": 0.3, "weights.momentum": 0.9, "weights.lr": 0.05}
    stored = {key: point[key] for key in order}
    assert search_space.text(stored, names) == "sgd.lr=0.05, sgd.momentum=0.9, hsac.start=0.3"


def test_the_configured_trial_has_words():
    assert search_space.text({}, {"weights": "sgd"}) == search_space.CONFIGURED


def test_default_base_is_that_of_sam():
    """What may be searched within `base_parameters` is what the class's default base takes."""
    for name, annotation in parts.parameters("weight rule", Sam.base).items():
        where = f"base_parameters.{name}"
        assert search_space._annotation("weight rule", where, Part("sam"), where) == annotation
