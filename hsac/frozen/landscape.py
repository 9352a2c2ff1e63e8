"""The landscape over c of a head on frozen features, at solved lower levels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hsac.frozen.bounds import COLUMNS, bounds
from hsac.frozen.branches import TOLERANCE, SolvedHeads, log_c, solve_along
from hsac.frozen.head import HeadProblem
from hsac.frozen.readings import READINGS, reading, upper_level
from hsac.frozen.splits import HeadData, Splits
from hsac.study.frozen import Frozen
from hsac.train.restarts import tempered_loss

DRAW = 2  # of the readings' starts and noise

Row = dict[str, float | int | str | bool]
Values = dict[str, Tensor]  # column -> a number of each problem (R,)


@dataclass(frozen=True)
class LandscapeOptions:
    """What a landscape over c is made with.

    Attributes:
        curvatures: The curvatures c, rising.
        radii: Radii ρ of the readings' scopes.
        decay: Factor λ of the weight decay.
        ascent_steps: Steps of an ascent that is to converge.
        draws: Gaussian draws of the reading mean.
    """

    curvatures: Sequence[float]
    radii: Sequence[float]
    decay: float
    ascent_steps: int
    draws: int

    @classmethod
    def of(cls, frozen: Frozen) -> "LandscapeOptions":
        """Return the options that a configuration states.

        Args:
            frozen: The key `frozen`.
        """
        return cls(
            frozen.curvatures.values,
            frozen.radii,
            frozen.weight_decay,
            frozen.ascent_steps,
            frozen.draws,
        )


def landscape(
    splits: Splits,
    judged: Splits | None,
    dim: int,
    options: LandscapeOptions,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Solve the heads at every c, and measure there what rules minimise and what judges them.

    Args:
        splits: The problems that choose.
        judged: The problems that judge, if they are others (few-shot: episodes of other classes).
            They are of the same seeds.
        dim: Dimension d of the ball.
        options: The options.
        progress: Called with a line of text as the work goes on.

    Returns:
        A row for each seed and c: means over the seed's problems, but the largest gradient. Losses
        are in nats, errors are shares.
    """
    problem = HeadProblem(splits.train, splits.classes, dim, options.decay)
    heads = solve_along(problem, options.curvatures, progress)
    # An episode is no sample of the task that a bound is about.
    few_shot = len(set(splits.seeds)) < len(splits.seeds)
    no_bound = dict.fromkeys(COLUMNS, torch.full((len(splits.seeds),), torch.nan))
    bound = [no_bound] * len(heads) if few_shot else bounds(problem, heads, progress)
    judges = list(_judged(judged or splits, heads, judged is not None, dim, options, progress))
    rows: list[Row] = []
    for at, judge, bounded in zip(heads, judges, bound, strict=True):
        progress(f"readings, c = {at.c:.3g}")
        values = _measured(problem, splits, at, options) | bounded
        columns = {name: _by_seed(splits.seeds, found) for name, found in values.items()}
        for i, seed in enumerate(dict.fromkeys(splits.seeds)):
            row: Row = {"seed": seed, "c": at.c}
            row |= _state(at, [s == seed for s in splits.seeds])
            row |= {name: column[i] for name, column in columns.items()}
            rows.append(row | {name: column[i] for name, column in judge.items()})
    # By seed and then by c, as a reader looks at a curve.
    order = {seed: i for i, seed in enumerate(dict.fromkeys(splits.seeds))}
    return sorted(rows, key=lambda row: (order[int(row["seed"])], row["c"]))


def _judged(
    splits: Splits,
    heads: Sequence[SolvedHeads],
    others: bool,
    dim: int,
    options: LandscapeOptions,
    progress: Callable[[str], None],
) -> Iterator[dict[str, list[float]]]:
    """Yield test NLL and error at each c, of each seed."""
    problem = HeadProblem(splits.train, splits.classes, dim, options.decay)
    if others:
        heads = solve_along(problem, options.curvatures, progress)
    for at in heads:
        theta = log_c(problem, at.c)
        with torch.no_grad():
            nll = problem.nll(at.w, theta, splits.test)
            error = problem.error(at.w, theta, splits.test)
        yield {
            "test_nll": _by_seed(splits.seeds, nll),
            "test_error": _by_seed(splits.seeds, error),
        }


def _state(at: SolvedHeads, mine: list[bool]) -> Row:
    """Return how the heads of a seed's problems were solved."""
    gradient = float(at.gradient[torch.tensor(mine)].max())
    branches = {branch for branch, one in zip(at.branch, mine, strict=True) if one}
    # Episodes of a seed may differ.
    branch = branches.pop() if len(branches) == 1 else "mixed"
    return {"gradient": gradient, "solved": gradient <= TOLERANCE, "branch": branch}


def _measured(
    problem: HeadProblem, splits: Splits, at: SolvedHeads, options: LandscapeOptions
) -> Values:
    w, theta = at.w, log_c(problem, at.c)
    with torch.no_grad():
        found = {
            "train_loss": problem.loss(w, theta),
            "objective": problem.objective(w, theta),
            "train_error": problem.error(w, theta, problem.data),
            "validation_nll": problem.nll(w, theta, splits.validation),
            "validation_error": problem.error(w, theta, splits.validation),
            "validation_tempered": _tempered(problem, w, theta, splits.validation),
        }
    for radius in options.radii:
        for name in READINGS:
            scope = reading(name, radius, options.ascent_steps, options.draws)
            upper = upper_level(problem, w, theta, scope, DRAW)
            with torch.no_grad():
                found[f"{name}@{radius:g}"] = upper(w, theta)
    return found


def _tempered(problem: HeadProblem, w: Tensor, theta: Tensor, data: HeadData) -> Tensor:
    """Return the loss of each problem's held-out rows at its best temperature (R,)."""
    logits = problem.logits(w, theta, data.x)
    each = zip(logits, data.label, data.weight, strict=True)
    return torch.stack([tempered_loss(a[None], label, weight)[0] for a, label, weight in each])


def _by_seed(seeds: Sequence[int], values: Tensor) -> list[float]:
    """Return the mean of each seed's problems, in the order of the seeds."""
    numbers = values.detach().cpu().numpy()
    places = np.array(seeds)
    return [float(numbers[places == seed].mean()) for seed in dict.fromkeys(seeds)]
