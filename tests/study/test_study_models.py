"""A study is typed, frozen, and dumps to what it was made of."""

import copy

import pytest
from pydantic import ValidationError
from studies import smoke, smoke_keys, unchecked

from hsac.study import resolve


def test_nothing_changes_a_study():
    study = smoke()
    for frozen, key in [
        (study, "seeds"),
        (study.rules, "weights"),
        (study.experiments["digits"], "methods"),
        (study.experiments["digits"].training, "epochs"),
        (study.experiments["digits"].variant, "recipe"),
        (study.theory.certificate, "delta"),
    ]:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(frozen, key, getattr(frozen, key))


def test_nothing_changes_a_cell():
    cell = resolve.cell(smoke(), "digits", "sgd+hsac")
    for frozen, key in [(cell, "hash"), (cell.config, "loss"), (cell.config.model, "head")]:
        with pytest.raises(AttributeError):
            setattr(frozen, key, None)


def test_dumps_are_what_was_given():
    """No default is filled in: the hash of a cell is that of its JSON."""
    keys = smoke_keys()
    before = copy.deepcopy(keys)
    assert unchecked(keys).dump() == keys == before
    del keys["theory"]
    assert "theory" not in unchecked(keys).dump()


def test_what_is_left_out_is_none():
    keys = smoke_keys()
    for key in ("theory", "search"):
        del keys[key]
    study = unchecked(keys)
    assert study.theory is None
    assert study.search is None
    assert study.experiments["disease"].informed is None
    assert study.experiments["disease"].hypergradient is None


def test_own_seeds_and_search_go_first():
    keys = smoke_keys() | {"search": {"points": 2}}
    keys["experiments"]["digits"] |= {"seeds": [7], "search": None}
    keys["experiments"]["disease"] |= {"search": {"points": 3}}
    study = unchecked(keys)
    names = ("digits", "disease", "glyphs_noisy")
    assert [study.seeds_of(name) for name in names] == [[7], [0, 1], [0, 1]]
    assert [one and one.points for one in map(study.search_of, names)] == [None, 3, 2]


def test_own_curvature_extends_the_shared():
    keys = smoke_keys()
    keys["experiments"]["digits"]["curvature"] = {"start": 2.5}
    study = unchecked(keys)
    assert study.curvature_of("digits").dump() == keys["curvature"] | {"start": 2.5}
    assert study.curvature_of("disease") == study.curvature


def test_copies_are_equal_and_apart():
    """Resolved cells are no part of what a study is, and a changed copy has cells of its own."""
    one, other = smoke(), unchecked(smoke_keys())
    resolve.cells(one)
    assert one == other
    copied = one.model_copy(update={"measure": one.measure.model_copy(update={"radius": 9.0})})
    assert copied != one
    hashes = [resolve.cell(study, "digits", "sgd+hsac").hash for study in (one, copied)]
    assert len(set(hashes)) == 2


def test_measured_options_ignore_the_studies():
    """Trained networks are not measured again for other studies, but for another certificate."""
    keys = smoke_keys()
    before = unchecked(keys).theory.measured_options()
    keys["theory"]["studies"] = {}
    del keys["theory"]["hypergradient"]
    assert unchecked(keys).theory.measured_options() == before
    keys["theory"]["certificate"]["delta"] = 0.5
    assert unchecked(keys).theory.measured_options() != before


def test_a_variants_name_is_only_shown():
    """It names the file, but the recipe is made by the other keys."""
    study = smoke()
    variant = study.experiments["digits"].variant
    shown = variant.model_copy(update={"name": "other"})
    assert shown.made_by() == variant.made_by()
    assert "name" not in variant.made_by()
    assert variant.parameters.keys() == variant.made_by().keys() - {"recipe"}
    experiment = study.experiments["digits"]
    assert experiment.variant_id().startswith("plain-")
    other = experiment.model_copy(update={"dataset": "glyphs"})
    assert other.variant_id() != experiment.variant_id()
