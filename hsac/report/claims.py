"""Judge the claims: comparisons on the gathered runs, theory claims on the studies' rows.

Those about regret are judged by `hsac.report.regret_claims`.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

import numpy as np
import pandas as pd

from hsac.files import JsonObject, read_json, write_json
from hsac.report import frozen
from hsac.report.claim_matrix import (
    MOST_LOST,
    SETTINGS,
    THEORY,
    AnyClaim,
    Claim,
    RegretClaim,
    TheoryClaim,
    read_claims,
    read_file,
    sides,
)
from hsac.report.expressions import evaluate
from hsac.report.gather import read_gathered
from hsac.report.regret_claims import judge_regrets
from hsac.report.statistics import (
    SAME,
    UNDEFINED,
    UNPAIRED,
    Interval,
    Paired,
    Replicates,
    decision,
    effect_size,
    hierarchical_interval,
    holm,
    more_seeds,
    paired_difference,
    probability_of_improvement,
)
from hsac.report.theory import study
from hsac.report.unfinished import Pairs, pairs

__all__ = [
    "SETTINGS",
    "AnyClaim",
    "Claim",
    "Compared",
    "Judged",
    "TheoryClaim",
    "contradicted",
    "judge",
    "lines",
    "read_claims",
    "verdict",
    "write_claims",
]

# The columns of a study that tell where its closest row lies.
LABELS = (
    *("problem", "solver", "terms"),
    *("map", "argument", "c", "r"),
    *("n", "delta"),
    *("curvature", "step", "outer"),
)


@dataclass(frozen=True)
class Compared:
    """A comparison of two methods over paired seeds, in points of test accuracy.

    Attributes:
        zero: The paired difference, tested against 0.
        minimum: The same, tested against the claim's minimum effect.
        effect: Hedges' g.
        hierarchical: Interval of the difference from resampled seeds and test items.
        improvement: The probability of improvement.
        pairs: The pairs that were to be compared, and those that were lost.
    """

    zero: Paired
    minimum: Paired
    effect: Interval
    hierarchical: Interval
    improvement: float
    pairs: Pairs


class Judged(TypedDict, total=False):
    """An entry of ``claims.json``: the keys of its claim and what was found.

    A theory claim's `experiment`, `better` and `than` are the study, the relation and the rows that
    it is about, as a table of claims shows them. Its other keys of a comparison are None.
    """

    id: str
    kind: str
    setting: str
    source: str
    claim: str
    experiment: str
    better: str
    than: str
    minimum_effect: float | None
    alpha: float | None
    verdict: str
    n: int  # pairs of seeds, or rows of the study

    # of a comparison; None where undefined
    planned: int | None  # pairs, the lost ones included
    lost: int | None  # pairs that runs which did not finish left without a difference
    lost_of: dict[str, dict[str, int]] | None  # method -> status -> pairs
    difference: float | None  # points
    interval: list[float] | None  # points
    p: float | None
    p_holm: float | None
    p_minimum_holm: float | None
    test: str | None
    effect: float | None  # Hedges' g
    effect_interval: list[float] | None
    hierarchical_interval: list[float] | None  # points
    improvement: float | None

    # of a theory claim
    study: str
    holds: str
    where: str
    fails: str
    evidence: str

    # of a claim about regret, whose `n` counts problems
    reading: str
    rival: str
    measure: str


def verdict(
    claim: Claim,
    compared: Compared | None,
    p_holm: float,
    p_minimum_holm: float,
    family: int,
    most_lost: float = MOST_LOST,
) -> str:
    """Return the verdict on one comparison, from two tests.

    supported: the difference differs from 0 (``p_holm`` < alpha) and its mean reaches the minimum
    effect. contradicted: the mean lies below the minimum effect, and significantly so
    (``p_minimum_holm`` < alpha): an effect of the size claimed is excluded. not run: a method has
    no runs. Otherwise inconclusive, with the number of seeds that would decide if the mean is right
    (80 % power at alpha / family).

    There is no verdict either where more than the share ``most_lost`` of the pairs was lost to runs
    that did not finish: a method that diverges on its worst seeds looks better on the others.

    Each test is two-sided and corrected on its own. So a claim of a true difference of 0 or less
    is supported with a probability of at most alpha in all the claims together, and so is a claim
    contradicted whose true difference is the minimum effect or more.

    With a negative minimum effect the second test alone decides: supported where the mean is above
    the minimum effect, contradicted where it is below (non-inferiority; Piaggio et al., JAMA 2012).

    Args:
        claim: The claim.
        compared: What the runs say, None where a method has no runs.
        p_holm: p of the difference against 0, after Holm's correction.
        p_minimum_holm: p of the difference against the minimum effect, after Holm's correction.
        family: Number of claims that were run, over which both are corrected.
        most_lost: Largest share of the pairs that may be lost.

    Returns:
        The verdict's word, with the reason in brackets where it is inconclusive.
    """
    if compared is None:
        return "not run"
    d = compared.zero
    if d.n < 2:
        pairs = "pair" if d.n == 1 else "pairs"
        return f"inconclusive (spread unknown: {d.n} finished {pairs}, at least 2 are needed)"
    if compared.pairs.share > most_lost:
        return f"inconclusive ({compared.pairs.text}; most_lost allows {100 * most_lost:g} %)"
    p = p_holm, p_minimum_holm
    if word := decision(d.difference, claim.minimum_effect, p, claim.alpha):
        return word
    # The strictest of Holm's levels, as the claim's later place among the others is not known.
    return f"inconclusive ({_seeds_to_decide(claim, d, claim.alpha / max(family, 1))})"


def _seeds_to_decide(claim: Claim, found: Paired, alpha: float) -> str:
    """Say how many more seeds would decide a comparison if its mean is right."""
    margin = found.difference - claim.minimum_effect
    supports = margin >= -SAME and claim.minimum_effect >= 0
    tested = found.difference if supports else margin
    if found.sd == 0 and abs(tested) <= SAME:
        what = "is an exact tie" if supports else "differs by exactly the minimum effect"
        return f"every pair {what}, which no number of such seeds decides"
    # Supporting the claim takes both: exceeding 0 and reaching the minimum effect.
    reach = margin if supports and claim.minimum_effect else None
    more = more_seeds(found.sd, tested, found.n, alpha, margin=reach)
    # The count of `more_seeds` ends there.
    at_least = "+" if more == 1000 else ""
    return f"about {more}{at_least} more {'seed' if more == 1 else 'seeds'}"


def judge(
    claims: list[AnyClaim],
    runs: pd.DataFrame,
    theory: Path,
    most_lost: float = MOST_LOST,
    regrets: frozen.Regrets | None = None,
) -> list[Judged]:
    """Judge claims on the runs, on the studies and on the landscapes over c.

    The comparisons that were run form one family for Holm's correction. One that lost too many
    pairs keeps its place in it with p = 1, as it is not decided. Claims about regret are a family
    of their own.

    Args:
        claims: The claims.
        runs: The table ``runs.parquet``.
        theory: The folder of the studies' rows.
        most_lost: Largest share of a comparison's pairs that may be lost.
        regrets: The regrets on frozen features. Without them claims about regret have no entry.

    Returns:
        One entry a claim, in their order. Undefined numbers are None.

    Raises:
        InputError: An expression of a theory claim cannot be evaluated.
    """
    comparisons = [claim for claim in claims if isinstance(claim, Claim)]
    compared = {claim.id: _compare(claim, runs) for claim in comparisons}
    against_zero = [_tested(d, most_lost, "zero") for d in compared.values()]
    against_minimum = [_tested(d, most_lost, "minimum") for d in compared.values()]
    p_holm = dict(zip(compared, holm(np.array(against_zero)), strict=True))
    p_minimum_holm = dict(zip(compared, holm(np.array(against_minimum)), strict=True))
    # A claim without runs, or with one pair, is no test.
    family = int(np.isfinite(against_zero).sum())
    about_regret = [claim for claim in claims if isinstance(claim, RegretClaim)]
    of_regret = judge_regrets(about_regret, regrets) if regrets else {}
    entries = []
    for claim in claims:
        if isinstance(claim, RegretClaim):
            if claim.id in of_regret:
                entries.append(cast(Judged, of_regret[claim.id]))
            continue
        if isinstance(claim, TheoryClaim):
            found = _judge_theory(claim, theory)
        else:
            p, p_minimum = float(p_holm[claim.id]), float(p_minimum_holm[claim.id])
            word = verdict(claim, compared[claim.id], p, p_minimum, family, most_lost)
            found = _found(compared[claim.id], p, p_minimum) | {"verdict": word}
        entries.append(cast(Judged, asdict(claim) | found))
    return entries


def _tested(
    compared: Compared | None, most_lost: float, against: Literal["zero", "minimum"]
) -> float:
    """Return the p value that a comparison brings into Holm's family, NaN where it is no test."""
    if compared is None:
        return math.nan
    p: float = getattr(compared, against).p
    # On the survivors alone a small p would make room for those of the others.
    return 1.0 if compared.pairs.share > most_lost and not math.isnan(p) else p


