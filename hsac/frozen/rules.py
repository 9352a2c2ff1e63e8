"""Rules against the landscape over c: their hypergradients, and where they end."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hsac.frozen.branches import SolvedHeads, log_c, solve, solve_along
from hsac.frozen.head import HeadProblem
from hsac.frozen.landscape import DRAW, LandscapeOptions, Row
from hsac.frozen.readings import reading, upper_level
from hsac.frozen.splits import HeadData, Splits
from hsac.hypergradient.implicit import implicit_hypergradient
from hsac.hypergradient.minimum import value_and_gradient
from hsac.hypergradient.operator import Loss
from hsac.hypergradient.solution import Solver
from hsac.parts import build
from hsac.rules.weights.adam import Adam

# A rotation of the ball leaves the lower level as it is, so that H is singular. It does not leave a
# finite number of Gaussian draws as they are. What CG then has no solution for does not enter the
# hypergradient, and a little damping lets it converge.
DAMPING = 1e-6
# What a hypergradient can be of: the training loss, the readings at a radius, the held-out loss.
FOLLOWED = ("literal", "gap", "mean", "validation_nll")  # by rules, from start to end
OBJECTIVES = ("train_loss", "literal", "gap", "range", "mean", "worst", "validation_nll")
# The solvers of the implicit term. `literal` is the public code's: five terms of step .1, without
# the leading factor.
SOLVERS: dict[str, dict[str, object]] = {
    "none": {},
    "identity": {"name": "identity"},
    "neumann, 3 terms": {"name": "neumann", "terms": 3},
    "neumann, 30 terms": {"name": "neumann", "terms": 30},
    "literal": {"name": "neumann", "terms": 5, "step": 0.1, "leading": False},
    "nystrom": {"name": "nystrom"},
    "cg, 10 terms": {"name": "cg", "terms": 10, "damping": DAMPING},
    "cg, 200 terms": {"name": "cg", "terms": 200, "damping": DAMPING},
}
EXACT = "cg, 200 terms"
DIFFERENCE = 1e-3  # of log c, on either side
TIGHT = 1e-9  # tolerance of heads whose values are subtracted


@dataclass(frozen=True)
class RuleOptions:
    """What rules are compared with the landscape by.

    Attributes:
        radius: ρ of the readings.
        ascent_steps: Steps of an ascent that is to converge.
        draws: Gaussian draws of the reading mean.
        starts: Curvatures that rules start at.
        steps: Outer steps of a rule.
        step: Learning rate of Adam on log c, which falls to 0 by half a cosine.
        batch: Rows of a batch, where one is drawn.
        inner: Steps of Adam between outer steps, where the lower level is not solved.
        rate: Their learning rate.
        factor: c stays within this factor of its start, where the interval is narrow.
    """

    radius: float = 0.05
    ascent_steps: int = 10
    draws: int = 32
    starts: tuple[float, ...] = (0.01, 0.3, 1.0, 4.0)
    steps: int = 40
    step: float = 0.5
    batch: int = 32
    inner: int = 20
    rate: float = 0.01
    factor: float = 10.0


@dataclass(frozen=True)
class RuleSetting:
    """How far a rule's setting is from the theory's.

    Attributes:
        solver: One of `SOLVERS`.
        batches: Whether each level sees a batch of its own, not all rows.
        solved: Whether the lower level is solved before each outer step.
        narrow: Whether c stays near its start.
    """

    solver: str = EXACT
    batches: bool = False
    solved: bool = True
    narrow: bool = False


# The theory's setting, then one change at a time, then all of them.
SETTINGS: dict[str, RuleSetting] = {
    "exact": RuleSetting(),
    "batches": RuleSetting(batches=True),
    "unsolved": RuleSetting(solved=False),
    "truncated": RuleSetting(solver="neumann, 3 terms"),
    "direct": RuleSetting(solver="none"),
    "interval": RuleSetting(narrow=True),
    "all": RuleSetting("neumann, 3 terms", batches=True, solved=False, narrow=True),
}


@dataclass(frozen=True)
class ComparedRules:
    """Rules against the landscape on some problems.

    Attributes:
        hypergradients: Rows of `hypergradients`.
        ends: Rows of `RulePaths.ends`, each with its `minimiser`: the c of the grid where the
            objective is least in that seed.
    """

    hypergradients: list[Row]
    ends: list[Row]


def first_seeds(splits: Splits, count: int) -> Splits:
    """Return the problems of the first seeds.

    Args:
        splits: Problems, one a seed.
        count: How many.
    """
    return _taken(splits, torch.arange(min(count, len(splits.seeds))))


def _taken(splits: Splits, runs: Tensor) -> Splits:
    parts = (part.take(runs) for part in (splits.train, splits.validation, splits.test))
    seeds = tuple(splits.seeds[run] for run in runs.tolist())
    return Splits(seeds, splits.classes, *parts)


def compare(
    splits: Splits,
    dim: int,
    landscape: LandscapeOptions,
    options: RuleOptions,
    progress: Callable[[str], None] = lambda text: None,
) -> ComparedRules:
    """Compare rules with the landscape over c.

    Args:
        splits: The problems, one a seed.
        dim: Dimension d of the ball.
        landscape: Grid and weight decay of the landscape.
        options: The options.
        progress: Called with a line of text as the work goes on.

    Returns:
        What was found.
    """
    problem = HeadProblem(splits.train, splits.classes, dim, landscape.decay)
    heads = solve_along(problem, landscape.curvatures, progress)
    progress("hypergradients")
    gradients = hypergradients(problem, splits, heads, options, OBJECTIVES)
    bounds = (landscape.curvatures[0], landscape.curvatures[-1])
    paths, ends = RulePaths(problem, splits, bounds, options), []
    for objective in FOLLOWED:
        values = torch.stack([_at_head(objective, problem, splits, at, options) for at in heads])
        least = values.argmin(0).tolist()
        places = {seed: heads[i].c for seed, i in zip(splits.seeds, least, strict=True)}
        for setting in SETTINGS:
            progress(f"{objective}, {setting}")
            for row in paths.ends(objective, setting):
                ends.append(row | {"minimiser": places[int(row["seed"])]})
    return ComparedRules(gradients, ends)


def _at_head(
    objective: str,
    problem: HeadProblem,
    splits: Splits,
    at: SolvedHeads,
    options: RuleOptions,
) -> Tensor:
    return _value(objective, problem, splits, (at.w, log_c(problem, at.c)), options)


def solver_of(name: str) -> Solver | None:
    """Build a solver of the implicit term.

    Args:
        name: One of `SOLVERS`.

    Returns:
        The solver, None for the direct term only.
    """
    given = dict(SOLVERS[name])
    if not given:
        return None
    made: Solver = build("solver", str(given.pop("name")), given, "solver")
    return made


def upper_of(
    objective: str,
    problem: HeadProblem,
    validation: HeadData,
    point: tuple[Tensor, Tensor],
    options: RuleOptions,
) -> Loss:
    """Return an upper level, with the perturbations that it has at a point.

    Args:
        objective: One of `OBJECTIVES`.
        problem: The problems, of the rows that the upper level sees.
        validation: The held-out rows.
        point: Weights (R, P) and log c (R, 1).
        options: The options.

    Returns:
        U, a function of w and θ.
    """
    if objective == "train_loss":
        return problem.loss
    if objective == "validation_nll":
        return lambda w, theta: problem.nll(w, theta, validation)
    scope = reading(objective, options.radius, options.ascent_steps, options.draws)
    return upper_level(problem, *point, scope, DRAW)


def hypergradients(
    problem: HeadProblem,
    splits: Splits,
    heads: Sequence[SolvedHeads],
    options: RuleOptions,
    objectives: Sequence[str],
) -> list[Row]:
    """Compare implicit hypergradients with differences of the re-solved problem.

    The difference in log c is central, of heads that are solved again from the head between them.
    The adversary is found again at each. Nothing of the implicit function theorem is in it.

    Args:
        problem: The problems, one a seed.
        splits: Their parts.
        heads: Their heads at each c.
        options: The options.
        objectives: Some of `OBJECTIVES`.

    Returns:
        A row for each objective, solver, seed and c: `difference` and `hypergradient`, both
        dU/dlog c in nats.
    """
    rows: list[Row] = []
    for at in heads:
        theta = log_c(problem, at.c)
        middle = solve(problem, at.w, theta, TIGHT).w
        sides = [theta + way * DIFFERENCE for way in (1.0, -1.0)]
        points = [(solve(problem, middle, side, TIGHT).w, side) for side in sides]
        for objective in objectives:
            up, down = (_value(objective, problem, splits, point, options) for point in points)
            difference = (up - down) / (2 * DIFFERENCE)
            upper = upper_of(objective, problem, splits.validation, (middle, theta), options)
            for name in SOLVERS:
                found = implicit_hypergradient(
                    upper, problem.objective, middle, theta, solver_of(name), {}
                )
                for i, seed in enumerate(splits.seeds):
                    row: Row = {"objective": objective, "solver": name, "seed": seed, "c": at.c}
                    row["difference"] = float(difference[i])
                    rows.append(row | {"hypergradient": float(found.total[i, 0])})
    return rows


def _value(
    objective: str,
    problem: HeadProblem,
    splits: Splits,
    point: tuple[Tensor, Tensor],
    options: RuleOptions,
) -> Tensor:
    upper = upper_of(objective, problem, splits.validation, point, options)
    with torch.no_grad():
        return upper(*point)


@dataclass(frozen=True)
class RulePaths:
    """Where rules end, on some problems.

    Attributes:
        problem: The problems, one a seed.
        splits: Their parts.
        bounds: Lowest and highest c.
        options: The options.
    """

    problem: HeadProblem
    splits: Splits
    bounds: tuple[float, float]
    options: RuleOptions

    def ends(self, objective: str, setting: str) -> list[Row]:
        """Follow a rule from every start.

        Args:
            objective: One of `OBJECTIVES`.
            setting: One of `SETTINGS`.

        Returns:
            A row for each start and seed, with the `end`: c after the last step.
        """
        seeds, starts = self.splits.seeds, self.options.starts
        # All starts at once: each is a copy of the problems.
        runs = torch.arange(len(seeds)).repeat(len(starts))
        copies = replace(self, problem=self.problem.take(runs), splits=_taken(self.splits, runs))
        first = torch.tensor(starts, dtype=torch.float64).repeat_interleave(len(seeds))
        end = copies._followed(objective, SETTINGS[setting], first.log()[:, None]).tolist()
        rows: list[Row] = []
        for i, c in enumerate(end):
            row: Row = {"objective": objective, "setting": setting}
            row |= {"start": starts[i // len(seeds)], "seed": seeds[i % len(seeds)]}
            rows.append(row | {"end": c})
        return rows

    def _followed(self, objective: str, setting: RuleSetting, theta: Tensor) -> Tensor:
        """Return c (R,) after the outer steps of a rule from θ (R, 1)."""
        problem, options = self.problem, self.options
        low, high = self._interval(setting, theta)
        w = solve(problem, problem.start(0), theta).w
        outer = Adam(lr=options.step, betas=(0.9, 0.99))
        inner = Adam(lr=options.rate)
        outer_state, inner_state = outer.init(theta), inner.init(w)
        generator = torch.Generator().manual_seed(DRAW + 1)
        for step in range(options.steps):
            if setting.solved:
                w = solve(problem, w, theta).w
            else:
                for _ in range(options.inner):
                    seen = self._seen(setting, generator)
                    _, g = value_and_gradient(seen, w, theta)
                    w, inner_state = inner.apply(w, inner_state, g)
            g = self._hypergradient(objective, setting, (w, theta), generator)
            shrink = (1 + math.cos(math.pi * step / options.steps)) / 2
            theta, outer_state = outer.apply(theta, outer_state, g, shrink)
            theta = theta.clamp(low, high)
        return theta[:, 0].exp()

    def _hypergradient(
        self,
        objective: str,
        setting: RuleSetting,
        point: tuple[Tensor, Tensor],
        generator: torch.Generator,
    ) -> Tensor:
        """Return the hypergradient (R, 1) as the rule `hsac` takes it: at most of length 1."""
        # A batch for each level.
        above, below = self._seen(setting, generator), self._seen(setting, generator)
        upper = upper_of(objective, above, self.splits.validation, point, self.options)
        solver = solver_of(setting.solver)
        found = implicit_hypergradient(upper, below.objective, *point, solver, {}, ratio=100.0)
        return found.total.clamp(-1.0, 1.0)

    def _interval(self, setting: RuleSetting, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return the ends of the interval of log c (R, 1), by where each run starts."""
        low, high = (torch.full_like(start, math.log(c)) for c in self.bounds)
        if not setting.narrow:
            return low, high
        reach = math.log(self.options.factor)
        return torch.maximum(low, start - reach), torch.minimum(high, start + reach)

    def _seen(self, setting: RuleSetting, generator: torch.Generator) -> HeadProblem:
        """Return the problems on the rows that a level sees: all, or a batch drawn from them."""
        if not setting.batches:
            return self.problem
        data = self.problem.data
        # Padding has no weight, and is not drawn.
        chance = (data.weight > 0).double()
        rows = torch.multinomial(chance, self.options.batch, generator=generator)
        weight = torch.full_like(rows, 1, dtype=data.weight.dtype) / self.options.batch
        x = data.x.gather(1, rows[..., None].expand(-1, -1, data.x.shape[-1]))
        return replace(self.problem, data=HeadData(x, data.label.gather(1, rows), weight))
