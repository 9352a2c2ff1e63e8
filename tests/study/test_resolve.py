"""From a study to its cells: what decides them, and what is trained for them."""

import pytest
from searches import METHODS, points, searching
from studies import cell_of, smoke, smoke_keys, unchecked

from hsac.rules.curvature.grid import Grid
from hsac.study import resolve
from hsac.study.cell import Part


def methods_of(cells):
    return [cell.method for cell in cells]


def test_loss_and_head_follow_either_way():
    keys = smoke_keys()
    keys["rules"]["heads"] = {"flat": {"rule": "linear", "scale": "learned"}}
    keys["experiments"]["digits"]["rules"]["losses"] = {"focal": {"gamma": 5}}
    keys["rules"]["losses"] |= {"harder": {"rule": "focal", "gamma": 3}}
    study = unchecked(keys)
    for method, gamma in [("sgd+fixed@1+focal+flat", 5), ("sgd+fixed@1+flat+harder", 3)]:
        made = resolve.cell(study, "digits", method).config
        assert made.loss == Part("focal", {"gamma": gamma})
        assert made.model.head == Part("linear", {"scale": "learned"})
        assert made.curvature.start == 1
    plain = resolve.cell(study, "digits", "sgd+fixed@1")
    assert plain.config.loss == Part("cross_entropy", {})
    assert plain.config.model.head is None
    assert "head" not in plain.config.dump()["model"]
    named = resolve.cell(study, "digits", "sgd+fixed@1+cross_entropy")
    assert named.hash == plain.hash
    del keys["rules"]["losses"]
    assert resolve.cell(unchecked(keys), "digits", "sgd+fixed@1") == plain


def test_a_methods_head_goes_first():
    """The head that a method names stands over the one that the model names."""
    keys = smoke_keys()
    keys["experiments"]["digits"]["model"]["head"] = "linear_scaled"
    study = unchecked(keys)
    own = resolve.cell(study, "digits", "sgd+hsac").config.model.head
    assert own.dump() == {"rule": "linear", "parameters": {"scale": "learned"}}
    named = resolve.cell(study, "digits", "sgd+hsac+linear").config.model.head
    assert named.dump() == {"rule": "linear", "parameters": {}}


def test_grids_keep_the_loss():
    """So do the cells that are measured: those of the reference's loss."""
    keys = smoke_keys()
    digits = keys["experiments"]["digits"]
    digits["methods"] += ["sgd+grid+gce", "sgd+hsac+gce"]
    study = unchecked(keys)
    cell = resolve.cell(study, "digits", "sgd+grid+gce")
    among = methods_of(resolve.candidates(study, cell))
    assert among == ["sgd+fixed@0.3+gce", "sgd+fixed@1+gce"]
    assert "sgd+fixed@1+gce" in methods_of(resolve.trained(study))
    measured = methods_of(resolve.measured(study, "digits"))
    assert measured == ["sgd+fixed@0.3", "sgd+fixed@1", "sgd+hsac"]
    digits["reference"] = "sgd+hsac+gce"
    measured = methods_of(resolve.measured(unchecked(keys), "digits"))
    assert measured == ["sgd+fixed@0.3+gce", "sgd+fixed@1+gce", "sgd+hsac+gce"]


def test_hashes_change_with_what_decides():
    keys = smoke_keys()

    def hash_of(method, **more):
        return resolve.cell(unchecked(keys | more), "digits", method).hash

    before, learned = hash_of("sgd+hsac"), hash_of("sgd+learned")
    assert hash_of("sgd+hsac", seeds=[0, 1, 2], bundle=3, device="cpu") == before
    rules = smoke_keys("rules")
    rules["curvature"]["hsac"] = {"radius": 0.5}
    assert hash_of("sgd+hsac", rules=rules) != before
    assert hash_of("sgd+learned", rules=rules) == learned


