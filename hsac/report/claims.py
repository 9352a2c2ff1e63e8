"""Claims of ``config/claims.yaml``: comparisons judged on the gathered runs, theory claims on the
studies' rows.
"""

import math
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from hsac import parts
from hsac.errors import InputError
from hsac.files import write_json
from hsac.report.gather import read_gathered
from hsac.report.statistics import (
    UNDEFINED,
    UNPAIRED,
    Interval,
    Paired,
    Replicates,
    effect_size,
    hierarchical_interval,
    holm,
    more_seeds,
    paired_difference,
    probability_of_improvement,
)
from hsac.report.theory import study

SETTINGS = ("classification", "long_tailed", "noisy", "few_shot")
THEORY = "theory"  # the setting of a theory claim
SOURCES = ("paper", "control", "theory")
KINDS = ("comparison", "theory")
RELATIONS = ("<=", ">=")
LABELS = (
    "problem",
    "solver",
    "terms",
    "map",
    "argument",
    "c",
    "r",
    "n",
    "delta",
    "curvature",
    "step",
    "outer",
)


@dataclass(frozen=True)
class Claim:
    """That ``better`` beats ``than`` on ``experiment`` by at least ``minimum_effect`` points of
    test accuracy.

    A negative ``minimum_effect`` claims non-inferiority: that ``better`` is not worse by more than
    that. ``source``: `paper`, a qualitative claim of the paper as reconstructed from its abstract,
    or `control`.
    """

    id: str
    setting: str
    source: str
    claim: str
    experiment: str
    better: str
    than: str
    minimum_effect: float
    alpha: float
    kind: str = "comparison"


@dataclass(frozen=True)
class TheoryClaim:
    """That ``holds``, `left <= right` or `left >= right`, is true in every row of ``study`` where
    ``where`` is.

    Both sides, ``where`` and ``fails`` are expressions of the study's columns as pandas evaluates
    them, rounding allowed for in them. ``fails``: the relation that refutes the claim in a row,
    where that is not the opposite of ``holds`` (a confidence interval leaves a row undecided in
    between).
    """

    id: str
    setting: str
    source: str
    claim: str
    study: str
    holds: str
    where: str = ""
    fails: str = ""
    kind: str = "theory"


AnyClaim = Claim | TheoryClaim


def _claim(entry: Any, path: Path) -> AnyClaim:
    if not isinstance(entry, dict):
        raise InputError(f"{path}: an entry is {entry!r}, allowed is a mapping of keys")
    where = f"{path}: claim {entry.get('id', '(no id)')}"
    kind = entry.get("kind", "comparison")
    if kind not in KINDS:
        raise InputError(f"{where}: kind is {kind!r}, allowed are {', '.join(KINDS)}")
    made: type[AnyClaim] = Claim if kind == "comparison" else TheoryClaim
    names = [field.name for field in fields(made)]
    for field in fields(made):
        if field.name not in entry and field.default is MISSING:
            raise InputError(f"{where}: {field.name} is missing")
    for key in entry:
        if key not in names:
            raise InputError(f"{where}: {key} is unknown, allowed are {', '.join(names)}")
    for field in fields(made):
        value = entry.get(field.name, field.default)
        if field.type is str and (not isinstance(value, str) or not (value or field.default == "")):
            raise InputError(f"{where}: {field.name} is {value!r}, allowed is text")
    settings, sources = (SETTINGS, SOURCES[:2]) if made is Claim else ((THEORY,), SOURCES[2:])
    for key, allowed in (("setting", settings), ("source", sources)):
        if entry[key] not in allowed:
            raise InputError(f"{where}: {key} is {entry[key]!r}, allowed are {', '.join(allowed)}")
    for key, low, high in (("minimum_effect", -100, 100), ("alpha", 0, 1)):
        value = entry.get(key, 0.5)
        good = (
            isinstance(value, int | float) and not isinstance(value, bool) and low <= value < high
        )
        if not good or (key == "alpha" and value == 0):
            raise InputError(
                f"{where}: {key} is {value!r}, allowed is a number from {low} to {high}"
            )
    if made is TheoryClaim:
        parts.check_name("study", entry["study"], f"{where}: study")
        for key in ("holds", "fails"):
            if key in entry:
                _sides(entry[key], f"{where}: {key}")
    return made(**entry)


def _sides(relation: str, where: str) -> tuple[str, str, str]:
    """Left side, sign and right side. Raises InputError naming ``where`` when there is not one
    sign.
    """
    found = [sign for sign in RELATIONS if sign in relation]
    parts = relation.split(found[0]) if len(found) == 1 else []
    if len(parts) != 2 or not all(part.strip() for part in parts):
        raise InputError(f"{where} is {relation!r}, allowed is `left <= right` or `left >= right`")
    return parts[0].strip(), found[0], parts[1].strip()


