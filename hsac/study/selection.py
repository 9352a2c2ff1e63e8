"""The one rule by which epochs, runs and searched points are ranked: by validation alone.

Kept apart from record.py so that a change there makes no run stale: the training fingerprint
includes this module.
"""

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any

Score = tuple[float, float]
WORST: Score = (0.0, -inf)


def validation_score(
    evaluation: Mapping[str, Any] | None, selected_by: str | None, status: str = "ok"
) -> Score:
    """Compute what an evaluation counts for where the best is chosen: larger is better.

    The score is the accuracy on validation, and between equal ones minus the NLL there. A run that
    diverged scores (0, -inf) whatever it reached before: no accuracy is lower, so that a search can
    average it with other runs. An NLL that is missing or not finite counts as infinite. Nothing of
    test is looked at.

    Args:
        evaluation: Metrics by name, as records hold them. None where a run has none.
        selected_by: The metric that selection looks at first, `validation_accuracy` or
            `validation_balanced_accuracy`.
        status: The status of the run. Without it the evaluation itself is ranked, as of an epoch.

    Returns:
        The accuracy in [0, 1], and minus the NLL in nats.
    """
    if status != "ok" or evaluation is None or selected_by is None:
        return WORST
    # Missing in records where it was not finite, and NaN would rank as nothing in particular.
    nll = evaluation["validation_nll"]
    known = nll is not None and isfinite(nll)
    return float(evaluation[selected_by]), -float(nll) if known else -inf


def run_score(record: Mapping[str, Any]) -> Score:
    """Compute what a run counts for: the validation score of its selected evaluation.

    Args:
        record: The run's record.

    Returns:
        As `validation_score` does.
    """
    selected = (record["metrics"] or {}).get("selected")
    return validation_score(selected, record["selected_by"], record["status"])
