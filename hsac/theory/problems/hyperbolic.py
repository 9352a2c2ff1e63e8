"""A small hyperbolic classifier under the method's own upper level."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hsac.ball import mlr_logits_tangent
from hsac.parts import require
from hsac.sharpness import HERE, OBJECTIVES, Perturbation, ascend, perturbed_loss
from hsac.theory.ground_truth import gradients, newton

ASCENT = 1000  # steps of the ascent within which the adversary must stand still
STILL = 1e-13  # it stands still when a step moves it by less, in units of the radius


@dataclass(frozen=True)
class Hyperbolic:
    """A small hyperbolic classifier under a scope objective.

    It is a linear layer into the ball of curvature -exp(θ) and a Poincaré MLR. L is the
    cross-entropy of points in Gaussian clusters plus ½·decay·|w - w₀|², with w₀ the random start.
    Decay around 0 would leave L unchanged by a rotation of the ball, hence a singular Hessian.

    U is a scope objective of the cross-entropy over the Euclidean scope. Its adversary is ascended
    until it stands still, so that F(θ) = U(w*(θ), θ) can be differentiated numerically. The
    adaptive scope is left out, because the method holds |w| constant in it while F would not.

    Attributes:
        rows: Points a problem.
        inputs: Features of a point.
        dim: Dimension of the ball.
        classes: Clusters, each a class.
        decay: Factor of the regulariser, above 0.
        objective: worst, gap, range, mean or loss, as for the rule `hsac`.
        radius: Radius of the scope.
        runs: Number R of independent problems.
        seed: Seed that they are drawn from.
    """

    rows: int = 60
    inputs: int = 3
    dim: int = 2
    classes: int = 3
    decay: float = 0.2
    objective: str = "worst"
    radius: float = 0.1
    runs: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        for name in ("rows", "inputs", "dim", "runs"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "an integer from 1")
        require(self.classes >= 2, "classes", self.classes, "an integer from 2")
        require(self.decay > 0, "decay", self.decay, "a number above 0")
        require(self.radius > 0, "radius", self.radius, "a number above 0")
        require(self.objective in OBJECTIVES, "objective", self.objective, ", ".join(OBJECTIVES))

    @cached_property
    def _drawn(self) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Draw features (R, N, I), labels (R, N), w₀ (R, P), and perturbations (R, P) each.

        The perturbations are Gaussian, of length about `radius`.
        """
        g = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(self.runs, *shape, generator=g, dtype=torch.float64)

        centres = normal(self.classes, self.inputs)
        labels = torch.arange(self.rows).expand(self.runs, -1) % self.classes
        spread = normal(self.rows, self.inputs)
        # Divided so that points are as long for any number of features.
        x = (torch.take_along_dim(centres, labels[..., None], 1) + 0.7 * spread) / self.inputs**0.5
        sizes = self._sizes
        # w₀, and as many draws as the rule `hsac` takes for the objective mean
        anchor, *draws = (normal(sum(sizes)) for _ in range(5))
        weight, bias, normals, offsets = anchor.split(sizes, -1)
        # the logits have a kink at normals of length 0: they start at length 1, far from it
        normals = normals.unflatten(-1, (self.classes, self.dim))
        normals = torch.nn.functional.normalize(normals, dim=-1).flatten(1)
        start = torch.cat([0.5 * weight, 0 * bias, normals, 0 * offsets], -1)
        return x, labels, start, [self.radius / sum(sizes) ** 0.5 * draw for draw in draws]

    @property
    def _sizes(self) -> list[int]:
        """Return the numbers of weights: linear layer, its bias, normals, offsets."""
        return [self.dim * self.inputs, self.dim, self.classes * self.dim, self.classes]

    @property
    def start(self) -> Tensor:
        """Return θ = log 0.5 (R, 1)."""
        return torch.full((self.runs, 1), 0.5, dtype=torch.float64).log()

    @property
    def initial(self) -> Tensor:
        """Return w₀ (R, P)."""
        return self._drawn[2]

    def _run(self, w: Tensor, theta: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """Compute one run's cross-entropy: w (P,), θ (1,), x (N, I), labels (N,) -> ()."""
        weight, bias, normals, offsets = w.split(self._sizes)
        u = x @ weight.view(self.dim, self.inputs).mT + bias
        logits = mlr_logits_tangent(u, normals.view(-1, self.dim), offsets, theta[0].exp())
        return cross_entropy(logits, labels)

    def cross_entropy(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the mean cross-entropy of the training points.

        Args:
            w: Weights (R, P).
            theta: Hyperparameters θ (R, C).

        Returns:
            Cross-entropy (R,), in nats.
        """
        x, labels, _, _ = self._drawn
        # run by run: the head's function takes one curvature
        return torch.stack([self._run(*run) for run in zip(w, theta, x, labels, strict=True)])

    def lower(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the lower level, cross-entropy plus ½·decay·|w - w₀|².

        Args:
            w: Weights (R, P).
            theta: Hyperparameters θ (R, C).

        Returns:
            L (R,).
        """
        return self.cross_entropy(w, theta) + 0.5 * self.decay * (w - self.initial).square().sum(-1)

    def adversary(self, w: Tensor, theta: Tensor, sign: int = 1) -> Tensor:
        """Ascend from w until the perturbation stands still.

        Args:
            w: Weights (R, P).
            theta: Hyperparameters θ (R, C).
            sign: 1 to ascend, -1 to descend.

        Returns:
            The perturbation (R, P), of length `radius`.

        Raises:
            ArithmeticError: It still moves after ASCENT steps.
        """
        w, theta, e = w.detach(), theta.detach(), None
        scale = torch.ones_like(w)

        def gradient(at: Tensor) -> tuple[Tensor, Tensor]:
            # An ascent of one step compares no losses, so any will do.
            return at.new_zeros(len(at)), sign * gradients(self.cross_entropy, at, theta)[0]

        for _ in range(ASCENT):
            before = e
            # Single steps, each from where the last one ended: only the fixed point is wanted.
            e = ascend(gradient, w, scale, self.radius, start=before)
            if before is not None and (e - before).norm(dim=-1).max() <= STILL * self.radius:
                return e
        raise ArithmeticError(f"the adversary still moves after {ASCENT} steps of the ascent")

    def _compared(self, w: Tensor, theta: Tensor) -> tuple[list[Perturbation], list[Perturbation]]:
        """Return the perturbations whose losses are averaged, and those that are subtracted."""
        if self.objective == "loss":
            return [HERE], []
        if self.objective == "mean":
            return [Perturbation(draw) for draw in self._drawn[3]], []
        highest = [Perturbation(self.adversary(w, theta))]
        if self.objective == "range":
            # The lower level's minimum is none of the cross-entropy, whose least value in the
            # scope is thus on its edge.
            return highest, [Perturbation(self.adversary(w, theta, -1))]
        return highest, [HERE] if self.objective == "gap" else []

    def upper(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the upper level, the scope objective of the cross-entropy.

        Args:
            w: Weights (R, P).
            theta: Hyperparameters θ (R, C).

        Returns:
            U (R,), in nats.

        Raises:
            ArithmeticError: The adversary does not stand still.
        """
        added, taken = self._compared(w, theta)
        objective = perturbed_loss(self.cross_entropy, added, taken)
        return objective(w, theta)

    def solve(self, theta: Tensor) -> Tensor:
        """Solve the lower level by Newton's method from w₀.

        Args:
            theta: Hyperparameters θ (R, C).

        Returns:
            w*(θ) (R, P).

        Raises:
            ArithmeticError: It ends at no minimum.
        """
        return newton(self.lower, self.initial, theta)
