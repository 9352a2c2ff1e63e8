"""A verdict of each kind, the file of claims, and what is printed of them."""

import csv
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from hsac.cli import main
from hsac.errors import InputError
from hsac.report.claims import (
    SETTINGS,
    Claim,
    TheoryClaim,
    judge,
    lines,
    read_claims,
    write_claims,
)
from hsac.report.statistics import UNDEFINED, more_seeds
from hsac.study import load

CLAIM = Claim("c", "classification", "control", "A beats b.", "e", "a", "b", 0.5, 0.05)
CLAIMS_FILE = Path(__file__).parents[2] / "config" / "claims.yaml"
GOLDEN = Path(__file__).parents[1] / "golden" / "claims.csv"
COLUMNS = ["experiment", "method", "seed", "status", "selected_test_accuracy"]
NO_STUDIES = Path("nowhere")


def table(differences: list[float | None], experiment: str = "e") -> pd.DataFrame:
    """Runs in which ``a`` exceeds ``b`` by these points a seed; None is a run that diverged."""
    rows = []
    for seed, d in enumerate(differences):
        status = "diverged" if d is None else "ok"
        rows.append((experiment, "a", seed, status, np.nan if d is None else 0.5 + d / 100))
        rows.append((experiment, "b", seed, "ok", 0.5))
    return pd.DataFrame(rows, columns=COLUMNS)


def verdict(differences: list[float | None], claim: Claim = CLAIM) -> str:
    """The verdict on ``table(differences)``."""
    return judge([claim], table(differences), NO_STUDIES)[0]["verdict"]


def test_supported():
    assert verdict([1.0, 1.2, 0.9, 1.1, 1.3]) == "supported"


def test_contradicted_the_other_way_round():
    assert verdict([-1.0, -1.2, -0.9, -1.1, -1.3]) == "contradicted"


def test_contradicted_when_minimum_effect_is_excluded():
    assert verdict([0.1, 0.12, 0.09, 0.11, 0.13]) == "contradicted"


def test_possibly_too_small_is_inconclusive():
    """A difference from 0 is significant, but it may be smaller than the minimum effect."""
    assert verdict([0.2, 0.6, 0.4, 0.3, 0.5]).startswith("inconclusive (about ")


NOT_WORSE = replace(CLAIM, minimum_effect=-0.5)


def test_not_worse_needs_no_difference():
    assert verdict([-0.2, 0.1, -0.1, 0.2, -0.1], NOT_WORSE) == "supported"
    assert verdict([-0.2, -0.1, -0.1, -0.2, -0.1], NOT_WORSE) == "supported"  # worse, yet by little


def test_much_worse_contradicts_not_worse():
    assert verdict([-1.0, -1.2, -0.9, -1.1, -1.3], NOT_WORSE) == "contradicted"


@pytest.mark.parametrize("shift", [0.0, -0.5])
def test_not_worse_inconclusive_near_margin(shift):
    # mean 0.2 and -1.0 off the margin: mean difference over sd decides, to either side
    differences = [d + shift for d in (-2.0, 1.0, 2.0, -1.0, -1.5)]
    assert verdict(differences, NOT_WORSE).startswith("inconclusive (about ")


def test_inconclusive_names_seeds_that_decide():
    # mean 1, sd 2.1213: (2.8016 * 2.1213)^2 + 1.9208 = 37.2 seeds, 5 done
    assert verdict([-2.0, 1.0, 4.0, 1.0, 1.0]) == "inconclusive (about 33 more seeds)"


@pytest.mark.parametrize("differences", [[3.0], [3.0, None, None]])
def test_one_pair_concludes_nothing(differences):
    assert verdict(differences).startswith("inconclusive (spread unknown: 1 finished pair,")


TEN = [1.0, 1.2, 0.9, 1.1, 1.3, 1.0, 1.2]


