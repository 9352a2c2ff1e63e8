"""Synthetic run records: their numbers follow formulas, none was measured."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from hsac.files import file_sha256, write_json
from hsac.report.gather import gather
from hsac.study.method import Method

CURVATURES = (
    "euclidean",
    "fixed@0.1",
    "fixed@0.3",
    "fixed@1",
    "grid",
    "learned",
    "drift_up",
    "drift_down",
    "hsac",
)
EXPERIMENTS = {
    "digits": ("classification", "digits", "plain", "mlp2", "sgd"),
    "disease": ("classification", "disease", "plain", "hgcn", "adam"),
    "glyphs_long_tailed": ("long_tailed", "glyphs", "IF50", "mlp", "sgd"),
    "glyphs_noisy": ("noisy", "glyphs", "symmetric40", "mlp", "sgd"),
    "glyphs_few_shot": ("few_shot", "glyphs", "5way1shot", "conv4", "adam"),
}


def methods(plain: str) -> list[str]:
    """Return the methods of an experiment with the weight rule ``plain`` in the table's order."""
    return [f"{plain}+{c}" for c in CURVATURES] + [
        f"sam+{c}" for c in ("fixed@0.3", "learned", "hsac")
    ]


ORDER = {experiment: methods(cell[-1]) for experiment, cell in EXPERIMENTS.items()}
REFERENCES = {experiment: f"{cell[-1]}+fixed@0.3" for experiment, cell in EXPERIMENTS.items()}


def synthetic_record(experiment: str, method: str, seed: int, **changes: Any) -> dict[str, Any]:
    """Return a record that obeys the schema.

    ``changes`` replace top-level keys, ``accuracy`` the selected test accuracy.
    """
    setting, dataset, variant, model, _ = EXPERIMENTS[experiment]
    parts = Method.of(method)
    weight, rule, at = parts.weight, parts.curvature, parts.start
    start = float(at) if at else {"euclidean": 0.0, "grid": 1.0}.get(rule, 0.3)
    rng = np.random.default_rng([seed, *map(ord, experiment + method)])
    steps = list(range(0, 601, 60))
    speed = {"learned": -0.8, "drift_up": 1.2, "drift_down": -1.2, "hsac": -1.5}.get(rule, 0.0)
    layers = (
        ["layer0", "head"]
        if model == "mlp2"
        else ["layer0", "aggregation", "head"][: 3 if model == "hgcn" else 1]
    )
    path = [
        [
            start * math.exp(speed * (1 + 0.4 * k) * s / 600 + 0.1 * seed * s / 600 * bool(speed))
            for k in range(len(layers))
        ]
        for s in steps
    ]
    final = path[-1]
    base = (
        0.8
        + 0.01 * (rule == "hsac")
        + 0.005 * (weight == "sam")
        - 0.02 * (rule == "euclidean")
        + 0.004 * seed
    )
    accuracy = float(changes.pop("accuracy", base + rng.normal(0, 0.006)))
    level = 0.1 + 0.01 * seed - 0.05 * (weight == "sam")
    sharpness = [level + 0.4 * math.exp(-s / 200) + 0.3 * final[0] * s / 600 for s in steps]

    def metrics(epoch: int, shift: float) -> dict[str, Any]:
        m = {
            "step": 60 * epoch,
            "train_accuracy": min(accuracy + 0.1, 1.0),
            "train_nll": 0.3 - 0.05 * final[0],
        }
        m |= {
            "validation_accuracy": accuracy,
            "validation_nll": 0.6,
            "test_accuracy": accuracy + shift,
        }
        m |= {"test_nll": 0.6 + 0.1 * final[0] + 0.01 * seed, "test_ece": 0.05 + 0.01 * final[0]}
        if setting == "long_tailed":
            m |= {
                f"{part}_accuracy": accuracy + gap
                for part, gap in (("head", 0.1), ("middle", 0), ("tail", -0.2))
            }
        return m | ({"memorisation": 0.3} if setting == "noisy" else {})

    alpha = [round(a, 3) for a in np.linspace(-1, 1, 21).tolist()]
    angle = rng.uniform(0, 2 * math.pi, 200)
    label = np.arange(200) % (10 if dataset == "digits" else 2)
    radius = 0.5 + 0.4 * rng.beta(4, 2, 200)
    turn = label * 2 * math.pi / (label.max() + 1) + 0.3 * np.sin(angle)
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1) / math.sqrt(final[0] or 1)
    record: dict[str, Any] = {
        "schema": 1,
        "experiment": experiment,
        "setting": setting,
        "dataset": dataset,
        "variant": variant,
        "model": model,
        "method": method,
        "weight_rule": weight,
        "start": start,
        "seed": seed,
        "curvature_rule": rule.split("_")[0],
        "loss": parts.further[0] if parts.further else "cross_entropy",
        "selected_by": "validation_accuracy",
        "status": "ok",
        "reason": None,
        "config": {"synthetic": True},
        "config_hash": "c" * 16,
        "code": "d" * 16,
        "variant_hash": "e" * 16,
        "weights": "f" * 64,
        "versions": {"python": "3.11.0", "numpy": "2.0"},
        "host": "synthetic",
        "device": "cpu",
        "dtype": "float32",
        "steps": 600,
        "gradients": 600 * (2 if weight == "sam" else 1),
        "products": 180 if rule == "hsac" else 0,
        "tried": 3 if rule == "grid" else 1,
        "chosen": f"{weight}+fixed@1" if rule == "grid" else None,
        "metrics": {
            "selected": metrics(9, 0.0),
            "last": metrics(10, -0.002),
            "oracle": metrics(8, 0.005),
        },
        "curvature": {"names": layers, "final": final},
        "sharpness": sharpness[-1],
        "trajectory": {
            "step": steps,
            "curvature": path,
            "sharpness": sharpness,
            "train_nll": [2 * math.exp(-s / 200) + 0.2 for s in steps],
            "validation_accuracy": [accuracy * (1 - math.exp(-(s + 30) / 100)) for s in steps],
            "test_accuracy": [accuracy * (1 - math.exp(-(s + 30) / 100)) for s in steps],
        },
        "outer": None,
        "landscape": {
            "alpha": alpha,
            "random": [0.3 + (0.5 + 0.5 * final[0]) * a * a + 0.02 * seed for a in alpha],
            "worst": [0.3 + (1 + final[0]) * a * a + 0.02 * seed for a in alpha],
        },
        "embedding": {"x": points.tolist(), "label": label.tolist(), "c": final[0]}
        if model == "mlp2" and final[0] > 0
        else None,
        "seconds": 1.5 + 0.1 * seed,
        "peak_memory_mib": 300.0,
    }
    return record | changes


