"""Curvature that lowers a PAC-Bayes certificate."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from hsac.hypergradient import implicit_hypergradient
from hsac.hypergradient.operator import Loss
from hsac.parts import require
from hsac.rules.curvature.drift import due
from hsac.rules.curvature.hsac import Hsac
from hsac.rules.types import State, Step

SPREADS = (1e-3, 1.0)  # σ stays between these


@dataclass(frozen=True)
class PacBayes:
    """Curvature that lowers a PAC-Bayes objective. Ours.

    θ and log σ follow its hypergradient. With ε standard normal the objective is

        U(w, θ, σ) = E L(w + σε, θ) + √((|w - w0|²/2σ² + ln(2√n/δ)) / 2n).

    This is McAllester's bound in the form that Dziugaite and Roy minimise (UAI 2017), for the
    posterior N(w, σ²I), the prior N(w0, σ²I) and n training examples (few-shot: episodes). The
    complexity term enters through U_w alone.

    It is an objective, not a certificate: the loss is the cross-entropy, the prior's centre w0 is
    taken after the first step, and nothing is charged for the choice of σ and c. The certificate is
    that of `hsac.theory.pac_bayes`.

    Parameters that are not named here are at the defaults of `hsac`.

    Attributes:
        sigma: Initial σ.
        delta: The bound's probability δ of being wrong, in (0, 1).
        batch: Part of the data that the empirical loss is taken on: training, held_out or meta.
        samples: Draws of ε an outer step.
        solver: The implicit term's solver, as in `hsac`.
        period: Training steps from one outer step to the next.
        warm_up: Share of training before the first outer step, in [0, 1).
        step: Learning rate of Adam on θ and log σ.
        clip: Largest length of the hypergradient in (θ, log σ). Longer ones are scaled back.
        ratio: Largest length of the implicit term, in units of the direct one. Longer ones are
            scaled back.
    """

    sigma: float = 0.03
    delta: float = 0.05
    batch: str = "training"
    samples: int = 4
    solver: dict = None  # type: ignore[assignment]
    period: int = 10
    warm_up: float = 0.1
    step: float = 0.25
    clip: float = 1.0
    ratio: float = 100.0
    geometry: ClassVar[str] = "hyperbolic"
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        low, high = SPREADS
        require(low <= self.sigma <= high, "sigma", self.sigma, f"a number from {low} to {high}")
        require(0 < self.delta < 1, "delta", self.delta, "a number between 0 and 1")
        _ = self.hsac

    @cached_property
    def hsac(self) -> Hsac:
        """Return `hsac`, which decides when a step is due and how θ moves, and has the solver."""
        shared = ("batch", "samples", "solver", "period", "warm_up", "step", "clip", "ratio")
        return Hsac(**{name: getattr(self, name) for name in shared})

    def init(self, theta: Tensor) -> State:
        """Return the initial state of `hsac` for θ and log σ together. w0 is not known yet.

        Args:
            theta: Unconstrained curvatures θ (R, C).

        Returns:
            The state.
        """
        spread = torch.full_like(theta[:, :1], math.log(self.sigma))
        return self.hsac.init(torch.cat([theta, spread], -1)) | {"spread": spread, "origin": None}

    def update(
        self, theta: Tensor, state: State, step: Step
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Take one outer step when it is due. The log is that of `hsac`.

        Args:
            theta: Unconstrained curvatures θ (R, C).
            state: The state from `init` or the previous call.
            step: The training step that has just been taken.

        Returns:
            The new θ (R, C), the new state, and the log.
        """
        # The first weights that a rule sees are those after the first step.
        state = state if state["origin"] is not None else state | {"origin": step.w.detach()}
        if not due(step, self.period, self.warm_up):
            return theta, self.hsac.between(theta, state, step.w, step.lower), {}
        loss, lower = self.hsac.upper_loss(step), step.lower()
        noise = [step.normal() for _ in range(self.samples)]
        # log σ is one more hyperparameter, which only the upper level sees
        both = torch.cat([theta, state["spread"]], -1)
        found = implicit_hypergradient(
            self.bound(loss, noise, state["origin"], step.examples),
            lambda w, both: lower(w, both[:, :-1]),
            step.w,
            both,
            self.hsac.linear_solver,
            state["solver"],
            self.ratio,
        )
        both, adam, log = self.hsac.move(both, state, found)
        low, high = map(math.log, SPREADS)
        # The training loop pulls θ into its bounds, but does not know of σ.
        spread = both[:, -1:].clamp(low, high)
        # in θ alone, as other rules log it
        log["hypergradient"] = found.total[:, :-1]
        new = {"adam": adam, "solver": found.state, "spread": spread, "tracked": 0}
        return both[:, :-1], state | new, log

    def bound(self, loss: Loss, noise: list[Tensor], origin: Tensor, examples: int) -> Loss:
        """Build the objective U.

        Args:
            loss: The empirical loss L.
            noise: Draws of ε (R, P) each.
            origin: The prior's centre w0 (R, P).
            examples: Number n of independent training examples.

        Returns:
            U (R,), a function of w (R, P) and (θ, log σ) (R, C + 1).
        """
        confidence = math.log(2 * math.sqrt(examples) / self.delta)

        def upper(w: Tensor, both: Tensor) -> Tensor:
            theta, spread = both[:, :-1], both[:, -1:].exp()
            empirical = torch.stack([loss(w + spread * e, theta) for e in noise]).mean(0)
            divergence = ((w - origin) / spread).square().sum(-1) / 2
            return empirical + ((divergence + confidence) / (2 * examples)).sqrt()

        return upper