def test_numbers_keep_their_type():
    """The JSON of 1 and that of 1.0 differ, so a number stays as the configuration gives it."""
    integer, real = (smoke_keys() for _ in range(2))
    integer["curvature"]["start"], real["curvature"]["start"] = 1, 1.0
    made = [resolve.cell(unchecked(keys), "digits", "sgd+hsac") for keys in (integer, real)]
    assert made[0].hash != made[1].hash
    starts = [cell.config.dump()["curvature"]["start"] for cell in made]
    assert list(map(type, starts)) == [int, float]


def test_grid_candidates_are_trained_once():
    study = smoke()
    cell = resolve.cell(study, "digits", "sgd+grid")
    assert methods_of(resolve.candidates(study, cell)) == ["sgd+fixed@0.3", "sgd+fixed@1"]
    trained = methods_of(c for c in resolve.trained(study) if c.experiment == "digits")
    assert sorted(trained) == sorted(set(trained))
    assert "sgd+fixed@1" in trained
    assert "sgd+grid" not in trained


def test_best_of_chooses_among_methods():
    keys = smoke_keys()
    keys["rules"]["curvature"]["guarded"] = {"rule": "best_of", "among": ["fixed@0.3", "hsac"]}
    keys["experiments"]["digits"]["methods"] += ["sgd+guarded+gce"]
    study = unchecked(keys)
    cell = resolve.cell(study, "digits", "sgd+guarded+gce")
    assert cell.derived
    among = methods_of(resolve.candidates(study, cell))
    assert among == ["sgd+fixed@0.3+gce", "sgd+hsac+gce"]
    trained = methods_of(resolve.trained(study))
    assert "sgd+hsac+gce" in trained
    assert "sgd+guarded+gce" not in trained


def test_default_grid_is_that_of_rule():
    assert Grid().curvatures == resolve.GRID


def test_choices_change_with_their_candidates():
    keys = smoke_keys()
    curvature = keys["rules"]["curvature"]
    curvature["guarded"] = {"rule": "best_of", "among": ["fixed@0.3", "hsac"]}
    before = resolve.cell(unchecked(keys), "digits", "sgd+guarded").hash
    curvature["hsac"] = {"step": 0.5}
    assert resolve.cell(unchecked(keys), "digits", "sgd+guarded").hash != before


@pytest.mark.parametrize("theory", ["left out", None, "measures nothing"])
def test_without_a_theory_nothing_is_measured(theory):
    keys = smoke_keys()
    del keys["experiments"]["digits"]["informed"]
    keys["theory"] = keys["theory"] | {"measured": []} if theory == "measures nothing" else None
    if theory == "left out":
        del keys["theory"]
    study = unchecked(keys)
    assert not any(resolve.measured(study, name) for name in study.experiments)


def test_without_a_search_nothing_is_drawn():
    """A method is then its configured point."""
    study = searching()
    cells = resolve.trained(study)
    assert methods_of(cells) == METHODS
    assert not any(cell.searched or resolve.trials(study, cell) for cell in cells)


def test_every_method_has_equal_trials():
    """They are as many for all, and the first is the configured point."""
    plain, study = searching(), searching({"points": 5})
    for cell in resolve.cells(study):
        tried = resolve.trials(study, cell)
        assert len(tried) == len(points(study, cell.method)) == 5
        assert tried[0].hash == resolve.cell(plain, "digits", cell.method).hash
        assert resolve.seeds(study, cell) == [0, 1]
        assert all(resolve.seeds(study, one) == [100, 101, 102] for one in tried)


def values(study, method, kind):
    """Return the values of a kind of rule that the trials of a method have."""
    found = []
    for point in points(study, method):
        found.append({key: value for key, value in point.items() if key.startswith(kind)})
    return found


