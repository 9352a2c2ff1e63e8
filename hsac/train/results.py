"""From the outcome of a training to what the records say of each run."""

import json
from typing import Any

import torch

from hsac.ball import expmap0
from hsac.study.selection import validation_score
from hsac.train.loop import SLICE, Outcome, Prepared

Record = dict[str, Any]
FOLLOWED = ("train_nll", "validation_accuracy", "test_accuracy")  # metrics along a training
LOGGED = ("value", "hypergradient", "residual", "fallback")  # of a curvature rule's moves
NOTHING: Record = {
    **dict.fromkeys(["steps", "gradients", "products", "held_out_batches", "meta_batches"]),
    **dict.fromkeys(["metrics", "selected_by", "sharpness", "outer", "landscape", "embedding"]),
    "curvature": {"names": [], "final": []},
    "trajectory": {key: [] for key in ("step", "curvature", "sharpness", *FOLLOWED)},
}
"""What the record of a run says that came to nothing."""


def results(made: Prepared, outcome: Outcome, i: int) -> Record:
    """Collect what one run came to.

    Args:
        made: What was trained.
        outcome: What came of it.
        i: The run's place among those that were trained together.

    Returns:
        The fields of its record, evaluations up to its divergence only. NaN and infinities are
        still in them: see `finite`.
    """
    faults = {name: int(step[i]) for name, step in outcome.bad.items() if step[i] >= 0}
    # Of quantities that fail at the same step, min takes the first in the order of QUANTITIES.
    first = min(faults, key=lambda name: faults[name], default=None)
    # What is evaluated after a divergence is of weights that mean nothing.
    end = faults[first] if first else outcome.total + 1
    kept = [k for k, step in enumerate(outcome.steps) if step < end]
    metrics = [_evaluation(outcome, k, i) for k in kept]
    trajectory: Record = {
        "step": [outcome.steps[k] for k in kept],
        "curvature": [outcome.curvature[k][i].tolist() for k in kept],
        "sharpness": [float(outcome.sharpness[k][i]) for k in kept],
    }
    return {
        "status": "diverged" if first else "ok",
        "reason": f"{first} not finite at step {end}" if first else None,
        "steps": outcome.total,
        "gradients": outcome.gradients,
        "products": outcome.products,
        "held_out_batches": outcome.held_out_batches,
        "meta_batches": outcome.meta_batches,
        "metrics": _chosen(made.task, outcome, metrics, i) if metrics else None,
        "selected_by": made.task.selected_by,
        "curvature": {
            "names": list(made.model.curvature_names),
            "final": outcome.c[i].tolist(),
        },
        "sharpness": float(outcome.sharpness[-1][i]),
        "trajectory": trajectory | {name: [m[name] for m in metrics] for name in FOLLOWED},
        "outer": _moves(outcome, i) if outcome.outer else None,
        "landscape": _landscape(outcome, i),
    }


def _evaluation(outcome: Outcome, k: int, i: int) -> Record:
    """Return the metrics of run i at evaluation k, without `test_right`."""
    values = {
        name: float(value[i]) for name, value in outcome.metrics[k].items() if name != "test_right"
    }
    return {"step": outcome.steps[k]} | values


def _chosen(task: Any, outcome: Outcome, metrics: list[Record], i: int) -> Record:
    """Return the evaluation of run i that each rule of choice takes."""
    selection = {
        "selected": lambda m: validation_score(m, task.selected_by),
        "last": lambda m: m["step"],
        # The best on test is shown as an oracle only. Nothing is selected by it.
        "oracle": lambda m: m["test_accuracy"],
    }
    # Of equal evaluations max takes the earliest.
    chosen = {rule: max(metrics, key=key) for rule, key in selection.items()}
    # Test items or episodes are the second level of the statistics, so their answers are kept.
    k = outcome.steps.index(chosen["selected"]["step"])
    right = outcome.metrics[k]["test_right"][i].tolist()
    chosen["selected"] = chosen["selected"] | {"test_right": right, "test_answers": task.asked}
    return chosen


def _moves(outcome: Outcome, i: int) -> Record:
    """Return step and log of every move that the curvature rule made in run i."""
    found: Record = {"step": [step for step, _ in outcome.outer]}
    for name in LOGGED:
        found[name] = [log[name][i].tolist() for _, log in outcome.outer]
    return found


def _landscape(outcome: Outcome, i: int) -> Record:
    found: Record = {"alpha": SLICE.tolist()}
    for name, values in outcome.landscape.items():
        found[name] = [float(value[i]) for value in values]
    return found


def embeddings(made: Prepared, outcome: Outcome) -> list[Record | None]:
    """Compute the test points in the ball.

    Args:
        made: What was trained.
        outcome: What came of it.

    Returns:
        Of each run the points (N, 2), their labels and the curvature. None for a model that is not
        hyperbolic of two dimensions, and for a diverged run.
    """
    model = made.model
    if getattr(model, "dim", 0) != 2 or model.space == "euclidean":
        return [None] * len(outcome.w)
    with torch.no_grad():
        u, labels = made.task.embedding(made.ensemble, outcome.w, outcome.c)
    found: list[Record | None] = []
    # The points lie in the head's ball, whose curvature is the last one.
    for tangent, c in zip(u, outcome.c[:, -1], strict=True):
        x = expmap0(tangent, c)
        point = {"x": x.tolist(), "label": labels.tolist(), "c": float(c)}
        found.append(point if x.isfinite().all() else None)
    return found


def finite(value: Any) -> Any:
    """Replace every NaN and infinity by None, so that the value is valid JSON.

    Args:
        value: Numbers, words, lists and dictionaries, nested or not.

    Returns:
        A copy as it would be read back.
    """
    # Python writes NaN and infinities as words, and reading hands these words to parse_constant.
    return json.loads(json.dumps(value), parse_constant=lambda _: None)
