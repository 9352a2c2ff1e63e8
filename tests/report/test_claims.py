"""A verdict of each kind, and the file of claims."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_records import EXPERIMENTS

from hsac.errors import InputError
from hsac.report.claims import SETTINGS, Claim, judge, read_claims

CLAIM = Claim("c", "classification", "A beats b.", "e", "a", "b", 0.5, 0.05)
CLAIMS_FILE = Path(__file__).parents[2] / "config" / "claims.yaml"


def verdict(differences: list[float | None], claim: Claim = CLAIM) -> str:
    """The verdict when ``a`` exceeds ``b`` by these points, seed for seed; None is a run that diverged."""
    rows = []
    for seed, d in enumerate(differences):
        status = "diverged" if d is None else "ok"
        rows.append(("e", "a", seed, status, np.nan if d is None else 0.5 + d / 100))
        rows.append(("e", "b", seed, "ok", 0.5))
    runs = pd.DataFrame(rows, columns=["experiment", "method", "seed", "status", "selected_test_accuracy"])
    return judge([claim], runs)[0]["verdict"]


def test_supported():
    assert verdict([1.0, 1.2, 0.9, 1.1, 1.3]) == "supported"


def test_contradicted_the_other_way_round():
    assert verdict([-1.0, -1.2, -0.9, -1.1, -1.3]) == "contradicted"


def test_contradicted_when_an_effect_of_the_size_claimed_is_excluded():
    assert verdict([0.1, 0.12, 0.09, 0.11, 0.13]) == "contradicted"


def test_significant_but_possibly_too_small_is_inconclusive():
    assert verdict([0.2, 0.6, 0.4, 0.3, 0.5]).startswith("inconclusive (about ")


def test_inconclusive_names_the_seeds_that_would_decide():
    # mean 1, sd 2.1213: (2.8016 * 2.1213)^2 + 1.9208 = 37.2 seeds, 5 done
    assert verdict([-2.0, 1.0, 4.0, 1.0, 1.0]) == "inconclusive (about 33 more seeds)"


@pytest.mark.parametrize("differences", [[3.0], [3.0, None, None]])
def test_nothing_is_concluded_from_one_pair(differences):
    assert verdict(differences).startswith("inconclusive (spread unknown: 1 finished pair,")


def test_not_run():
    assert verdict([1.0, 2.0], replace(CLAIM, better="other")) == "not run"


def test_claims_that_were_run_share_one_correction():
    rng = np.random.default_rng(1)
    rows = [("e", m, s, "ok", v) for m in "ab" for s, v in enumerate(rng.normal(size=5))]
    runs = pd.DataFrame(rows, columns=["experiment", "method", "seed", "status", "selected_test_accuracy"])
    one, two, absent = judge([CLAIM, replace(CLAIM, id="d"), replace(CLAIM, id="f", than="x")], runs)
    assert one["p_holm"] == two["p_holm"] == pytest.approx(min(1, 2 * one["p"]))
    assert absent["p"] is absent["p_holm"] is absent["interval"] is None
    assert {"setting", "claim", "verdict", "id", "experiment", "difference", "interval", "p", "n"} <= set(one)


def test_the_projects_claims_cover_every_setting_and_the_control():
    claims = read_claims(CLAIMS_FILE)
    assert {claim.setting for claim in claims} == set(SETTINGS)
    assert {claim.experiment: claim.setting for claim in claims} == {e: cell[0] for e, cell in EXPERIMENTS.items()}
    for experiment in EXPERIMENTS:
        rivals = {claim.than.split("+")[1].split("@")[0] for claim in claims if claim.experiment == experiment}
        assert rivals >= {"learned", "fixed", "drift_up", "drift_down"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("alpha: 0.05", "alpha: 5", "alpha is 5"),
        ("minimum_effect:", "minimal_effect:", "minimum_effect is missing"),
        ("setting: noisy", "setting: noise", "setting is 'noise'"),
        ("- id:", "- extra: 1\n  id:", "extra is unknown"),
    ],
)
def test_bad_claims_are_named(tmp_path, old, new, words):
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS_FILE.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        read_claims(path)
