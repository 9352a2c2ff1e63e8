"""A verdict of each kind, and the file of claims."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hsac import config
from hsac.cli import main
from hsac.errors import InputError
from hsac.report.claims import SETTINGS, Claim, TheoryClaim, judge, read_claims, write_claims
from hsac.report.statistics import UNDEFINED, more_seeds

CLAIM = Claim("c", "classification", "control", "A beats b.", "e", "a", "b", 0.5, 0.05)
CLAIMS_FILE = Path(__file__).parents[2] / "config" / "claims.yaml"


NO_STUDIES = Path("nowhere")


def table(differences: list[float | None], experiment: str = "e") -> pd.DataFrame:
    """Runs in which ``a`` exceeds ``b`` by these points, seed for seed; None is a run that
    diverged.
    """
    rows = []
    for seed, d in enumerate(differences):
        status = "diverged" if d is None else "ok"
        rows.append((experiment, "a", seed, status, np.nan if d is None else 0.5 + d / 100))
        rows.append((experiment, "b", seed, "ok", 0.5))
    return pd.DataFrame(
        rows, columns=["experiment", "method", "seed", "status", "selected_test_accuracy"]
    )


def verdict(differences: list[float | None], claim: Claim = CLAIM) -> str:
    """The verdict on ``table(differences)``."""
    return judge([claim], table(differences), NO_STUDIES)[0]["verdict"]


def test_supported():
    assert verdict([1.0, 1.2, 0.9, 1.1, 1.3]) == "supported"


def test_contradicted_the_other_way_round():
    assert verdict([-1.0, -1.2, -0.9, -1.1, -1.3]) == "contradicted"


def test_contradicted_when_an_effect_of_the_size_claimed_is_excluded():
    assert verdict([0.1, 0.12, 0.09, 0.11, 0.13]) == "contradicted"


def test_significant_but_possibly_too_small_is_inconclusive():
    assert verdict([0.2, 0.6, 0.4, 0.3, 0.5]).startswith("inconclusive (about ")


NOT_WORSE = replace(CLAIM, minimum_effect=-0.5)


def test_not_worse_is_supported_though_nothing_differs():
    assert verdict([-0.2, 0.1, -0.1, 0.2, -0.1], NOT_WORSE) == "supported"
    assert verdict([-0.2, -0.1, -0.1, -0.2, -0.1], NOT_WORSE) == "supported"  # worse, yet by little


def test_not_worse_is_contradicted_by_what_is_worse_by_more():
    assert verdict([-1.0, -1.2, -0.9, -1.1, -1.3], NOT_WORSE) == "contradicted"


@pytest.mark.parametrize("shift", [0.0, -0.5])
def test_not_worse_needs_more_seeds_where_the_margin_is_not_excluded(shift):
    # mean 0.2 and -1.0 off the margin: mean difference over sd decides, to either side
    assert verdict([d + shift for d in (-2.0, 1.0, 2.0, -1.0, -1.5)], NOT_WORSE).startswith(
        "inconclusive (about "
    )


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
    runs = pd.DataFrame(
        rows, columns=["experiment", "method", "seed", "status", "selected_test_accuracy"]
    )
    one, two, absent = judge(
        [CLAIM, replace(CLAIM, id="d"), replace(CLAIM, id="f", than="x")], runs, NO_STUDIES
    )
    assert one["p_holm"] == two["p_holm"] == pytest.approx(min(1, 2 * one["p"]))
    assert absent["p"] is absent["p_holm"] is absent["interval"] is None
    assert {
        "setting",
        "claim",
        "verdict",
        "id",
        "experiment",
        "difference",
        "interval",
        "p",
        "n",
    } <= set(one)


def test_the_projects_claims_cover_every_setting_and_the_control():
    claims = [claim for claim in read_claims(CLAIMS_FILE) if isinstance(claim, Claim)]
    assert {claim.setting for claim in claims if claim.source == "paper"} == set(SETTINGS)
    assert {claim.setting for claim in claims} == set(SETTINGS)
    judged = set()
    for scale in ("default", "verdict", "robustness", "confirmation", "breadth"):
        for name, experiment in config.load(scale, folder=CLAIMS_FILE.parent)[
            "experiments"
        ].items():
            run = [
                c
                for c in claims
                if c.experiment == name and {c.better, c.than} <= set(experiment["methods"])
            ]
            rivals = {claim.than.split("+")[1].split("@")[0] for claim in run}
            drifts = (
                {"drift_slow"}
                if scale in ("confirmation", "breadth")
                else {"drift_up", "drift_down"}
            )
            assert name == "digits_plane" or rivals >= {"learned", "fixed"} | drifts
            assert {claim.setting for claim in run} <= {experiment["setting"]}
            judged |= {claim.id for claim in run}
    assert judged == {claim.id for claim in claims}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("alpha: 0.05", "alpha: 5", "alpha is 5"),
        ("minimum_effect:", "minimal_effect:", "minimum_effect is missing"),
        ("setting: noisy", "setting: noise", "setting is 'noise'"),
        ("- id:", "- extra: 1\n  id:", "extra is unknown"),
        ("source: paper", "source: hearsay", "source is 'hearsay', allowed are paper, control"),
        ("kind: theory", "kind: theorem", "kind is 'theorem', allowed are comparison, theory"),
        ("study: lipschitz", "study: lipschits", r"found 'lipschits'; .*did you mean 'lipschitz'"),
        (
            "holds: relative <= 1e-6",
            "holds: relative < 1e-6",
            "holds is 'relative < 1e-6', allowed is `left <= right`",
        ),
        ("  holds: relative <= 1e-6\n", "", "holds is missing"),
    ],
)
def test_bad_claims_are_named(tmp_path, old, new, words):
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS_FILE.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        read_claims(path)


def test_contradiction_is_corrected_over_the_claims_that_were_run():
    short = table([-0.8, 0.6, -0.5, 0.4, -0.6, 0.1, -0.3, 0.3])
    alone = judge([CLAIM], short, NO_STUDIES)[0]
    assert alone["verdict"] == "contradicted"
    among = [CLAIM, *(replace(CLAIM, id=f"c{k}", experiment=f"e{k}") for k in range(19))]
    even = [table([1.5, -0.5] * 4, f"e{k}") for k in range(19)]
    entry = judge(among, pd.concat([short, *even]), NO_STUDIES)[0]
    assert entry["p_minimum_holm"] == pytest.approx(20 * alone["p_minimum_holm"])
    assert entry["verdict"].startswith("inconclusive")


def test_a_mean_at_the_minimum_effect_cannot_be_decided_soon():
    assert verdict([0.5, 2.5, -1.5, 0.5, 0.5]) == "inconclusive (about 1000+ more seeds)"


@pytest.fixture
def verdicts_alone(monkeypatch):
    """Leaves out of a judgement what no verdict depends on and what takes most of its time."""
    monkeypatch.setattr("hsac.report.claims.effect_size", lambda *_: UNDEFINED)
    monkeypatch.setattr("hsac.report.claims.hierarchical_interval", lambda *_: UNDEFINED)
    monkeypatch.setattr("gc.collect", lambda: 0)  # statsmodels collects garbage at every correction


def simulated(
    mean: float, sd: float, n: int, rng: np.random.Generator, claim: Claim = CLAIM, family: int = 1
) -> list[str]:
    """Verdicts on ``family`` claims, each on its own normal differences (points) of ``n`` seeds."""
    claims = [replace(claim, id=f"c{k}", experiment=f"e{k}") for k in range(family)]
    runs = pd.concat([table(list(rng.normal(mean, sd, n)), f"e{k}") for k in range(family)])
    return [entry["verdict"] for entry in judge(claims, runs, NO_STUDIES)]


def allowance(share: float, draws: int) -> float:
    """Three standard errors of a simulated share."""
    return 3 * (share * (1 - share) / draws) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "minimum", "family", "draws"),
    [(5, 0.0, 1, 1000), (5, 0.5, 1, 1000), (10, 0.0, 4, 500), (12, 0.0, 1, 500)],
)
def test_false_positives_stay_under_alpha(verdicts_alone, n, minimum, family, draws):
    """No true difference: any of the claims is supported with probability alpha / 2 (one of two
    directions).
    """
    rng = np.random.default_rng(1)
    claim = replace(CLAIM, minimum_effect=minimum)
    rate = np.mean(
        [
            any(v == "supported" for v in simulated(0.0, 1.0, n, rng, claim, family))
            for _ in range(draws)
        ]
    )
    assert rate <= CLAIM.alpha + allowance(CLAIM.alpha, draws)
    if (
        minimum == 0
    ):  # and the test is not merely blind: no more than three standard errors under alpha / 2
        assert rate >= CLAIM.alpha / 2 - allowance(CLAIM.alpha / 2, draws)


@pytest.mark.slow
def test_true_claims_are_contradicted_with_a_probability_under_alpha(verdicts_alone):
    rng, draws = np.random.default_rng(2), 1000
    rate = np.mean(
        [simulated(CLAIM.minimum_effect, 1.0, 6, rng)[0] == "contradicted" for _ in range(draws)]
    )
    assert (
        CLAIM.alpha / 2 - allowance(CLAIM.alpha / 2, draws)
        <= rate
        <= CLAIM.alpha + allowance(CLAIM.alpha, draws)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mean", "sd", "minimum", "word"),
    [
        (1.2, 1.0, 0.0, "supported"),  # 8 seeds: t test
        (1.0, 1.3, 0.0, "supported"),  # 16 seeds: sign flips
        (0.7, 0.5, 0.5, "supported"),  # exceeding the minimum effect is what takes the seeds
        (-0.5, 1.0, 0.5, "contradicted"),
    ],
)
def test_power_is_as_predicted(verdicts_alone, mean, sd, minimum, word):
    """With as many seeds as the verdict asks for, given the true mean and sd, the claim is decided
    8 times in 10.
    """
    rng, draws = np.random.default_rng(3), 600
    margin = mean - minimum
    n = more_seeds(
        sd,
        mean if margin > 0 else margin,
        0,
        CLAIM.alpha,
        margin=margin if margin > 0 and minimum else None,
    )
    claim = replace(CLAIM, minimum_effect=minimum)
    rate = np.mean([simulated(mean, sd, n, rng, claim)[0] == word for _ in range(draws)])
    assert rate == pytest.approx(
        0.8, abs=0.03 + allowance(0.8, draws)
    )  # 0.03: n is whole, the formula approximate


BOUND = TheoryClaim("t", "theory", "theory", "Under it.", "s", "error <= bound")


def theory(tmp_path: Path, rows: str, claim: TheoryClaim = BOUND) -> dict:
    """The entry of a theory claim on a study of these lines."""
    (tmp_path / "s.csv").write_text(rows)
    return judge([claim], table([1.0]), tmp_path)[0]


def test_a_theory_claim_must_hold_in_every_row(tmp_path):
    entry = theory(tmp_path, "problem,error,bound\nx,1,2\ny,3,3\n")
    assert (entry["verdict"], entry["n"]) == ("supported", 2)
    entry = theory(tmp_path, "problem,error,bound\nx,1,2\ny,3,2.9\n")
    assert entry["verdict"] == "contradicted"
    assert entry["evidence"] == "1 of 2 rows; closest: error = 3, bound = 2.9 (problem y)"
    entry = theory(tmp_path, "problem,error,bound\nx,1,2\ny,3,\n")
    assert entry["verdict"] == "inconclusive (1 of 2 rows undecided)"


def test_a_theory_claim_is_about_the_rows_it_names(tmp_path):
    rows = "problem,error,bound\nx,1,2\ny,3,2\n"
    assert theory(tmp_path, rows, replace(BOUND, where="problem == 'x'"))["verdict"] == "supported"
    assert theory(tmp_path, rows, replace(BOUND, where="problem == 'z'"))["verdict"] == "not run"
    assert (
        judge([replace(BOUND, study="absent")], table([1.0]), tmp_path)[0]["verdict"] == "not run"
    )


def test_between_holding_and_failing_lies_undecided(tmp_path):
    claim = replace(BOUND, holds="low >= 1 - delta", fails="high <= 1 - delta")
    head = "low,high,delta\n"
    assert theory(tmp_path, head + "0.96,0.99,0.05\n", claim)["verdict"] == "supported"
    assert theory(tmp_path, head + "0.90,0.99,0.05\n", claim)["verdict"].startswith("inconclusive")
    assert theory(tmp_path, head + "0.90,0.94,0.05\n", claim)["verdict"] == "contradicted"


def test_an_expression_of_unknown_columns_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"claim t: study s: cannot evaluate 'errors'.*columns are error, bound"
    ):
        theory(tmp_path, "error,bound\n1,2\n", replace(BOUND, holds="errors <= bound"))


@pytest.fixture
def judged(results, tmp_path) -> list[str]:
    """The command line's arguments to judge one claim on synthetic results: hsac against euclidean
    on digits.
    """
    content = CLAIMS_FILE.read_text().split("- id:")[1].replace("sgd+learned", "sgd+euclidean")
    (tmp_path / "claims.yaml").write_text("- id:" + content)
    runs, out = str(results / "runs.parquet"), str(tmp_path / "claims.json")
    return ["claims", "--claims", str(tmp_path / "claims.yaml"), "--runs", runs, "--output", out]


def test_strict_ends_with_status_one_naming_the_contradicted(judged, capsys):
    assert main([*judged, "--strict"]) == 0
    assert "digits-learned  supported" in capsys.readouterr().out
    path = Path(judged[2])
    text = path.read_text().replace("better: sgd+hsac", "better: sgd+euclidean")
    path.write_text(text.replace("than: sgd+euclidean", "than: sgd+hsac"))
    assert main(judged) == 0
    assert main([*judged, "--strict"]) == 1
    assert capsys.readouterr().err == "hsac: contradicted: digits-learned\n"


def test_the_projects_claims_are_judged_and_kept_as_json(results, tmp_path):
    entries = write_claims(CLAIMS_FILE, results / "runs.parquet", tmp_path / "claims.json")
    assert json.loads((tmp_path / "claims.json").read_text()) == entries
    keys = {
        "verdict",
        "claim",
        "setting",
        "source",
        "kind",
        "better",
        "than",
        "difference",
        "interval",
        "p_holm",
        "n",
    }
    assert all(keys <= set(entry) for entry in entries)
    assert {entry["verdict"] for entry in entries if entry["kind"] == "theory"} == {"not run"}
