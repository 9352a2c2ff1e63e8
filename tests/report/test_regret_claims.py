"""Claims about regret are judged on the landscapes, apart from the other claims."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from landscapes import write_study

from hsac.errors import InputError
from hsac.report import frozen
from hsac.report.claim_matrix import RegretClaim, read_claims
from hsac.report.claims import judge, lines
from hsac.report.frozen import GROUPS, MEASURES, RIVALS, read, regrets
from hsac.report.regret_claims import judge_regrets

CLAIMS_FILE = Path(__file__).parents[2] / "config" / "claims.yaml"
CLAIM = RegretClaim("c", "all", "paper", "A.", "gap@0.05", "c=1", "error", 0.5, 0.05)
RUNS = pd.DataFrame(columns=["experiment", "method", "seed", "status", "selected_test_accuracy"])


def planted(saved: float, problems: int = 6, spread: float = 1e-4) -> frozen.Regrets:
    """Regrets in which the gap saves these points against c = 1 on average over problems."""
    rng, seeds = np.random.default_rng(0), 4
    index = pd.MultiIndex.from_product([range(problems), range(seeds), (1.0, 4.0)])
    rows = index.to_frame(index=False, name=["problem", "seed", "c"])
    # The gap is least at 4, the training loss at 1.
    is_high = rows["c"] == 4
    there = 0.5 - saved / 100 + rng.normal(0, spread, len(rows))
    rows["test_error"] = rows["test_nll"] = np.where(is_high, there, 0.5)
    for name in ("gap@0.05", "validation_nll", "validation_tempered"):
        rows[name] = np.where(is_high, 0.0, 1.0)
    rows["train_loss"] = np.where(is_high, 1.0, 0.0)
    return regrets(rows.assign(dim=2, solved=True, setting="noisy"))


def verdict(found: frozen.Regrets, claim: RegretClaim = CLAIM) -> str:
    return judge_regrets([claim], found)["c"]["verdict"]


def test_verdicts_follow_the_regret_saved():
    assert verdict(planted(2)) == "supported"
    assert verdict(planted(-2)) == "contradicted"
    assert verdict(planted(0.2)) == "contradicted"
    assert verdict(planted(-0.2), replace(CLAIM, minimum_effect=-0.5)) == "supported"
    assert verdict(planted(0.2, spread=0.02)).startswith("inconclusive (6 problems")


def test_entry_has_numbers():
    entry = judge_regrets([CLAIM], planted(2))["c"]
    assert entry["difference"] == pytest.approx(2, abs=0.02)
    assert entry["interval"][0] < 2.01
    assert entry["n"] == 6
    assert entry["test"] == "t"
    assert (entry["better"], entry["than"]) == ("gap, ρ = 0.05", "c = 1")
    assert entry["experiment"] == "regret, all"


def test_one_problem_is_inconclusive():
    assert verdict(planted(2, problems=1)) == "inconclusive (1 problem, at least 2 are needed)"


@pytest.mark.parametrize(
    "change", [{"setting": "few_shot"}, {"reading": "gap@0.7"}, {"rival": "nobody"}]
)
def test_absent_choosers_are_not_run(change):
    assert verdict(planted(2), replace(CLAIM, **change)) == "not run"


def test_holm_is_over_regret_claims():
    """The family is of those that could be tested."""
    claims = [CLAIM, replace(CLAIM, id="d", rival="train_loss"), replace(CLAIM, id="e", rival="x")]
    entries = judge_regrets(claims, planted(2))
    assert entries["c"]["p_holm"] == pytest.approx(2 * entries["c"]["p"])
    assert entries["e"]["p_holm"] is None


def test_scales_without_frozen_have_no_entry():
    claims = read_claims(CLAIMS_FILE)
    entries = judge(claims, RUNS, Path("nowhere"))
    assert [entry["id"] for entry in entries] == [
        claim.id for claim in claims if not isinstance(claim, RegretClaim)
    ]


def test_other_claims_keep_their_verdicts(tmp_path):
    claims = read_claims(CLAIMS_FILE)
    found = read(write_study(tmp_path, ("noisy",), seeds=2, points=5))
    entries = judge(claims, RUNS, Path("nowhere"), regrets=found)
    assert len(entries) == len(claims)
    alone = judge(claims, RUNS, Path("nowhere"))
    assert entries[: len(alone)] == alone
    shown = lines(entries, tmp_path)
    assert any(line.startswith("regret-all-error-literal-one") for line in shown)
    assert any(line.startswith("regret-noisy-error-literal-one") for line in shown)
    assert not any("few-shot-error-literal" in line for line in shown)


def test_shipped_claims_ask_the_question():
    """Every reading meets every rival over all problems, and the paper's in every setting."""
    claims = [claim for claim in read_claims(CLAIMS_FILE) if isinstance(claim, RegretClaim)]
    over_all = {(c.reading, c.rival, c.measure) for c in claims if c.setting == "all"}
    assert over_all == {
        (f"{reading}@0.05", rival, measure)
        for reading in frozen.READINGS
        for rival in RIVALS
        for measure in MEASURES
    }
    paper = {(c.setting, c.rival) for c in claims if c.source == "paper"}
    assert paper == {(group, rival) for group in GROUPS for rival in ("c=1", "train_loss")}
    assert {c.reading for c in claims if c.source == "paper"} == {"literal@0.05"}
    assert all(c.minimum_effect < 0 for c in claims if c.rival == "validation")


def test_written_out_claim_is_read(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([asdict(CLAIM)]))
    assert read_claims(path) == [CLAIM]


def changed(change) -> dict:
    """The shipped section with a change."""
    content = yaml.safe_load(CLAIMS_FILE.read_text())["regret"]
    change(content)
    return {"regret": content}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["matrix"][0].update(readings=["litral"]), "readings: found 'litral'"),
        (lambda r: r["matrix"][0].update(rivals=["on"]), "rivals: found 'on'"),
        (lambda r: r["matrix"][0].update(settings=["clean"]), "settings.0 is 'clean'"),
        (lambda r: r["matrix"][0].update(minimum_effect={"accuracy": 1.0}), "minimum_effect"),
        (lambda r: r["matrix"][0].update(claim="On {x}."), "claim is 'On {x}.'"),
        (lambda r: r["matrix"][0].pop("source"), "source is missing"),
        (lambda r: r["readings"]["gap"].update(colum="x"), "reading gap: colum is unknown"),
        (lambda r: r.update(alpha=2.0), "alpha is 2.0, allowed is a number from 0 to 1"),
        (lambda r: r["settings"].pop("noisy"), "settings: found 'noisy'"),
    ],
)
def test_faults_are_one_line(tmp_path, change, said):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(changed(change)))
    with pytest.raises(InputError) as error:
        read_claims(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