def diverged(experiment: str, method: str, seed: int) -> dict[str, Any]:
    """A synthetic run that left the finite numbers before it was evaluated."""
    record = synthetic_record(
        experiment, method, seed, status="diverged", reason="loss not finite at step 12"
    )
    empty = {name: [] for name in record["trajectory"]}
    nothing = {"metrics": None, "selected_by": None, "trajectory": empty, "sharpness": None}
    return record | nothing | {"landscape": None, "embedding": None}


def write_bundle(root: Path, records: Iterable[dict[str, Any]]) -> list[Path]:
    """Write records and one index a cell under ``root``/runs; the indexes."""
    cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        cells.setdefault((record["experiment"], record["method"]), []).append(record)
    indexes = []
    for (experiment, method), members in cells.items():
        folder = root / "runs" / experiment / method
        runs = []
        for record in members:
            path = folder / f"{record['seed']}.json"
            write_json(path, record)
            runs.append({"seed": record["seed"], "path": path.name, "sha256": file_sha256(path)})
        write_json(
            folder / "index.json",
            {"schema": 1, "experiment": experiment, "method": method, "runs": runs},
        )
        indexes.append(folder / "index.json")
    return indexes


def synthetic_results(root: Path, experiments: Iterable[str] = EXPERIMENTS, seeds: int = 5) -> Path:
    """A results folder with records, gathered tables, and two diverged runs."""
    records = []
    for experiment in experiments:
        for method in ORDER[experiment]:
            for seed in range(seeds):
                fails = (
                    method == "sgd+fixed@1"
                    and seed in (1, 3)
                    and seeds > 3
                    and experiment == "digits"
                )
                records.append((diverged if fails else synthetic_record)(experiment, method, seed))
    gather(write_bundle(root, records), root)
    return root