def test_too_many_lost_pairs_refuse_verdict():
    """With 3 of 10 runs diverged there is no verdict, in either direction, and the row says why."""
    for sign in (1, -1):
        entry = judge([CLAIM], table([sign * d for d in TEN] + [None] * 3), NO_STUDIES)[0]
        words = "3 of 10 pairs lost: a 3 diverged; most_lost allows 10 %"
        assert entry["verdict"] == f"inconclusive ({words})"
        assert (entry["n"], entry["planned"], entry["lost"]) == (7, 10, 3)
        assert entry["lost_of"] == {"a": {"diverged": 3}}
        assert entry["p_holm"] == 1.0


def test_few_lost_pairs_are_marked(tmp_path):
    runs = table([*TEN, *TEN[:2], None])
    (entry,) = judge([CLAIM], runs, NO_STUDIES)
    assert (entry["verdict"], entry["lost"]) == ("supported", 1)
    assert lines([entry], tmp_path) == ["c  supported (1 of 10 pairs lost: a 1 diverged)"]
    # What the reader allows decides.
    (strict,) = judge([CLAIM], runs, NO_STUDIES, most_lost=0.0)
    assert strict["verdict"].startswith("inconclusive (1 of 10 pairs lost: a 1 diverged;")
    assert lines([strict], tmp_path) == [f"c  {strict['verdict']}"]
    (whole,) = judge([CLAIM], table(TEN), NO_STUDIES)
    assert lines([whole], tmp_path) == ["c  supported"]
    assert (whole["planned"], whole["lost"], whole["lost_of"]) == (7, 0, {})


def test_lost_by_either_method():
    """Runs that fail, lack the value or are missing, on either side; a seed counts once."""
    runs = table([1.0] * 8)
    runs.loc[(runs["method"] == "a") & (runs["seed"] == 0), "status"] = "timeout"
    runs.loc[(runs["method"] == "b") & (runs["seed"] == 0), "status"] = "diverged"
    runs.loc[(runs["method"] == "b") & (runs["seed"] == 1), COLUMNS[-1]] = np.nan
    runs = runs[(runs["method"] != "a") | (runs["seed"] != 2)]
    (entry,) = judge([CLAIM], runs, NO_STUDIES)
    assert (entry["n"], entry["planned"], entry["lost"]) == (5, 8, 3)
    lost = {"a": {"not run": 1, "timeout": 1}, "b": {"diverged": 1, "no value": 1}}
    assert entry["lost_of"] == lost


def test_refused_claim_keeps_its_place():
    """A claim that lost too many pairs makes no room for the others' p values."""
    other = replace(CLAIM, id="other", experiment="f")
    runs = pd.concat([table([*TEN, None, None, None]), table([1.0, 3.0, -0.5, 2.0, 2.5], "f")])
    refused, kept = judge([CLAIM, other], runs, NO_STUDIES)
    assert refused["p"] < kept["p"]
    assert kept["p_holm"] == pytest.approx(2 * kept["p"])


def test_file_says_how_many_may_be_lost(tmp_path):
    table([*TEN, None, None, None]).to_parquet(tmp_path / "runs.parquet")
    path, out = tmp_path / "claims.yaml", tmp_path / "claims.json"
    for most, word in ((None, "inconclusive"), (0.2, "inconclusive"), (0.3, "supported")):
        content = {"claims": [asdict(CLAIM)]} | ({} if most is None else {"most_lost": most})
        path.write_text(yaml.safe_dump(content))
        (entry,) = write_claims(path, tmp_path / "runs.parquet", out)
        assert entry["verdict"].split(" ")[0] == word
    for bad in (-0.1, 1.5, "10 %", True):
        path.write_text(yaml.safe_dump({"claims": [], "most_lost": bad}))
        words = f"most_lost is {bad!r}, allowed is a number from 0 to 1"
        with pytest.raises(InputError, match=words):
            read_claims(path)


