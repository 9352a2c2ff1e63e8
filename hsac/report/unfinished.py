"""Runs that did not finish, in words: what a mean over the others has to say of them.

A run that diverged has no accuracy, so it goes into no mean and no comparison. But it is not lost
by chance: a method that diverges on its worst seeds looks better on those that are left.
"""

from collections import Counter
from dataclasses import dataclass

import pandas as pd

from hsac.report.statistics import Replicates

NOTE = "Runs that did not finish are in no mean and no comparison, which can flatter a method"
LISTED = 12  # methods that a note names; the table of failures has all of them


@dataclass(frozen=True)
class Pairs:
    """The seeds that two methods were to be compared on.

    Attributes:
        planned: Number of seeds that either method has a run of.
        lost: Number of those that are no pair, as a method has no result there.
        why: Method -> what became of its runs there -> number of seeds, as `diverged`.
    """

    planned: int
    lost: int
    why: dict[str, dict[str, int]]

    @property
    def share(self) -> float:
        """The share of the pairs that was lost, 0 where none was planned."""
        return self.lost / self.planned if self.planned else 0.0

    @property
    def text(self) -> str:
        """How many were lost and of which method, empty where none was."""
        if not self.lost:
            return ""
        causes = [f"{method} {_counts(statuses)}" for method, statuses in self.why.items()]
        return f"{self.lost} of {self.planned} pairs lost: {', '.join(causes)}"


def pairs(runs: pd.DataFrame, better: Replicates, than: Replicates) -> Pairs:
    """Count the pairs of two methods, and those that were lost.

    Args:
        runs: The gathered runs, in which both are.
        better: The one method.
        than: The other.

    Returns:
        The pairs.
    """
    statuses = {side.method: _statuses(runs, side) for side in (better, than)}
    planned = set().union(*statuses.values())
    why: dict[str, Counter[str]] = {}
    lost: set[int] = set()
    for side in (better, than):
        # A run without a row was not trained: an experiment gives all its methods the same seeds.
        for seed in planned - set(side.values.index):
            status = statuses[side.method].get(seed, "not run")
            # A run that is ok may lack the metric that is compared.
            why.setdefault(side.method, Counter())["no value" if status == "ok" else status] += 1
            lost.add(seed)
    counts = {method: dict(sorted(found.items())) for method, found in why.items()}
    return Pairs(len(planned), len(lost), counts)


def lost(rows: pd.DataFrame) -> tuple[float, str]:
    """Tell which of a method's runs did not finish.

    Args:
        rows: The gathered runs of one experiment and method.

    Returns:
        Their share, and how many they are and of which status. The text is empty without any.
    """
    failed = rows.loc[rows["status"] != "ok", "status"]
    if failed.empty:
        return 0.0, ""
    causes = _counts(dict(sorted(Counter(failed).items())))
    return len(failed) / len(rows), f"{len(failed)} of {len(rows)} runs lost: {causes}"


def note(runs: pd.DataFrame) -> str:
    """Name the methods of which runs did not finish, for the note under a table.

    Args:
        runs: The gathered runs that the table is about.

    Returns:
        A sentence with a space before it, empty where every run finished.
    """
    failed = runs[runs["status"] != "ok"]
    if failed.empty:
        return ""
    several = runs["experiment"].nunique() > 1
    said = []
    for (experiment, method), rows in failed.groupby(["experiment", "method"], sort=False):
        total = ((runs["experiment"] == experiment) & (runs["method"] == method)).sum()
        name = f"{experiment} {method}" if several else str(method)
        statuses = dict(sorted(Counter(rows["status"]).items()))
        said.append(f"{name} {len(rows)} of {total} ({_counts(statuses)})")
    more = f"; and {len(said) - LISTED} more methods" if len(said) > LISTED else ""
    listed = "; ".join(said[:LISTED]) + more
    return f" {NOTE}: {listed}."


def _statuses(runs: pd.DataFrame, side: Replicates) -> dict[int, str]:
    rows = runs[(runs["experiment"] == side.experiment) & (runs["method"] == side.method)]
    return dict(zip(rows["seed"], rows["status"], strict=True))


def _counts(statuses: dict[str, int]) -> str:
    return ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in statuses.items())
