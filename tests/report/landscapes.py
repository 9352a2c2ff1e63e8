"""Synthetic landscapes over c: a study's settings and files whose regrets are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hsac.files import read_json, write_json, write_rows
from hsac.report.frozen import landscape_file, problems

CURVATURES = np.geomspace(0.01, 4.641588833612779, 25)
SETTINGS = ("classification", "long_tailed", "noisy", "few_shot")
RADII = (0.05, 0.3)
READINGS = (
    *("gap", "literal", "range", "worst", "mean"),
    *("adaptive_gap", "curvature_scope", "joint_scope"),
)


def study(problems: Mapping[str, Mapping[str, Any]], points: int) -> dict[str, Any]:
    """Return the key `frozen` of a study."""
    low, high = float(CURVATURES[0]), float(CURVATURES[-1])
    same = {"features": "f", "variant": {}, "test": 10}
    return {
        "curvatures": {"low": low, "high": high, "points": points},
        "radii": list(RADII),
        "features": {"f": {"dataset": "digits", "recipe": "pixels"}},
        "problems": {name: same | dict(entry) for name, entry in problems.items()},
    }


def valley(c: np.ndarray, at: float, depth: float) -> np.ndarray:
    """Return a parabola in log10 c with its minimum 0 at `at`."""
    return depth * (np.log10(c) - np.log10(at)) ** 2


def landscape(seeds: int, seed_of: int, few_shot: bool, points: int = 25) -> list[dict[str, Any]]:
    """Return rows in which test loss is least near c = 0.3, readings are least below it.

    The training loss is least at the highest c, and validation near the test loss.
    """
    rng, rows = np.random.default_rng(seed_of), []
    c = np.geomspace(CURVATURES[0], CURVATURES[-1], points)
    shift = float(np.exp(rng.normal(0, 0.3)))
    for seed in range(seeds):
        best = 0.3 * shift * float(np.exp(rng.normal(0, 0.4)))
        curves = {
            "train_loss": 0.5 - 0.1 * np.log10(c),
            "validation_nll": 0.9 + valley(c, best * float(np.exp(rng.normal(0, 0.5))), 0.2),
            "test_nll": 0.9 + valley(c, best, 0.2),
            "test_error": 0.2 + valley(c, best, 0.05),
        }
        curves["validation_tempered"] = curves["validation_nll"] - 0.05
        curves["validation_error"] = curves["test_error"] + 0.01
        curves["objective"] = curves["train_loss"] + 0.1
        curves["train_error"] = curves["train_loss"] / 5
        for place, reading in enumerate(READINGS):
            for radius in RADII:
                at = 0.03 * (1 + place) * float(np.exp(rng.normal(0, 0.5)))
                curves[f"{reading}@{radius:g}"] = radius * (1 + valley(c, at, 0.5))
        nothing = np.full(points, np.nan)
        for bound, slope in (("certificate", 0.01), ("informed", 0.02)):
            curves[bound] = nothing if few_shot else 0.9 + slope * np.log10(c)
            curves[f"{bound}_sharpness"] = curves[bound] - 0.5
            curves[f"{bound}_kl"] = nothing if few_shot else 50 - np.log10(c)
        same = {"gradient": 1e-10, "solved": True, "branch": "same"}
        for k in range(points):
            one = {name: float(values[k]) for name, values in curves.items()}
            rows.append({"seed": seed, "c": float(c[k])} | same | one)
    return rows


def write_study(
    results: Path,
    settings: Sequence[str] = SETTINGS,
    each: int = 2,
    seeds: int = 4,
    points: int = 25,
) -> Path:
    """Write `frozen` into ``settings.json`` and the landscapes of a results folder."""
    made = {}
    for setting in settings:
        for number in range(each):
            made[f"{setting}_{number}"] = {"setting": setting, "dims": [2, 16], "seeds": seeds}
    path = results / "settings.json"
    kept = read_json(path) if path.is_file() else {"experiments": {}}
    write_json(path, kept | {"frozen": study(made, points)})
    write_landscapes(results)
    return results


def write_landscapes(results: Path) -> None:
    """Write a landscape for each problem and dimension of ``settings.json``, if it has any."""
    for place, problem in enumerate(problems(results)):
        few_shot = problem.setting == "few_shot"
        for dim in problem.dims:
            rows = landscape(problem.seeds, 100 * place + dim, few_shot, problem.points)
            write_rows(landscape_file(results, problem.name, dim), rows)
