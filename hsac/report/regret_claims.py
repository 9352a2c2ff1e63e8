"""Judge the claims about regret on frozen features."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from hsac.report.claim_matrix import RegretClaim
from hsac.report.frozen import GROUPS, Regrets, means_of, saved, words
from hsac.report.statistics import decision, holm, t_p

# Keys of other claims' entries that these have no number for.
NOTHING = dict.fromkeys(["planned", "lost", "lost_of", "effect", "effect_interval", "improvement"])


@dataclass(frozen=True)
class Saved:
    """What a reading saves of a rival's regret.

    Attributes:
        problems: Number of problems.
        mean: Mean over them, in the measure's unit.
        low: Lower end of the two-level interval.
        high: Upper end.
        p: Of the problems' means against 0, NaN with one problem.
        p_minimum: Against the claim's minimum effect.
    """

    problems: int
    mean: float
    low: float
    high: float
    p: float
    p_minimum: float


def judge_regrets(claims: Sequence[RegretClaim], found: Regrets) -> dict[str, dict[str, Any]]:
    """Judge claims about regret. Those that could be tested form one family for Holm's correction.

    Args:
        claims: The claims.
        found: The regrets of a study.

    Returns:
        Id -> the entry of ``claims.json``, in the claims' order.
    """
    compared = _compared(claims, found)
    p_holm = holm([math.nan if one is None else one.p for one in compared])
    p_minimum_holm = holm([math.nan if one is None else one.p_minimum for one in compared])
    entries = {}
    for claim, one, p, p_minimum in zip(claims, compared, p_holm, p_minimum_holm, strict=True):
        corrected = float(p), float(p_minimum)
        entry = asdict(claim) | NOTHING | _shown(claim) | _numbers(one, *corrected)
        entries[claim.id] = entry | {"verdict": _verdict(claim, one, corrected)}
    return entries


def _compared(claims: Sequence[RegretClaim], found: Regrets) -> list[Saved | None]:
    """Compare the choosers of each claim, None where a claim's problems or choosers are absent."""
    pairs: dict[tuple[str, str, float], list[tuple[str, str]]] = {}
    for claim in claims:
        if claim.setting in found.groups and {claim.reading, claim.rival} <= {*found.choosers}:
            key = claim.setting, claim.measure, claim.alpha
            pairs.setdefault(key, []).append((claim.reading, claim.rival))
    # All pairs of a group at once, as they share the bootstrap's draws.
    made = {key: _saved(found, key, together) for key, together in pairs.items()}
    compared = []
    for claim in claims:
        key = claim.setting, claim.measure, claim.alpha
        of_pair = made.get(key, {}).get((claim.reading, claim.rival))
        compared.append(None if of_pair is None else _against(claim, *of_pair))
    return compared


def _saved(
    found: Regrets, key: tuple[str, str, float], pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[pd.Series, np.ndarray]]:
    """Return by pair its row of `means_of` and the (n,) mean differences of the problems."""
    setting, measure, alpha = key
    differences = saved(found, setting, measure, pairs)
    means = means_of(differences, 1 - alpha)
    by_problem = differences.groupby(level="problem")
    # As in `means_of`, a problem with a seed that is not known has no mean.
    of_problems = by_problem.mean().where(differences.notna().groupby(level="problem").all())
    together = {}
    for place, pair in enumerate(pairs):
        if means["problems"].iloc[place]:
            of_pair = of_problems.iloc[:, place].dropna().to_numpy()
            together[pair] = (means.iloc[place], of_pair)
    return together


def _against(claim: RegretClaim, means: pd.Series, of_problems: np.ndarray) -> Saved:
    p_minimum = float(t_p(of_problems[:, None], claim.minimum_effect)[0])
    mean, low, high, p = (float(means[name]) for name in ("mean", "low", "high", "p"))
    return Saved(len(of_problems), mean, low, high, p, p_minimum)


def _verdict(claim: RegretClaim, one: Saved | None, p: tuple[float, float]) -> str:
    if one is None:
        return "not run"
    if one.problems < 2:
        return "inconclusive (1 problem, at least 2 are needed)"
    if word := decision(one.mean, claim.minimum_effect, p, claim.alpha):
        return word
    return f"inconclusive ({one.problems} problems do not decide)"


def _shown(claim: RegretClaim) -> dict[str, Any]:
    # A table of claims shows these keys of a comparison.
    names = {"better": words(claim.reading), "than": words(claim.rival)}
    return {"experiment": f"regret, {GROUPS[claim.setting].lower()}"} | names


def _numbers(one: Saved | None, p_holm: float, p_minimum_holm: float) -> dict[str, Any]:
    found = one or Saved(0, *[math.nan] * 5)
    interval = None if np.isnan(found.low) else [found.low, found.high]
    return {
        "n": found.problems,
        "difference": _known(found.mean),
        "interval": interval,
        "hierarchical_interval": interval,
        "p": _known(found.p),
        "p_holm": _known(p_holm),
        "p_minimum_holm": _known(p_minimum_holm),
        "test": None if math.isnan(found.p) else "t",
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
