"""The losses of both levels, and what they cost."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hsac.errors import InputError
from hsac.hypergradient.operator import Loss
from hsac.losses.types import LearningLoss
from hsac.models.types import Adapting
from hsac.rules.types import Gradient
from hsac.sharpness import ascend, scope_scale
from hsac.train.ensemble import Ensemble
from hsac.train.schedule import Schedule
from hsac.train.tasks.types import Outputs, Task, plain_loss


class BilevelLosses:
    """The losses of both levels as functions of (w, θ), and the cost of what was asked of them.

    The training loss may remember each training row and know how far training is. Both are
    constants to every loss taken in a step.

    Attributes:
        memory: What the training loss remembers of each row, (R, n, ...) by name.
        learned: What it learns from the meta set, (R, ...) by name.
        moving: Which weights (P,) the training loss moves. None for all.
        progress: How far training is, in [0, 1].
        counted: Gradients taken of one run, in training batches.
        products: Second derivatives taken of one run, for what the loss learns.
        held_out_batches: Batches drawn of the validation part.
        meta_batches: Batches drawn of the meta set.
    """

    def __init__(
        self,
        task: Task,
        ensemble: Ensemble,
        tau: Callable[[Tensor], Tensor],
        weight_decay: float,
        w: Tensor,
    ) -> None:
        """Start the count at 0 and the memory empty.

        Args:
            task: The task.
            ensemble: The network.
            tau: From θ (R, C) to the model's curvatures.
            weight_decay: Factor of |w|²/2 in the objective.
            w: Start weights (R, P).
        """
        self.task, self.ensemble, self.tau, self.weight_decay = task, ensemble, tau, weight_decay
        self.memory, self.progress = task.trained.init(len(w)), 0.0
        trained = task.trained
        self.learned = trained.start(w) if isinstance(trained, LearningLoss) else {}
        self.moving: Tensor | None = None
        self.counted = 0.0
        self.products = self.held_out_batches = self.meta_batches = 0

    @property
    def gradients(self) -> int:
        """Gradients taken of one run so far, in training batches, rounded up."""
        return math.ceil(self.counted)

    def loss(self, batch: Any, first: bool = False, times: int = 1) -> Loss:
        """Make the training loss on a batch.

        Args:
            batch: A batch of the training part.
            first: Whether this is the step's own batch. A loss with a memory then updates it.
            times: The batch's size in training batches. Its gradient counts as so many.

        Returns:
            The loss (w, θ) -> (R,).
        """
        unseen = first and bool(self.memory)

        # SAM takes a second gradient in the same step. Only the first is remembered.
        def loss(w: Tensor, theta: Tensor) -> Tensor:
            nonlocal unseen
            self.count(times)
            outputs = self.task.outputs(self.ensemble, w, self.tau(theta), batch)
            if unseen:
                self._remember(outputs)
                unseen = False
            return self.of_outputs(outputs)

        return loss

    def of_outputs(self, outputs: Outputs) -> Tensor:
        """Compute the training loss of what a network gave.

        Args:
            outputs: Logits (R, N, K) with labels and rows.

        Returns:
            The loss (R,).
        """
        state = self._recalled(outputs) | self.learned
        loss: Tensor = self.task.trained(outputs.logits, outputs.labels, state, self.progress)
        return loss

    def count(self, times: float) -> None:
        """Count gradients.

        Args:
            times: Gradients of one run, in training batches. A share of one counts, too.
        """
        # MAML takes gradients of its own in a pass, to adapt to each episode.
        model = self.ensemble.model
        self.counted += times * (model.gradients_per_pass if isinstance(model, Adapting) else 1)

    def _places(self, outputs: Outputs) -> tuple[Tensor, Tensor]:
        assert outputs.rows is not None  # a loss with a memory is refused where there are none
        return torch.arange(len(outputs.rows)).to(outputs.rows)[:, None], outputs.rows

    def _recalled(self, outputs: Outputs) -> dict[str, Tensor]:
        return {k: kept[self._places(outputs)] for k, kept in self.memory.items()}

    def _remember(self, outputs: Outputs) -> None:
        # The memory is a constant to every loss of the step, so no graph may lead through it.
        seen = self.task.trained.observe(self._recalled(outputs), outputs.logits.detach())
        for k, values in seen.items():
            self.memory[k][self._places(outputs)] = values

    def objective(self, batch: Any, first: bool = False, times: int = 1) -> Loss:
        """Make the lower level's objective on a batch: loss + weight decay/2·|w|².

        Args:
            batch: A batch of the training part.
            first: As `loss` has it.
            times: As `loss` has it.

        Returns:
            The objective (w, θ) -> (R,).
        """
        loss, moving = self.loss(batch, first, times), self.moving

        def objective(w: Tensor, theta: Tensor) -> Tensor:
            # Weights that rest are constants to the loss. Decay is all that pulls at them, and a
            # rule that takes decay off, as SAM does, finds nothing left.
            point = w if moving is None else torch.where(moving, w, w.detach())
            return loss(point, theta) + self.weight_decay / 2 * (w * w).sum(-1)

        return objective

    def learn(self, batch: Any, w: Tensor, theta: Tensor, rate: float) -> None:
        """Let a loss that learns take a step, by the meta loss after a look-ahead step of w.

        Args:
            batch: The step's training batch.
            w: Weights (R, P).
            theta: θ (R, C).
            rate: The schedule's factor on the length of the look-ahead step.

        Raises:
            InputError: The variant has no meta set.
        """
        trained, before = self.task.trained, self.learned
        assert isinstance(trained, LearningLoss)  # no other is asked to learn
        w, network = w.detach().requires_grad_(), before["network"].detach().requires_grad_()
        # The loss of the step reads what is learned from here.
        self.learned = before | {"network": network}
        value = self.loss(batch)(w, theta)
        (slope,) = torch.autograd.grad(value.sum(), w, create_graph=True)
        meta = self.held_out(self.draw_meta("meta weights"))
        ahead = meta(w - rate * trained.look_ahead * slope, theta)
        (found,) = torch.autograd.grad(ahead.sum(), network)
        self.products += 1
        self.learned = trained.learn(before, found)

    def draw_held_out(self, stream: str) -> Any:
        """Draw a batch of the validation part, and count it.

        Args:
            stream: The stream of random numbers, by name.

        Returns:
            The batch.
        """
        # Counted because the labels of such batches take part in training.
        self.held_out_batches += 1
        return self.task.held_out(stream)

    def draw_meta(self, stream: str) -> Any:
        """Draw a batch of the meta set, and count it.

        Args:
            stream: The stream of random numbers, by name.

        Returns:
            The batch.

        Raises:
            InputError: The variant has no meta set.
        """
        # Counted because these are labels that other methods do not train on.
        self.meta_batches += 1
        return self.task.meta(stream)

    def held_out(self, batch: Any) -> Loss:
        """Make the loss on a batch of the validation part or of the meta set.

        Args:
            batch: What `draw_held_out` or `draw_meta` gave.

        Returns:
            The loss (w, θ) -> (R,).
        """

        def loss(w: Tensor, theta: Tensor) -> Tensor:
            self.count(1)
            return self.task.held_out_loss(self.ensemble, w, self.tau(theta), batch)

        return loss

    def gradient(self, batch: Any, theta: Tensor, with_theta: bool) -> Callable[[Tensor], Gradient]:
        """Make the gradient of the objective for one training step.

        Args:
            batch: The step's training batch.
            theta: θ (R, C).
            with_theta: Whether the gradient in θ is taken, too.

        Returns:
            The gradient as a function of w (R, P).
        """
        both = self._gradient(batch, with_theta)
        return lambda w: both(w, theta)

    def joint_gradient(
        self, batch: Any, sizes: list[int], decay: bool
    ) -> Callable[[Tensor], Gradient]:
        """Make the gradient of the objective in w and θ as one vector, for one training step.

        Args:
            batch: The step's training batch.
            sizes: Numbers of weights P and of curvatures C.
            decay: Whether weight decay applies to θ, too.

        Returns:
            The gradient as a function of (w, θ), (R, P + C).
        """
        both = self._gradient(batch, with_theta=True)

        def gradient(point: Tensor) -> Gradient:
            w, theta = point.split(sizes, -1)
            at = both(w, theta)
            assert at.theta is not None  # asked for above
            factors = torch.full_like(point[0], self.weight_decay)
            factors[sizes[0] :] *= decay
            # What is in the objective of w already, is here added of θ.
            pull = factors[sizes[0] :] * theta
            loss = at.loss + (pull * theta).sum(-1) / 2
            whole = torch.cat([at.weights, at.theta + pull], -1)
            return replace(at, loss=loss, weights=whole, decay=factors)

        return gradient

    def _gradient(self, batch: Any, with_theta: bool) -> Callable[[Tensor, Tensor], Gradient]:
        objective = self.objective(batch, first=True)

        def gradient(w: Tensor, theta: Tensor) -> Gradient:
            w = w.detach().requires_grad_()
            # Without θ the graph is smaller: most rules take no gradient in it.
            at = theta.detach().requires_grad_(with_theta)
            value = objective(w, at)
            found = torch.autograd.grad(value.sum(), (w, at) if with_theta else (w,))
            slope = found[1] if with_theta else None
            c = self.tau(theta).detach()
            return Gradient(value.detach(), found[0], slope, c, self.weight_decay)

        return gradient

    def check_curvature(self, batch: Any, w: Tensor, theta: Tensor) -> None:
        """Check that the model uses its curvature.

        All curvature rules would do the same where it does not: nothing.

        Args:
            batch: A training batch.
            w: Weights (R, P).
            theta: θ (R, C).

        Raises:
            InputError: See above.
        """
        w, theta = w.detach().requires_grad_(), theta.detach().requires_grad_()
        value = plain_loss(self.task, self.ensemble, w, self.tau(theta), batch)
        (slope,) = torch.autograd.grad(value.sum(), theta, allow_unused=True)
        if slope is None:
            raise InputError(
                "model: found outputs that do not depend on the curvature; allowed is a model or a"
                " head that computes with the tensor c it is given, or curvature rule euclidean"
            )

    def sharpness(
        self, batch: Any, w: Tensor, theta: Tensor, schedule: Schedule
    ) -> tuple[Tensor, Tensor]:
        """Compute the worst-case increase of cross-entropy in the adaptive scope.

        Args:
            batch: The batch that it is measured on.
            w: Weights (R, P).
            theta: θ (R, C).
            schedule: Radius of the scope and steps of the ascent.

        Returns:
            The increase (R,), and the perturbation (R, P) that gives it.
        """

        def loss_and_gradient(point: Tensor) -> tuple[Tensor, Tensor]:
            point = point.detach().requires_grad_()
            value = plain_loss(self.task, self.ensemble, point, self.tau(theta), batch)
            return value.detach(), torch.autograd.grad(value.sum(), point)[0]

        # The scope is adaptive, so that a rescaled network is as sharp as before.
        scale = scope_scale(w, "adaptive")
        e = ascend(loss_and_gradient, w, scale, schedule.radius, schedule.ascent_steps)
        with torch.no_grad():
            c = self.tau(theta)
            above, at = (
                plain_loss(self.task, self.ensemble, point, c, batch) for point in (w + e, w)
            )
        return above - at, e
