"""PAC-Bayes bounds of solved heads, and the parts that they are made of.

The posterior is N(w, σ²I) about the solved head. Two priors are compared: N(w0, σ²I) about the
weights that the descent starts from, and one about the head that half of the rows give at the same
c. The second bound is taken of the other half alone (Ambroladze, Parrado-Hernández, Shawe-Taylor,
NeurIPS 2006; Dziugaite et al., AISTATS 2021).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hsac.frozen.branches import SolvedHeads, log_c, solve_from_start
from hsac.frozen.head import HeadProblem
from hsac.frozen.splits import HeadData
from hsac.theory.pac_bayes import Posteriors, certify

SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.3)
DELTA = 0.05
# Draws of the posteriors. Each bound has a generator of its own, so that it does not depend on
# which others are taken.
DRAWS, PILOT_DRAWS, DRAW_OF_NOISE = 64, 4, 3
HALF_DRAW = 4  # of the rows that make the prior
# A bound's own name, then its parts: what the noise adds to the error, and the divergence.
PARTS = ("", "_sharpness", "_kl")
NAMES = ("certificate", "informed")
COLUMNS = tuple(name + part for name in NAMES for part in PARTS)


def bounds(
    problem: HeadProblem,
    heads: Sequence[SolvedHeads],
    progress: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Tensor]]:
    """Bound the risk of each problem's solved heads under both priors.

    c was chosen by looking at the rows, from a grid that was fixed before. The bounds hold for all
    of the grid at once: ln(points) is part of their slack. They hold for the distribution that the
    rows are drawn of, under noisy labels that of noisy labels. They are bounds where the features
    were made without the rows, and elsewhere a number to choose by.

    Args:
        problem: The problems.
        heads: Their solved heads at each c of the grid.
        progress: Called with a line of text as the work goes on.

    Returns:
        For each c `COLUMNS` (R,): the bound under the start prior (`certificate`) and under the
        prior of half of the rows (`informed`), shares; with `_sharpness`, what the noise of the
        posterior adds to the 0-1 error, a share; and `_kl`, the divergence from the prior in nats.
    """
    progress("heads of half of the rows")
    prior_rows, other_rows = halves(problem.data)
    others, start = _on(problem, other_rows), problem.start(0)
    learned = solve_from_start(_on(problem, prior_rows), [at.c for at in heads])
    found = []
    for at, prior in zip(heads, learned, strict=True):
        progress(f"bounds, c = {at.c:.3g}")
        whole = _bounds(problem, at, start, len(heads), "certificate")
        found.append(whole | _bounds(others, at, prior.w, len(heads), "informed"))
    return found


def halves(data: HeadData) -> tuple[HeadData, HeadData]:
    """Part the rows of every problem at random, by their places alone.

    Args:
        data: The rows, of equal weight but where they only pad.

    Returns:
        The rows that make the prior, and those that the bound is taken of.
    """
    used = int((data.weight > 0).sum(-1).min())
    generator = torch.Generator().manual_seed(HALF_DRAW)
    order = torch.randperm(used, generator=generator)
    rest = torch.arange(used, data.x.shape[1])
    first, second = order[: used // 2], torch.cat((order[used // 2 :], rest))
    return _rows(data, first), _rows(data, second)


def _rows(data: HeadData, places: Tensor) -> HeadData:
    weight = data.weight[:, places]
    weight = weight / weight.sum(-1, keepdim=True)
    return HeadData(data.x[:, places], data.label[:, places], weight)


def _on(problem: HeadProblem, data: HeadData) -> HeadProblem:
    return HeadProblem(data, problem.classes, problem.dim, problem.decay)


def turned(problem: HeadProblem, w: Tensor, towards: Tensor) -> Tensor:
    """Turn heads towards others, which changes no logit.

    A rotation of the map's image turns the normals with it, so a head stands for a whole orbit of
    heads. The divergence of two posteriors depends on which one is meant, so the nearest is taken
    (orthogonal Procrustes problem: Schönemann, Psychometrika 1966).

    Args:
        problem: The problems.
        w: Heads (R, P).
        towards: Heads (R, P).

    Returns:
        Heads (R, P) with the logits of `w`.
    """
    map_size, normals_size, _ = problem.layers
    ours, theirs = (_columns(problem, one) for one in (w, towards))
    u, _, vh = torch.linalg.svd(theirs @ ours.mT)
    moved = (u @ vh) @ ours
    features = map_size // problem.dim
    a, z = moved.split((features, problem.classes), -1)
    rest = w[:, map_size + normals_size :]
    return torch.cat((a.flatten(1), z.mT.flatten(1), rest), -1)


def _columns(problem: HeadProblem, w: Tensor) -> Tensor:
    """Return what turns: the map and the normals as columns (R, d, F + K)."""
    a, z, _ = w.split(problem.layers, -1)
    a, z = a.unflatten(-1, (problem.dim, -1)), z.unflatten(-1, (problem.classes, problem.dim))
    return torch.cat((a, z.mT), -1)


def _bounds(
    problem: HeadProblem, at: SolvedHeads, prior: Tensor, curvatures: int, name: str
) -> dict[str, Tensor]:
    """Return a bound and its parts, by column."""
    theta = log_c(problem, at.c)
    posteriors = Posteriors(SIGMAS, DELTA, DRAWS, PILOT_DRAWS, log_choices=math.log(curvatures))
    w = turned(problem, at.w, prior)
    with torch.no_grad():
        exact = problem.error(w, theta, problem.data)
    found = []
    for run in range(len(w)):
        one = problem.take(torch.tensor([run]))
        used = one.data.weight[0] > 0

        def risk(weights: Tensor, one: HeadProblem = one, run: int = run) -> Tensor:
            many = one.take(torch.zeros(len(weights), dtype=torch.int64))
            with torch.no_grad():
                error = many.error(weights, theta[run].expand(len(weights), -1), many.data)
            # A sum of n shares may round to just above 1.
            return error.clamp(max=1.0)

        n = int(used.sum())
        chance = 1 - float(torch.bincount(one.data.label[0][used]).max()) / n
        generator = torch.Generator().manual_seed(DRAW_OF_NOISE)
        made = certify(risk, w[run], prior[run], n, posteriors, generator, chance)
        found.append((made.bound, made.empirical - float(exact[run]), made.kl))
    columns = torch.tensor(found, dtype=torch.float64).unbind(-1)
    return {name + part: column for part, column in zip(PARTS, columns, strict=True)}
