"""One hypergradient, every method with the fewest steps that reach the same error.

The model is a hyperbolic classifier with strongly convex training loss.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.case import FASTER, Case, Run, at_least, at_most
from hsac.ball import mlr_logits_tangent
from hsac.hypergradient import HessianOperator, Solver, implicit_hypergradient
from hsac.hypergradient.solvers.cg import Cg
from hsac.hypergradient.solvers.exact import Exact
from hsac.hypergradient.solvers.neumann import Neumann
from hsac.sharpness import ascend

# Relative error of dF/dθ that every iterative method must reach.
ERROR = 1e-3
# Most steps of a method.
MOST = 400
RADIUS = 0.1
# Rows N, inputs I, dimension d, classes K.
SIZES = ((256, 16, 8, 5), (1024, 64, 32, 10))
TINY = ((30, 3, 2, 3),)
# The adversary e (P,) -> dF/dθ (); everything else is bound.
Hyper = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """A linear layer into the ball of curvature exp(θ) and a Poincaré MLR, float64; w (P,), θ ().

    The lower level's loss is the cross-entropy plus ½·decay·|w - w₀|², which keeps it strongly
    convex around its minimum. The upper level's is the cross-entropy at w + e, where e is the
    scope's adversary.
    """

    x: Tensor
    labels: Tensor
    start: Tensor
    theta: Tensor
    sizes: tuple[int, int, int, int]
    decay: float = 1.0

    def upper(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the cross-entropy ()."""
        _, inputs, dim, classes = self.sizes
        weight, z, r = w.split([inputs * dim, dim * classes, classes])
        u = self.x @ weight.view(inputs, dim)
        logits = mlr_logits_tangent(u, z.view(classes, dim), r, theta.exp())
        return cross_entropy(logits, self.labels)

    def lower(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the cross-entropy, regularised ()."""
        return self.upper(w, theta) + 0.5 * self.decay * (w - self.start).square().sum()


@lru_cache(maxsize=2)
def solved(sizes: tuple[int, int, int, int], device: torch.device) -> tuple[Problem, Tensor]:
    """Draw a problem and solve it by L-BFGS to rounding; return it and its w*."""
    rows, inputs, dim, classes = sizes
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % classes
    normal = partial(torch.randn, generator=g, dtype=torch.float64)
    centres, noise = (normal(n, inputs) for n in (classes, rows))
    start = normal(inputs * dim + dim * classes + classes)
    x, start = (centres[labels] + 0.7 * noise) / inputs**0.5, start / dim**0.5
    theta = torch.tensor(0.5).double().log()
    problem = Problem(*(part.to(device) for part in (x, labels, start, theta)), sizes)
    w = problem.start.clone().requires_grad_()
    exact = {"max_iter": 500, "tolerance_grad": 1e-9, "tolerance_change": 0}
    optimizer = torch.optim.LBFGS([w], line_search_fn="strong_wolfe", **exact)

    def closure() -> Tensor:
        loss = problem.lower(w, problem.theta)
        (w.grad,) = torch.autograd.grad(loss, w)
        return loss

    optimizer.step(closure)
    return problem, w.detach()


def adversary(problem: Problem, w: Tensor) -> Tensor:
    """Find the adversary by one ascent step, as in an outer step, (P,)."""

    def gradient(at: Tensor) -> tuple[Tensor, Tensor]:
        at = at.detach().requires_grad_()
        value = problem.upper(at[0], problem.theta)
        return value.detach()[None], torch.autograd.grad(value, at)[0]

    return ascend(gradient, w[None], torch.ones_like(w)[None], RADIUS)[0]


def ours(problem: Problem, w: Tensor, solver: Solver) -> Hyper:
    """Return hsac's hypergradient, by one of its solvers."""

    def hyper(e: Tensor) -> Tensor:
        return implicit_hypergradient(
            lambda w, theta: problem.upper(w[0] + e, theta[0, 0])[None],
            lambda w, theta: problem.lower(w[0], theta[0, 0])[None],
            w[None],
            problem.theta.view(1, 1),
            solver,
            {},
        ).total[0, 0]

    return hyper


def torchopt(problem: Problem, w: Tensor, solve: Callable) -> Hyper:
    """Return that of torchopt's `custom_root`; w* is given to it, as it is to hsac."""
    from torchopt.diff.implicit import custom_root

    def stationarity(w: Tensor, theta: Tensor) -> Tensor:
        return torch.func.grad(problem.lower)(w, theta)

    @custom_root(stationarity, argnums=1, solve=solve)
    def solution(start: Tensor, theta: Tensor) -> Tensor:
        return w.clone()

    def hyper(e: Tensor) -> Tensor:
        theta = problem.theta.clone().requires_grad_()
        value = problem.upper(solution(problem.start, theta) + e, theta)
        return torch.autograd.grad(value, theta)[0]

    return hyper


def torchopt_solver(name: str, largest: float, terms: int) -> Callable:
    """Return a linear solver of torchopt's, with a fixed number of steps."""
    from torchopt import linear_solve

    if name == "cg":
        return linear_solve.solve_cg(maxiter=terms, rtol=0.0, atol=0.0)
    if name == "neumann":
        return linear_solve.solve_inv(ns=True, maxiter=terms + 1, alpha=1 / largest)
    return linear_solve.solve_inv(ns=False)


def higher(problem: Problem, w: Tensor, largest: float, terms: int) -> Hyper:
    """Return that of `higher`: backward through `terms` SGD steps that go on from w*."""
    from higher import innerloop_ctx

    class Weights(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(w.clone())

        def forward(
            self, loss: Callable[[Tensor, Tensor], Tensor], theta: Tensor, e: Tensor | float
        ) -> Tensor:
            return loss(self.w + e, theta)

    model = Weights()
    optimizer = torch.optim.SGD(model.parameters(), lr=1 / largest)

    def hyper(e: Tensor) -> Tensor:
        theta = problem.theta.clone().requires_grad_()
        with innerloop_ctx(model, optimizer) as (unrolled, descent):
            for _ in range(terms):
                descent.step(unrolled(problem.lower, theta, 0.0))
            return torch.autograd.grad(unrolled(problem.upper, theta, e), theta)[0]

    return hyper


def fewest(method: Callable[[int], Hyper], e: Tensor, exact: Tensor) -> int:
    """Find the fewest steps with which a method's error is at most ERROR, by bisection."""

    def reached(terms: int) -> bool:
        return bool((method(terms)(e) - exact).abs() <= ERROR * exact.abs())

    high = 1
    while not reached(high):
        high *= 2
        if high > MOST:
            raise ArithmeticError(f"error {ERROR:g} is not reached in {MOST} steps")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


@lru_cache(maxsize=2)
def reference(
    sizes: tuple[int, int, int, int], device: torch.device
) -> tuple[Tensor, Tensor, float]:
    """Return the adversary at w*, dF/dθ by conjugate gradients run to rounding, and |H|."""
    problem, w = solved(sizes, device)
    leaves = w[None].clone().requires_grad_(), problem.theta.view(1, 1).clone().requires_grad_()
    hessian = HessianOperator(lambda w, theta: problem.lower(w[0], theta[0, 0])[None], *leaves)
    largest, u = hessian.power(torch.ones_like(leaves[0]))
    for _ in range(20):
        largest, u = hessian.power(u)
    e = adversary(problem, w)
    return e, ours(problem, w, Cg(terms=MOST, damping=0.0))(e), 1.01 * largest.item()


@cache
def steps(name: str, sizes: tuple[int, int, int, int], device: torch.device) -> int:
    """Return the fewest steps of a method on a problem."""
    e, exact, _ = reference(sizes, device)
    return fewest(lambda terms: method(name, sizes, device, terms), e, exact)


def method(name: str, sizes: tuple[int, int, int, int], device: torch.device, terms: int) -> Hyper:
    """Return a method by its name, with a number of steps."""
    problem, w = solved(sizes, device)
    largest = reference(sizes, device)[2]
    package, _, kind = name.partition(" ")
    if package == "higher":
        return higher(problem, w, largest, terms)
    if package == "torchopt":
        return torchopt(problem, w, torchopt_solver(kind, largest, terms))
    solvers: dict[str, Solver] = {
        "cg": Cg(terms, damping=0.0),
        "neumann": Neumann(terms, step=1 / largest),
        "exact": Exact(),
    }
    return ours(problem, w, solvers[kind])


def cases(device: torch.device, tiny: bool) -> Iterator[Case]:
    """Yield solves, whole outer steps, and unrolling with its memory."""
    warnings.filterwarnings("ignore", module="torchopt|functorch|higher")
    pairs = (
        ("hsac cg", "torchopt cg", False, at_least(1.3)),
        ("hsac neumann", "torchopt neumann", False, at_least(1.3)),
        ("hsac cg", "torchopt cg", True, at_least(2)),
        ("hsac cg", "higher unrolling", False, at_least(5)),
        ("hsac cg", "torchopt exact", False, FASTER),
        ("hsac exact", "torchopt exact", False, FASTER),
    )
    for sizes in TINY if tiny else SIZES:
        for mine, peer, ascent, target in pairs:
            if "exact" in peer and sizes == SIZES[-1]:
                continue  # thousands of Hessian-vector products take minutes
            name = "N={} I={} d={} K={}".format(*sizes)
            what = "outer step" if ascent else "solve"
            build = partial(pair, mine, peer, sizes, ascent, device)
            needs = peer.partition(" ")[0]
            case = Case(f"{mine}, {what}, {name}", peer, build, target, 2 * ERROR, needs=needs)
            yield case
            if needs == "higher":
                yield replace(case, target=FASTER, unit="MiB")
        yield Case(
            f"hsac cg, memory of the fewest steps and of four times as many, {name}",
            "hsac cg",
            partial(longer, sizes, device),
            at_most(1.05),
            2 * ERROR,
            unit="MiB",
        )


def pair(
    mine: str, peer: str, sizes: tuple[int, int, int, int], ascent: bool, device: torch.device
) -> tuple[Run, Run]:
    """Build two methods at their fewest steps; with `ascent` each finds the adversary first."""
    problem, w = solved(sizes, device)
    fixed, _, _ = reference(sizes, device)

    def run(name: str) -> Run:
        terms = 1 if name.endswith("exact") else steps(name, sizes, device)
        hyper = method(name, sizes, device, terms)
        return lambda: hyper(adversary(problem, w) if ascent else fixed)

    return run(mine), run(peer)


def longer(sizes: tuple[int, int, int, int], device: torch.device) -> tuple[Run, Run]:
    """Build conjugate gradients of four times the fewest steps, against the fewest steps.

    Both hold the same: the kept graph.
    """
    e, _, _ = reference(sizes, device)
    terms = steps("hsac cg", sizes, device)
    runs = [method("hsac cg", sizes, device, n) for n in (4 * terms, terms)]
    return partial(runs[0], e), partial(runs[1], e)