@pytest.mark.parametrize(
    ("differences", "minimum", "words"),
    [
        ([0.0] * 5, 0.0, "every pair is an exact tie, which no number of such seeds decides"),
        ([-0.5] * 5, -0.5, "every pair differs by exactly the minimum effect, which no number"),
        # 2^(1 - n) is under 0.05 from 6 pairs on.
        ([0.0] * 5, 0.5, "about 1 more seed"),
        ([0.0] * 3, 0.5, "about 3 more seeds"),
        ([1.0] * 5, 0.5, "about 1 more seed"),
        ([0.5] * 5, 0.5, "about 1 more seed"),
    ],
)
def test_ties_say_what_decides(differences, minimum, words):
    claim = replace(CLAIM, minimum_effect=minimum)
    found = verdict(differences, claim)
    assert found.startswith(f"inconclusive ({words}")
    if words.startswith("about"):
        more = int(words.split()[1])
        grown = differences[:1] * (len(differences) + more)
        assert verdict(grown[1:], claim).startswith("inconclusive")
        assert not verdict(grown, claim).startswith("inconclusive")
    else:
        assert verdict(differences * 20, claim) == found


def test_ties_count_the_family():
    """Beside 19 other claims 5 equal pairs need 10: 2^(1 - 10) is the first p under 0.05 / 20."""
    among = [CLAIM, *(replace(CLAIM, id=f"c{k}", experiment=f"e{k}") for k in range(19))]
    even = [table([1.5, -0.5] * 4, f"e{k}") for k in range(19)]
    entry = judge(among, pd.concat([table([1.0] * 5), *even]), NO_STUDIES)[0]
    assert entry["verdict"] == "inconclusive (about 5 more seeds)"
    entry = judge(among, pd.concat([table([1.0] * 10), *even]), NO_STUDIES)[0]
    assert entry["verdict"] == "supported"


def test_not_run():
    assert verdict([1.0, 2.0], replace(CLAIM, better="other")) == "not run"


def test_run_claims_share_one_correction():
    rng = np.random.default_rng(1)
    rows = [("e", m, s, "ok", v) for m in "ab" for s, v in enumerate(rng.normal(size=5))]
    runs = pd.DataFrame(rows, columns=COLUMNS)
    claims = [CLAIM, replace(CLAIM, id="d"), replace(CLAIM, id="f", than="x")]
    one, two, absent = judge(claims, runs, NO_STUDIES)
    assert one["p_holm"] == two["p_holm"] == pytest.approx(min(1, 2 * one["p"]))
    assert absent["p"] is absent["p_holm"] is absent["interval"] is None
    shown = {"setting", "claim", "verdict", "id", "experiment", "difference", "interval", "p", "n"}
    assert shown <= set(one)


def digest(claim: Claim | TheoryClaim) -> str:
    """A digest of every key of a claim."""
    return hashlib.sha256(json.dumps(asdict(claim), sort_keys=True).encode()).hexdigest()[:16]


def test_matrix_expands_to_golden_claims():
    """Ids, order, sentences and every other key are those of the list that the matrix replaced."""
    with open(GOLDEN, newline="") as stream:
        golden = [(row["id"], row["sha256"]) for row in csv.DictReader(stream)]
    assert [(claim.id, digest(claim)) for claim in read_claims(CLAIMS_FILE)] == golden


def test_list_of_claims_is_read_too(tmp_path):
    """A file may be a mere list of claims, each with all its keys."""
    claims = read_claims(CLAIMS_FILE)
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([asdict(claim) for claim in claims]))
    assert read_claims(path) == claims


def of_scale(claims: list[Claim], name: str, methods: list[str]) -> list[Claim]:
    """The claims on an experiment between methods that it has."""
    here = [claim for claim in claims if claim.experiment == name]
    return [claim for claim in here if {claim.better, claim.than} <= set(methods)]


def test_claims_cover_settings_and_control():
    """The paper's claims are judged in every setting, and a control in every experiment."""
    claims = [claim for claim in read_claims(CLAIMS_FILE) if isinstance(claim, Claim)]
    assert {claim.setting for claim in claims if claim.source == "paper"} == set(SETTINGS)
    assert {claim.setting for claim in claims} == set(SETTINGS)
    judged = set()
    for scale in ("default", "verdict", "robustness", "confirmation", "breadth"):
        few = scale in ("confirmation", "breadth")
        drifts = {"drift_slow"} if few else {"drift_up", "drift_down"}
        for name, experiment in load.load(scale).experiments.items():
            run = of_scale(claims, name, experiment.methods)
            rivals = {claim.than.split("+")[1].split("@")[0] for claim in run}
            assert name == "digits_plane" or rivals >= {"learned", "fixed"} | drifts
            assert {claim.setting for claim in run} <= {experiment.setting}
            judged |= {claim.id for claim in run}
    assert judged == {claim.id for claim in claims}