def _compare(claim: Claim, runs: pd.DataFrame) -> Compared | None:
    """Compare a claim's methods at level 1 - alpha, None when one of them has no run."""
    block = runs[runs["experiment"] == claim.experiment]
    if not {claim.better, claim.than} <= set(block["method"]):
        return None
    better = Replicates(block, claim.experiment, claim.better, scale=100)
    than = Replicates(block, claim.experiment, claim.than, scale=100)
    level = 1 - claim.alpha
    return Compared(
        paired_difference(better, than, level),
        paired_difference(better, than, level, against=claim.minimum_effect),
        effect_size(better, than, level),
        hierarchical_interval(better, than, level),
        probability_of_improvement(better, than),
        pairs(block, better, than),
    )


def _found(compared: Compared | None, p_holm: float, p_minimum_holm: float) -> dict[str, Any]:
    # A claim that was not run has the same keys, with None.
    nothing = Pairs(0, 0, {})
    found = compared or Compared(UNPAIRED, UNPAIRED, UNDEFINED, UNDEFINED, np.nan, nothing)
    return {
        "n": found.zero.n,
        "planned": found.pairs.planned,
        "lost": found.pairs.lost,
        "lost_of": found.pairs.why,
        "difference": _known(found.zero.difference),
        "interval": _limits(found.zero.low, found.zero.high),
        "p": _known(found.zero.p),
        "p_holm": _known(p_holm),
        "p_minimum_holm": _known(p_minimum_holm),
        "test": found.zero.test or None,
        "effect": _known(found.effect.estimate),
        "effect_interval": _limits(found.effect.low, found.effect.high),
        "hierarchical_interval": _limits(found.hierarchical.low, found.hierarchical.high),
        "improvement": _known(found.improvement),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _limits(low: float, high: float) -> list[float] | None:
    return None if math.isnan(low) else [low, high]


def _judge_theory(claim: TheoryClaim, folder: Path) -> dict[str, Any]:
    """Judge a theory claim: every row counts, since none is a matter of chance.

    supported: it holds in every row. contradicted: it fails in at least one. inconclusive: neither,
    for rows between ``holds`` and ``fails`` or rows without a value. not run: the study has no such
    row.
    """
    where = f"claim {claim.id}: study {claim.study}"
    rows = study(folder, claim.study)
    if len(rows) and claim.where:
        rows = rows[evaluate(claim.where, rows, where, truth=True)]
    # A table of claims shows these keys of a comparison, so a theory claim fills them too.
    shown: dict[str, Any] = {"experiment": claim.study, "better": claim.holds}
    shown["than"] = claim.where or "every row"
    shown |= dict.fromkeys(["difference", "interval", "p", "p_holm", "minimum_effect", "alpha"])
    shown |= dict.fromkeys(["planned", "lost", "lost_of"])
    if rows.empty:
        return shown | {"verdict": "not run", "n": 0, "evidence": "the study has no such row"}
    holds, slack, values = _relation(claim.holds, rows, where)
    # Not `~holds`: a row with an unknown side neither holds nor fails.
    fails = _relation(claim.fails, rows, where)[0] if claim.fails else slack < 0
    undecided = int((~holds & ~fails).sum())
    if fails.any():
        word = "contradicted"
    elif undecided:
        word = f"inconclusive ({undecided} of {len(rows)} rows undecided)"
    else:
        word = "supported"
    text = f"{int(holds.sum())} of {len(rows)} rows"
    if slack.notna().any():
        text += f"; closest: {_closest(rows, slack, values)}"
    return shown | {"verdict": word, "n": len(rows), "evidence": text}


def _closest(rows: pd.DataFrame, slack: pd.Series, values: dict[str, pd.Series]) -> str:
    """Say both sides of the relation in the row that comes closest to breaking it."""
    at = int(slack.argmin())
    numbers = ", ".join(f"{side} = {value.iloc[at]:.6g}" for side, value in values.items())
    labels = ", ".join(f"{name} {rows[name].iloc[at]}" for name in LABELS if name in rows)
    return f"{numbers} ({labels})"


def _relation(
    relation: str, rows: pd.DataFrame, where: str
) -> tuple[pd.Series, pd.Series, dict[str, pd.Series]]:
    """Evaluate a relation in each row.

    Returns whether it is true (not where a side is unknown), its slack as a share of the larger
    side, and its sides by their expression.
    """
    left, sign, right = sides(relation, where)
    a, b = (evaluate(side, rows, where, truth=False) for side in (left, right))
    true, slack = (a <= b, b - a) if sign == "<=" else (a >= b, a - b)
    size = a.abs().combine(b.abs(), max)
    # Where both sides are 0 the slack is 0, not 0 / 0.
    return true, slack / size.where(size > 0, 1.0), {left: a, right: b}


def write_claims(claims_yaml: Path, runs_parquet: Path, out: Path) -> list[Judged]:
    """Judge the claims of a file and write what was found.

    Args:
        claims_yaml: The claims.
        runs_parquet: The gathered runs. The rows of the studies lie in ``theory`` beside them, the
            landscapes over c in ``frozen``.
        out: The JSON file to write.

    Returns:
        The entries, as written.

    Raises:
        InputError: A file is missing or something in it does not fit.
    """
    root, read = Path(runs_parquet).parent, read_file(claims_yaml)
    runs, regrets = read_gathered(runs_parquet), frozen.read(root)
    entries = judge(read.claims, runs, root / "theory", read.most_lost, regrets)
    write_json(Path(out), entries)
    return entries


def contradicted(entries: list[Judged]) -> list[str]:
    """Return the ids of the contradicted claims.

    Args:
        entries: What `judge` returns.

    Returns:
        The ids, in the claims' order.
    """
    return [entry["id"] for entry in entries if entry["verdict"] == "contradicted"]


def lines(entries: list[Judged], results: Path) -> list[str]:
    """Return id and verdict of the claims that are about a scale, a line each.

    Args:
        entries: What `judge` returns.
        results: The scale's results folder. Its ``settings.json`` says which experiments, methods
            and studies the scale has. Without that file every claim is listed.

    Returns:
        The lines. A last one says how many claims were left out, if any were.
    """
    settings = Path(results) / "settings.json"
    shown = entries
    if settings.is_file():
        scale = read_json(settings)
        shown = [entry for entry in entries if _is_about(entry, scale)]
    width = max((len(entry["id"]) for entry in shown), default=0)
    listed = [f"{entry['id']:<{width}}  {entry['verdict']}{lost_mark(entry)}" for entry in shown]
    if others := len(entries) - len(shown):
        noun = "claim" if others == 1 else "claims"
        listed.append(f"{others} {noun} about what only other scales run, left out")
    return listed


def lost_mark(entry: Judged) -> str:
    """Say how many pairs a claim was judged without.

    Args:
        entry: As `judge` returns it, or as an older ``claims.json`` has it.

    Returns:
        Words in brackets with a space before them. Empty where no pair was lost, and where the
        verdict says it.
    """
    lost = Pairs(entry.get("planned") or 0, entry.get("lost") or 0, entry.get("lost_of") or {})
    return f" ({lost.text})" if lost.text and lost.text not in entry["verdict"] else ""


def _is_about(entry: Judged, settings: JsonObject) -> bool:
    """Check whether a scale runs what a claim is about: its study, or both its methods."""
    if entry["kind"] == "regret":
        # Without frozen features there is no entry. Some have no such problems, or other radii.
        return entry["verdict"] != "not run"
    if entry["kind"] == THEORY:
        # A scale may leave the theory out.
        return entry["study"] in (settings.get("theory") or {}).get("studies", ())
    experiment = settings["experiments"].get(entry["experiment"], {"methods": []})
    return {entry["better"], entry["than"]} <= set(experiment["methods"])