def test_shared_rules_try_the_same():
    """Methods that share a rule try the same values of it."""
    study = searching({"points": 6})
    plain = values(study, "sgd+euclidean", "weights")
    assert all(values(study, method, "weights") == plain for method in METHODS[:-1])
    assert len({point.get("weights.lr") for point in plain}) == 6
    # an alias without a space of its own tries what the rule it is an alias of tries
    tried = values(study, "sgd+hsac", "curvature")
    assert values(study, "sgd+hsac_cg", "curvature") == tried
    assert values(study, "sam+hsac", "curvature") == tried
    assert tried[1].keys() == {"curvature.radius", "curvature.start"}


def test_a_named_start_is_not_searched():
    methods = ["sgd+fixed@0.3", "sgd+hsac@1", "sgd+hsac"]
    study = searching({"points": 3}, digits={"methods": methods})
    for one in resolve.trials(study, resolve.cell(study, "digits", "sgd+hsac@1")):
        assert one.config.curvature.start == 1
    tried = resolve.trials(study, resolve.cell(study, "digits", "sgd+hsac"))
    starts = [one.config.curvature.start for one in tried]
    assert starts[0] == 0.3
    assert len(set(starts)) == 3
    radii = {one.config.curvature_rule.parameters.get("radius") for one in tried}
    assert len(radii) == 3


def test_more_trials_keep_the_few():
    """Trials keep their values when there are more of them, and change with the draw."""
    searches = ({"points": 3}, {"points": 9}, {"points": 3, "draw": 1})
    few, many, other = (points(searching(search), "sgd+hsac") for search in searches)
    assert many[:3] == few
    assert other[0] == few[0] == {}
    assert other[1] != few[1]


def test_an_experiments_own_search_and_spaces():
    own = {
        "search": {"points": 2, "seeds": [7]},
        "spaces": {"weights": {"sgd": {"lr": [0.125], "momentum": [0.5]}}},
    }
    tried = points(searching(digits=own), "sgd+fixed@0.3")
    assert tried == [{}, {"weights.lr": 0.125, "weights.momentum": 0.5}]
    without = searching({"points": 4}, digits={"search": None})
    assert without.search.dump() == {"points": 4}
    assert not any(cell.searched for cell in resolve.cells(without))


ALIKE = {"weights": {"sgd": {"lr": [0.01, 0.1]}}}  # eight trials, of which three differ


def test_trials_alike_are_trained_once():
    study = searching({"points": 8}, spaces=ALIKE)
    cell = resolve.cell(study, "digits", "sgd+euclidean")
    trained = [one for one in resolve.trained(study) if one.method == "sgd+euclidean"]
    assert len(resolve.trials(study, cell)) == 8
    assert len(trained) == 4  # the configured point, two others, and the searched cell


def test_cells_are_resolved_once():
    """Who loops over a study's work asks for a cell often, and gets the same object."""
    study = smoke()
    first = resolve.cell(study, "digits", "sgd+hsac")
    assert resolve.cell(study, "digits", "sgd+hsac") is first
    rules = study.rules.model_copy(update={"curvature": study.rules.curvature | {"hsac": None}})
    assert resolve.cell(study.model_copy(update={"rules": rules}), "digits", "sgd+hsac") == first
    changed = study.rules.curvature | {"hsac": {"radius": 0.5}}
    rules = study.rules.model_copy(update={"curvature": changed})
    other = study.model_copy(update={"rules": rules})
    assert resolve.cell(other, "digits", "sgd+hsac").hash != first.hash


def test_grids_keep_their_numbers():
    """Numbers that agree in six digits are different points, trained at what was asked for."""
    keys = smoke_keys()
    asked = [0.31622776601683794, 0.3162277, 1.0000001, 1.0000002, 3, 1e-05]
    keys["rules"]["curvature"]["grid"] = {"curvatures": asked}
    keys["experiments"]["digits"]["rules"] = {}
    study, cell = cell_of(keys, "digits", "sgd+grid")
    found = resolve.candidates(study, cell)
    assert [one.config.curvature.start for one in found] == asked
    assert methods_of(found)[-2:] == ["sgd+fixed@3", "sgd+fixed@1e-05"]