def read_claims(path: Path) -> list[AnyClaim]:
    """The claims of a YAML file (a list of mappings). Raises InputError naming the claim and key
    that do not fit.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, list):
        raise InputError(f"{path}: found {type(content).__name__}, allowed is a list of claims")
    claims = [_claim(entry, Path(path)) for entry in content]
    for position, claim in enumerate(claims):
        if claim.id in {earlier.id for earlier in claims[:position]}:
            raise InputError(f"{path}: claim {claim.id}: id is used twice")
    return claims


@dataclass(frozen=True)
class Compared:
    """What the runs say of a claim, in points: the paired difference tested against 0, the same
    tested against the claim's minimum effect, Hedges' g, the hierarchical interval, the probability
    of improvement.
    """

    zero: Paired
    minimum: Paired
    effect: Interval
    hierarchical: Interval
    improvement: float


def _compare(claim: Claim, runs: pd.DataFrame) -> Compared | None:
    """The comparison at level 1 - alpha, or None when one of the two methods has no run."""
    block = runs[runs["experiment"] == claim.experiment]
    if not {claim.better, claim.than} <= set(block["method"]):
        return None
    better, than = (
        Replicates(block, claim.experiment, method, scale=100)
        for method in (claim.better, claim.than)
    )
    level = 1 - claim.alpha
    return Compared(
        paired_difference(better, than, level),
        paired_difference(better, than, level, against=claim.minimum_effect),
        effect_size(better, than, level),
        hierarchical_interval(better, than, level),
        probability_of_improvement(better, than),
    )


def verdict(
    claim: Claim, compared: Compared | None, p_holm: float, p_minimum_holm: float, family: int
) -> str:
    """The verdict on one claim, from two tests, each corrected by Holm over the ``family`` of
    claims that were run.

    supported: the difference differs from 0 (``p_holm`` < alpha) and its mean reaches the minimum
    effect. contradicted: the difference is smaller than the minimum effect (``p_minimum_holm`` <
    alpha and the mean below it), so that an effect of the size claimed is excluded. Each test is
    two-sided and corrected on its own, so a claim of a true difference of 0 or less is supported,
    and one of a true difference of the minimum effect or more is contradicted, with a probability
    of at most alpha in all the claims together. not run: a method has no runs. Otherwise
    inconclusive, with the seeds that would decide with 80 % power at alpha / family if the mean is
    right: that it exceeds 0 and reaches the minimum effect, or that it stays below it.

    With a negative minimum effect the second test alone decides: supported where the mean is above
    the minimum effect, contradicted where it is below (non-inferiority; Piaggio et al., JAMA 2012).
    """
    if compared is None:
        return "not run"
    d = compared.zero
    if d.n < 2:
        return (
            f"inconclusive (spread unknown: {d.n} finished pair{'s' * (d.n != 1)}, at least 2 are"
            " needed)"
        )
    margin, not_worse = d.difference - claim.minimum_effect, claim.minimum_effect < 0
    above = p_minimum_holm < claim.alpha if not_worse else d.difference > 0 and p_holm < claim.alpha
    if above and margin >= 0:
        return "supported"
    if p_minimum_holm < claim.alpha and margin < 0:
        return "contradicted"
    alpha = claim.alpha / max(family, 1)
    if margin >= 0 and not not_worse:
        more = more_seeds(
            d.sd, d.difference, d.n, alpha, margin=margin if claim.minimum_effect else None
        )
    else:
        more = more_seeds(d.sd, margin, d.n, alpha)
    return f"inconclusive (about {more}{'+' * (more == 1000)} more seed{'s' * (more != 1)})"


def judge(claims: list[AnyClaim], runs: pd.DataFrame, theory: Path) -> list[dict[str, Any]]:
    """One entry a claim, in their order: the claim's own keys and what was found. Undefined numbers
    are None.

    Comparisons: verdict, difference and interval (points), p, p_holm, p_minimum_holm, n (pairs),
    test, effect and effect_interval (Hedges' g), hierarchical_interval (points), improvement. The
    comparisons that were run form one family for Holm's correction. Theory claims: verdict, n (rows
    judged), evidence (words), and the keys of a comparison that a table shows, None or empty.
    ``theory``: the folder of the studies' rows.
    """
    comparisons = [claim for claim in claims if isinstance(claim, Claim)]
    compared = {claim.id: _compare(claim, runs) for claim in comparisons}
    tests = {
        name: np.array([np.nan if d is None else getattr(d, name).p for d in compared.values()])
        for name in ("zero", "minimum")
    }
    corrected = {name: dict(zip(compared, holm(p), strict=True)) for name, p in tests.items()}
    family = int(np.isfinite(tests["zero"]).sum())
    entries = []
    for claim in claims:
        if isinstance(claim, TheoryClaim):
            entries.append(asdict(claim) | _judge_theory(claim, theory))
            continue
        d, p_holm, p_minimum = (
            compared[claim.id],
            *(float(corrected[name][claim.id]) for name in tests),
        )
        entries.append(asdict(claim) | _entry(d, p_holm, p_minimum) | {
            "verdict": verdict(claim, d, p_holm, p_minimum, family)
        })  # fmt: skip
    return entries


def _entry(compared: Compared | None, p_holm: float, p_minimum_holm: float) -> dict[str, Any]:
    found = compared or Compared(UNPAIRED, UNPAIRED, UNDEFINED, UNDEFINED, np.nan)
    return {
        "n": found.zero.n,
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
    """Verdict, rows judged and the evidence of a theory claim; every row counts, none is a matter
    of chance.

    supported: it holds in every row. contradicted: it fails in one or more. inconclusive: neither,
    for rows between ``holds`` and ``fails`` or rows without a value. not run: the study has no such
    row.
    """
    where = f"claim {claim.id}: study {claim.study}"
    rows = study(folder, claim.study)
    if len(rows) and claim.where:
        rows = rows[_evaluate(claim.where, rows, where).astype(bool)]
    # what a table of claims shows of a comparison, as far as a theory claim has it
    shown: dict[str, Any] = {
        "experiment": claim.study,
        "better": claim.holds,
        "than": claim.where or "every row",
    }
    shown |= dict.fromkeys(["difference", "interval", "p", "p_holm", "minimum_effect", "alpha"])
    if rows.empty:
        return shown | {"verdict": "not run", "n": 0, "evidence": "the study has no such row"}
    holds, slack, sides = _relation(claim.holds, rows, where)
    fails = _relation(claim.fails, rows, where)[0] if claim.fails else slack < 0
    undecided = int((~holds & ~fails).sum())
    text = f"{int(holds.sum())} of {len(rows)} rows"
    if slack.notna().any():
        closest = int(slack.argmin())
        numbers = ", ".join(f"{name} = {side.iloc[closest]:.6g}" for name, side in sides.items())
        labels = ", ".join(f"{name} {rows[name].iloc[closest]}" for name in LABELS if name in rows)
        text += f"; closest: {numbers} ({labels})"
    if fails.any():
        word = "contradicted"
    elif undecided:
        word = f"inconclusive ({undecided} of {len(rows)} rows undecided)"
    else:
        word = "supported"
    return shown | {"verdict": word, "n": len(rows), "evidence": text}


def _relation(
    relation: str, rows: pd.DataFrame, where: str
) -> tuple[pd.Series, pd.Series, dict[str, pd.Series]]:
    """Whether a relation is true in each row (not where a side is unknown), by how much of the
    larger side's size, and its sides by name.
    """
    left, sign, right = _sides(relation, where)
    a, b = (_evaluate(side, rows, where).astype(float) for side in (left, right))
    true, slack = (a <= b, b - a) if sign == "<=" else (a >= b, a - b)
    size = a.abs().combine(b.abs(), max)
    return true, slack / size.where(size > 0, 1.0), {left: a, right: b}


def _evaluate(expression: str, rows: pd.DataFrame, where: str) -> pd.Series:
    """An expression of the columns, a value a row. Raises InputError naming ``where`` when it
    cannot be evaluated.
    """
    try:
        value = rows.eval(expression, engine="python")
        return value if isinstance(value, pd.Series) else pd.Series(value, index=rows.index)
    except Exception as error:  # pandas raises what its parser, NumPy or the columns raise
        reason, columns = " ".join(str(error).split()), ", ".join(map(str, rows.columns))
        raise InputError(
            f"{where}: cannot evaluate {expression!r} ({reason}); columns are {columns}"
        ) from None


def write_claims(claims_yaml: Path, runs_parquet: Path, out: Path) -> list[dict[str, Any]]:
    """Judge the claims of ``claims_yaml`` on ``runs_parquet`` and the studies under ``theory``
    beside it; write the list of entries to ``out`` (JSON) and return it.
    """
    entries = judge(
        read_claims(claims_yaml), read_gathered(runs_parquet), Path(runs_parquet).parent / "theory"
    )
    write_json(Path(out), entries)
    return entries


def contradicted(entries: list[dict[str, Any]]) -> list[str]:
    """The ids of the contradicted claims."""
    return [entry["id"] for entry in entries if entry["verdict"] == "contradicted"]


def lines(entries: list[dict[str, Any]]) -> list[str]:
    """Id and verdict of each claim, a line each."""
    width = max((len(entry["id"]) for entry in entries), default=0)
    return [f"{entry['id']:<{width}}  {entry['verdict']}" for entry in entries]