WORDS = """words:
  hsac: sharpness-aware curvature learning
  hsac_guarded: the better on validation of hsac and a curvature kept at its start
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("alpha: 0.05", "alpha: 5", "defaults: alpha is 5, allowed is a number from 0 to 1"),
        ("alpha: 0.05", "alpha: true", "defaults: alpha is True, allowed is a number"),
        ("alpha: 0.05", "", "claim digits-learned: alpha is missing"),
        ("minimum_effect:", "minimal_effect:", "minimal_effect is unknown.*'minimum_effect'"),
        ("setting: noisy", "setting: noise", "experiment glyphs_noisy: setting is 'noise'"),
        ("{ id: one,", "{ extra: 1,", "rival one-control: extra is unknown"),
        ("source: paper", "source: hearsay", "source is 'hearsay', allowed are paper, control"),
        ("words: digits", "words: 10", "experiment digits: words is 10, allowed is text"),
        ("words: digits", "word: digits", "digits: word is unknown; .*did you mean 'words'"),
        ("[digits, disease,", "[digit, disease,", "block 1 of matrix: experiments: found 'digit'"),
        ("[learned, fixed,", "[learnt, fixed,", "rivals: found 'learnt'; .*mean 'learned'"),
        ("[learned, fixed,", "[fixed, fixed,", "claim digits-fixed: id is used twice"),
        ("better: hsac\n", "better: hsak\n", "digits-learned: words: found 'hsak'.*mean 'hsac'"),
        ("than {than}.", "than {rival}.", "allowed in it are {experiment}, {better}, {than}"),
        ("than {than}.", "than {than.__class__}.", "allowed in it are {experiment}, {better}"),
        ("than {than}.", "than {than:>999999999}.", "allowed in it are {experiment}, {better}"),
        ("than {than}.", "than {than!r}.", "allowed in it are {experiment}, {better}"),
        ("than {than}.", "than {than}}.", "allowed in it are {experiment}, {better}"),
        ("\nmatrix:", "\nmatrix: 1\nunused:", "unused is unknown"),
        (WORDS, "words: 1\n", "words is 1, allowed is a mapping"),
        ("  - experiments: [disease]\n", "  -\n", "block 2 of matrix: experiments is missing"),
        ("[one, searched, sam-searched]", "one", "rivals is 'one', allowed is a list"),
        ("\nmatrix:", "\nmatrices:", "matrices is unknown; .*did you mean 'matrix'"),
        ("kind: theory", "kind: theorem", "kind is 'theorem', allowed are comparison, theory"),
        ("study: lipschitz", "study: lipschits", r"found 'lipschits'; .*did you mean 'lipschitz'"),
        (
            "holds: relative <= 1e-6",
            "holds: relative < 1e-6",
            "holds is 'relative < 1e-6', allowed is `left <= right`",
        ),
        ("    holds: relative <= 1e-6\n", "", "claim hypergradient-exact: holds is missing"),
    ],
)
def test_bad_claims_are_named(tmp_path, old, new, words):
    path = tmp_path / "claims.yaml"
    text = CLAIMS_FILE.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=words) as raised:
        read_claims(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_written_comparison_needs_every_key(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump([{k: v for k, v in asdict(CLAIM).items() if k != "than"}]))
    with pytest.raises(InputError, match="claim c: than is missing"):
        read_claims(path)


def test_contradiction_is_corrected_over_claims():
    short = table([-0.8, 0.6, -0.5, 0.4, -0.6, 0.1, -0.3, 0.3])
    alone = judge([CLAIM], short, NO_STUDIES)[0]
    assert alone["verdict"] == "contradicted"
    among = [CLAIM, *(replace(CLAIM, id=f"c{k}", experiment=f"e{k}") for k in range(19))]
    even = [table([1.5, -0.5] * 4, f"e{k}") for k in range(19)]
    entry = judge(among, pd.concat([short, *even]), NO_STUDIES)[0]
    assert entry["p_minimum_holm"] == pytest.approx(20 * alone["p_minimum_holm"])
    assert entry["verdict"].startswith("inconclusive")


def test_mean_at_minimum_stays_undecided():
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
    """Without a true difference any claim is supported with probability alpha / 2 (one side)."""
    rng = np.random.default_rng(1)
    claim = replace(CLAIM, minimum_effect=minimum)
    drawn = [simulated(0.0, 1.0, n, rng, claim, family) for _ in range(draws)]
    rate = np.mean(["supported" in verdicts for verdicts in drawn])
    assert rate <= CLAIM.alpha + allowance(CLAIM.alpha, draws)
    if minimum == 0:
        # The test is not merely blind: no more than three standard errors under alpha / 2.
        assert rate >= CLAIM.alpha / 2 - allowance(CLAIM.alpha / 2, draws)


@pytest.mark.slow
def test_true_claims_rarely_contradicted(verdicts_alone):
    """A claim of the true difference is contradicted with a probability under alpha."""
    rng, draws = np.random.default_rng(2), 1000
    drawn = [simulated(CLAIM.minimum_effect, 1.0, 6, rng)[0] for _ in range(draws)]
    rate = np.mean([word == "contradicted" for word in drawn])
    assert rate >= CLAIM.alpha / 2 - allowance(CLAIM.alpha / 2, draws)
    assert rate <= CLAIM.alpha + allowance(CLAIM.alpha, draws)


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
    """The seeds that a verdict asks for decide the claim 8 times in 10, mean and sd being true."""
    rng, draws = np.random.default_rng(3), 600
    margin = mean - minimum
    reach = margin if margin > 0 and minimum else None
    n = more_seeds(sd, mean if margin > 0 else margin, 0, CLAIM.alpha, margin=reach)
    claim = replace(CLAIM, minimum_effect=minimum)
    rate = np.mean([simulated(mean, sd, n, rng, claim)[0] == word for _ in range(draws)])
    slack = 0.03  # n is whole, the formula approximate
    assert rate == pytest.approx(0.8, abs=slack + allowance(0.8, draws))


BOUND = TheoryClaim("t", "theory", "theory", "Under it.", "s", "error <= bound")


def theory(tmp_path: Path, rows: str, claim: TheoryClaim = BOUND) -> dict:
    """The entry of a theory claim on a study of these lines."""
    (tmp_path / "s.csv").write_text(rows)
    return judge([claim], table([1.0]), tmp_path)[0]


def test_theory_claim_holds_in_every_row(tmp_path):
    entry = theory(tmp_path, "problem,error,bound\nx,1,2\ny,3,3\n")
    assert (entry["verdict"], entry["n"]) == ("supported", 2)
    entry = theory(tmp_path, "problem,error,bound\nx,1,2\ny,3,2.9\n")
    assert entry["verdict"] == "contradicted"
    assert entry["evidence"] == "1 of 2 rows; closest: error = 3, bound = 2.9 (problem y)"
    entry = theory(tmp_path, "problem,error,bound\nx,1,2\ny,3,\n")
    assert entry["verdict"] == "inconclusive (1 of 2 rows undecided)"


def test_theory_claim_judges_named_rows(tmp_path):
    rows = "problem,error,bound\nx,1,2\ny,3,2\n"
    assert theory(tmp_path, rows, replace(BOUND, where="problem == 'x'"))["verdict"] == "supported"
    assert theory(tmp_path, rows, replace(BOUND, where="problem == 'z'"))["verdict"] == "not run"
    (absent,) = judge([replace(BOUND, study="absent")], table([1.0]), tmp_path)
    assert absent["verdict"] == "not run"


def test_neither_holds_nor_fails_is_undecided(tmp_path):
    claim = replace(BOUND, holds="low >= 1 - delta", fails="high <= 1 - delta")
    head = "low,high,delta\n"
    assert theory(tmp_path, head + "0.96,0.99,0.05\n", claim)["verdict"] == "supported"
    assert theory(tmp_path, head + "0.90,0.99,0.05\n", claim)["verdict"].startswith("inconclusive")
    assert theory(tmp_path, head + "0.90,0.94,0.05\n", claim)["verdict"] == "contradicted"


def test_expression_of_unknown_columns_is_named(tmp_path):
    words = r"claim t: study s: cannot evaluate 'errors'.*columns are error, bound"
    with pytest.raises(InputError, match=words):
        theory(tmp_path, "error,bound\n1,2\n", replace(BOUND, holds="errors <= bound"))


@pytest.fixture
def judged(results, tmp_path) -> list[str]:
    """The command line to judge one claim on synthetic results, hsac against euclidean."""
    claim = next(claim for claim in read_claims(CLAIMS_FILE) if claim.id == "digits-learned")
    entries = [asdict(claim) | {"than": "sgd+euclidean"}]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(entries))
    runs, out = str(results / "runs.parquet"), str(tmp_path / "claims.json")
    return ["claims", "--claims", str(tmp_path / "claims.yaml"), "--runs", runs, "--output", out]


def test_strict_names_contradicted_with_status_one(judged, capsys):
    assert main([*judged, "--strict"]) == 0
    assert "digits-learned  supported" in capsys.readouterr().out
    path = Path(judged[2])
    text = path.read_text().replace("better: sgd+hsac", "better: sgd+euclidean")
    path.write_text(text.replace("than: sgd+euclidean", "than: sgd+hsac"))
    assert main(judged) == 0
    assert main([*judged, "--strict"]) == 1
    assert capsys.readouterr().err == "hsac: contradicted: digits-learned\n"


def entry(**keys: object) -> dict:
    """What `lines` reads of an entry: a comparison of `a` and `b` on `e` if not said otherwise."""
    base = {"id": "c", "kind": "comparison", "experiment": "e", "better": "a", "than": "b"}
    return base | {"verdict": "not run"} | keys


def test_lines_leave_out_other_scales(tmp_path):
    """Listed: claims whose methods the scale's experiment has, and whose study it runs."""
    settings = {"experiments": {"e": {"methods": ["a", "b"]}}, "theory": {"studies": ["s"]}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    here = [entry(id="here", verdict="supported"), entry(id="study", kind="theory", study="s")]
    elsewhere = [
        entry(experiment="other"),
        entry(than="c"),
        entry(kind="theory", study="t"),
    ]
    listed = ["here   supported", "study  not run"]
    assert lines(here, tmp_path) == listed
    said = "3 claims about what only other scales run, left out"
    assert lines([*elsewhere, *here], tmp_path) == [*listed, said]
    said = "1 claim about what only other scales run, left out"
    assert lines([*here, elsewhere[0]], tmp_path) == [*listed, said]


def test_lines_without_settings_list_all(tmp_path):
    assert lines([entry(), entry(experiment="other")], tmp_path) == ["c  not run"] * 2


def test_claims_are_judged_and_written(results, tmp_path):
    entries = write_claims(CLAIMS_FILE, results / "runs.parquet", tmp_path / "claims.json")
    assert json.loads((tmp_path / "claims.json").read_text()) == entries
    keys = {"verdict", "claim", "setting", "source", "kind", "better", "than"}
    keys |= {"difference", "interval", "p_holm", "n"}
    assert all(keys <= set(entry) for entry in entries)
    assert {entry["verdict"] for entry in entries if entry["kind"] == "theory"} == {"not run"}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: f"{text}\nwords: {{}}\n".encode(), "found the key 'words' twice"),
        (lambda text: b"# f\xfcr\n" + text.encode(), "found the byte 0xfc in line 1"),
        (lambda text: text.replace("alpha: 0.05", "alpha: 0:05").encode(), "found 0:05"),
    ],
)
def test_claims_say_no_thing_twice(tmp_path, spoil, words):
    path = tmp_path / "claims.yaml"
    path.write_bytes(spoil(CLAIMS_FILE.read_text()))
    with pytest.raises(InputError, match=words) as caught:
        read_claims(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_claims_take_exponents(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS_FILE.read_text().replace("alpha: 0.05", "alpha: 5e-2"))
    assert read_claims(path) == read_claims(CLAIMS_FILE)
