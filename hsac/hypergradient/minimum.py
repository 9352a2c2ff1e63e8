"""Lower levels' minima: L-BFGS on many small problems at once.

SciPy's L-BFGS solves one problem a call. Here a call of the loss serves all of them, which takes a
fifth of the time. The two agree to rounding (tests/frozen/test_solved_heads.py).
"""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from hsac.hypergradient.operator import Loss, dot, norm

MEMORY = 20
HALVINGS = 25
ARMIJO = 1e-4
# Of |s||y|: a pair that bends less says nothing of the Hessian but rounding.
LEAST_BEND = 1e-10
# Solved problems are taken out once they are such a share of those that go on.
REST = 0.2


class Problems(Protocol):
    """R independent problems."""

    def objective(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute what is minimised: w (R, P), θ (R, C) -> (R,)."""
        ...

    def take(self, runs: Tensor) -> "Problems":
        """Return some of the problems by their places."""
        ...


def value_and_gradient(problems: Problems, w: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the objective and its gradient.

    Args:
        problems: The problems.
        w: Weights (R, P).
        theta: θ (R, C).

    Returns:
        Values (R,) and gradients (R, P).
    """
    w = w.detach().requires_grad_()
    value = problems.objective(w, theta)
    return value.detach(), torch.autograd.grad(value.sum(), w)[0]


@dataclass(frozen=True)
class Together:
    """Problems whose losses are only to be had all at once.

    Attributes:
        loss: The objectives of all problems, a function of w (R, P) and θ (R, C).
        w: Weights of all (R, P). Those of problems that rest matter to nobody.
        theta: θ of all (R, C).
        runs: Which of them these are.
    """

    loss: Loss
    w: Tensor
    theta: Tensor
    runs: Tensor

    @classmethod
    def of(cls, loss: Loss, w: Tensor, theta: Tensor) -> "Together":
        """Return all problems of a loss.

        Args:
            loss: The loss.
            w: Weights (R, P).
            theta: θ (R, C).
        """
        return cls(loss, w.detach(), theta.detach(), torch.arange(len(w), device=w.device))

    def objective(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the objectives of these problems.

        Args:
            w: Their weights.
            theta: Their θ.
        """
        all_w = self.w.index_copy(0, self.runs, w)
        return self.loss(all_w, self.theta.index_copy(0, self.runs, theta))[self.runs]

    def take(self, runs: Tensor) -> "Together":
        """Return some of these problems.

        Args:
            runs: Their places among these.
        """
        return replace(self, runs=self.runs[runs])


@dataclass(frozen=True)
class Descent:
    """Where the descents of R problems ended.

    Attributes:
        w: Weights (R, P).
        value: The objective there (R,).
        gradient: |∇|/(1 + |w|) there (R,).
        gradients: Gradients that were taken, each of all problems that went on.
    """

    w: Tensor
    value: Tensor
    gradient: Tensor
    gradients: int


def minimise(
    problems: Problems, w: Tensor, theta: Tensor, tolerance: float, steps: int = 3000
) -> Descent:
    """Minimise every problem by L-BFGS with backtracking (Nocedal and Wright, algorithm 7.5).

    A problem rests where |∇| ≤ tolerance (1 + |w|), and where no step along its gradient lowers it
    any more.

    Args:
        problems: The problems, best in float64.
        w: Weights (R, P) to begin at.
        theta: θ (R, C).
        tolerance: Of the gradient, as above.
        steps: Steps at most.

    Returns:
        Where they ended.
    """
    w = w.detach().clone()
    value, gradient = torch.empty_like(w[:, 0]), torch.empty_like(w[:, 0])
    going = torch.arange(len(w), device=w.device)
    state = _State.at(problems.take(going), w, theta)
    for _ in range(steps):
        rests = state.rests(tolerance)
        if rests.double().mean() > REST or rests.all():
            # All of them, since those that rest could still move a little at the next step.
            done = going[rests]
            w[done], value[done] = state.w[rests], state.value[rests]
            gradient[done] = state.size[rests]
            stays = (~rests).nonzero().squeeze(-1)
            going, state = going[stays], state.take(stays)
        if not len(going):
            break
        state.step()
    w[going], value[going], gradient[going] = state.w, state.value, state.size
    return Descent(w, value, gradient, state.calls[0])


class _State:
    """The descents of the problems that go on."""

    def __init__(self, problems: Problems, theta: Tensor, calls: list[int]) -> None:
        self.problems, self.theta, self.calls = problems, theta, calls
        self.w: Tensor
        self.value: Tensor
        self.g: Tensor
        self.stuck: Tensor
        # Of the last steps: s, y (A, P) and 1/(s·y) (A, 1), 0 where a pair is left out.
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    @classmethod
    def at(cls, problems: Problems, w: Tensor, theta: Tensor) -> "_State":
        state = cls(problems, theta.detach(), [0])
        state.w = w.clone()
        state.value, state.g = state._gradient(problems, w, state.theta)
        state.stuck = torch.zeros(len(w), dtype=torch.bool, device=w.device)
        return state

    @property
    def size(self) -> Tensor:
        return (norm(self.g) / (1 + norm(self.w))).squeeze(-1)

    def rests(self, tolerance: float) -> Tensor:
        # written so that NaN rests as well
        return self.stuck | ~(self.size > tolerance)

    def take(self, runs: Tensor) -> "_State":
        taken = _State(self.problems.take(runs), self.theta[runs], self.calls)
        for name in ("w", "value", "g", "stuck"):
            setattr(taken, name, getattr(self, name)[runs])
        taken.pairs = [(s[runs], y[runs], rho[runs]) for s, y, rho in self.pairs]
        return taken

    def _gradient(self, problems: Problems, w: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        self.calls[0] += 1
        return value_and_gradient(problems, w, theta)

    def step(self) -> None:
        p = self._direction()
        slope = dot(self.g, p)
        # What does not fall (an old pair may mislead) takes the gradient's own direction.
        rises = ~(slope < 0)
        p = torch.where(rises, -self.g, p)
        slope = torch.where(rises, -dot(self.g, self.g), slope)
        length = torch.ones_like(slope)
        if not self.pairs:
            length = (1 / norm(self.g)).clamp(max=1.0)
        w, value, g, fails = self._searched(p, slope, length)
        if fails.any():
            # Once more along the gradient, with nothing remembered, before it counts as stuck.
            self.stuck = self.stuck | (fails & (rises.squeeze(-1) | (not self.pairs)))
            self.pairs = [
                (s, y, torch.where(fails[:, None], torch.zeros_like(rho), rho))
                for s, y, rho in self.pairs
            ]
        self._remember(w - self.w, g - self.g)
        self.w, self.value, self.g = w, value, g

    def _searched(
        self, p: Tensor, slope: Tensor, length: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return point, value and gradient after Armijo's step, and which problems found none."""
        w, value, g = self.w.clone(), self.value.clone(), self.g.clone()
        left = (~self.stuck).nonzero().squeeze(-1)
        # Near the minimum a problem falls by less than its rounding, and no step would count.
        slack = 10 * torch.finfo(w.dtype).eps * (1 + self.value.abs())
        for _ in range(HALVINGS):
            if not len(left):
                break
            whole = len(left) == len(w)
            problems = self.problems if whole else self.problems.take(left)
            tried = self.w[left] + length[left] * p[left]
            reached, gradient = self._gradient(problems, tried, self.theta[left])
            most = self.value[left] + ARMIJO * (length * slope)[left].squeeze(-1) + slack[left]
            enough = (reached <= most) & gradient.isfinite().all(-1)
            found = left[enough]
            w[found], value[found], g[found] = tried[enough], reached[enough], gradient[enough]
            left = left[~enough]
            length = length / 2
        fails = torch.zeros_like(self.stuck)
        fails[left] = True
        return w, value, g, fails

    def _remember(self, s: Tensor, y: Tensor) -> None:
        bend = dot(s, y)
        right = bend > LEAST_BEND * norm(s) * norm(y)
        rho = torch.where(right, 1 / torch.where(right, bend, torch.ones_like(bend)), 0.0)
        self.pairs = [*self.pairs[-MEMORY + 1 :], (s, y, rho)]

    def _direction(self) -> Tensor:
        q, alphas = self.g.clone(), []
        scale = torch.ones_like(q[:, :1])
        for s, y, rho in reversed(self.pairs):
            alpha = rho * dot(s, q)
            q = q - alpha * y
            alphas.append(alpha)
        for s, y, rho in self.pairs:
            # that of the last pair which says something
            scale = torch.where(rho > 0, dot(s, y) / dot(y, y).clamp(min=1e-300), scale)
        q = scale * q
        for (s, y, rho), alpha in zip(self.pairs, reversed(alphas), strict=True):
            q = q + s * (alpha - rho * dot(y, q))
        return -q
