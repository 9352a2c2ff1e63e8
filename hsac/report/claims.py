"""Claims of ``config/claims.yaml`` judged against the gathered runs."""

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from hsac.errors import InputError
from hsac.files import write_json
from hsac.report.gather import read_gathered
from hsac.report.statistics import Paired, by_seed, holm, more_seeds, paired_difference

SETTINGS = ("classification", "long_tailed", "noisy", "few_shot")
METRIC = "selected_test_accuracy"


@dataclass(frozen=True)
class Claim:
    """That ``better`` beats ``than`` on ``experiment`` by at least ``minimum_effect`` points of test accuracy."""

    id: str
    setting: str
    claim: str
    experiment: str
    better: str
    than: str
    minimum_effect: float
    alpha: float


def _claim(entry: Any, path: Path) -> Claim:
    names = [field.name for field in fields(Claim)]
    if not isinstance(entry, dict):
        raise InputError(f"{path}: an entry is {entry!r}, allowed is a mapping with the keys {', '.join(names)}")
    label = entry.get("id", "(no id)")
    for key in names:
        if key not in entry:
            raise InputError(f"{path}: claim {label}: {key} is missing")
    for key in entry:
        if key not in names:
            raise InputError(f"{path}: claim {label}: {key} is unknown, allowed are {', '.join(names)}")
    for key in ("id", "claim", "experiment", "better", "than"):
        if not isinstance(entry[key], str) or not entry[key]:
            raise InputError(f"{path}: claim {label}: {key} is {entry[key]!r}, allowed is text")
    if entry["setting"] not in SETTINGS:
        raise InputError(f"{path}: claim {label}: setting is {entry['setting']!r}, allowed are {', '.join(SETTINGS)}")
    for key, low, high in (("minimum_effect", 0, 100), ("alpha", 0, 1)):
        value = entry[key]
        good = isinstance(value, int | float) and not isinstance(value, bool) and low <= value < high
        if not good or (key == "alpha" and value == 0):
            raise InputError(f"{path}: claim {label}: {key} is {value!r}, allowed is a number from {low} to {high}")
    return Claim(**entry)


def read_claims(path: Path) -> list[Claim]:
    """The claims of a YAML file (a list of mappings). Raises InputError naming the claim and key that do not fit."""
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


def _compare(claim: Claim, runs: pd.DataFrame) -> Paired | None:
    """The paired difference in points at level 1 - alpha, or None when one of the two methods has no run."""
    block = runs[runs["experiment"] == claim.experiment]
    sides = [block[block["method"] == method] for method in (claim.better, claim.than)]
    if any(side.empty for side in sides):
        return None
    better, than = (100 * by_seed(side, METRIC) for side in sides)
    return paired_difference(better, than, level=1 - claim.alpha)


def verdict(claim: Claim, d: Paired | None, p_holm: float, family: int) -> str:
    """The verdict on one claim from its paired difference (points), Holm-corrected p and the family's size.

    supported: the interval at 1 - alpha lies above 0, corrected p < alpha, and the mean reaches the minimum effect.
    contradicted: significantly the other way (corrected p < alpha, mean < 0), or the whole interval lies below the
    minimum effect, so that an effect of the size claimed is excluded. not run: a method has no runs. Otherwise
    inconclusive, with the seeds that would give 80 % power at alpha / family: to separate the mean from 0 when it
    reaches the minimum effect, else to separate it from the minimum effect.
    """
    if d is None:
        return "not run"
    if d.n < 2:
        return f"inconclusive (spread unknown: {d.n} finished pair{'s' * (d.n != 1)}, at least 2 are needed)"
    if d.low > 0 and p_holm < claim.alpha and d.difference >= claim.minimum_effect:
        return "supported"
    if (d.difference < 0 and p_holm < claim.alpha) or d.high < claim.minimum_effect:
        return "contradicted"
    effect = d.difference if d.difference >= claim.minimum_effect else claim.minimum_effect - d.difference
    more = more_seeds(d.sd, effect, d.n, claim.alpha / max(family, 1))
    return f"inconclusive (about {more}{'+' * (more == 1000)} more seed{'s' * (more != 1)})"


def judge(claims: list[Claim], runs: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry a claim: the claim's own keys, verdict, difference and interval (points), p, p_holm, n (pairs).

    The claims that were run form one family for Holm's correction. Undefined numbers are None.
    """
    compared = [_compare(claim, runs) for claim in claims]
    raw = [np.nan if d is None else d.p for d in compared]
    corrected = holm(raw)
    family = int(np.isfinite(raw).sum())
    entries = []
    for claim, d, p_holm in zip(claims, compared, corrected, strict=True):
        numbers = Paired(0, *[np.nan] * 5) if d is None else d
        entries.append(
            asdict(claim)
            | {"verdict": verdict(claim, d, float(p_holm), family), "n": numbers.n}
            | {"difference": _known(numbers.difference), "p": _known(numbers.p), "p_holm": _known(float(p_holm))}
            | {"interval": None if math.isnan(numbers.low) else [numbers.low, numbers.high]}
        )
    return entries


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def write_claims(claims_yaml: Path, runs_parquet: Path, out: Path) -> None:
    """Judge the claims of ``claims_yaml`` on ``runs_parquet`` and write the list of entries to ``out`` (JSON)."""
    write_json(Path(out), judge(read_claims(claims_yaml), read_gathered(runs_parquet)))
