"""The interface of training losses, and the facts on training labels that they are given."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Labels:
    """The training labels as given, noisy where they are.

    Attributes:
        counts: Rows of each class (K,), of the model's dtype.
    """

    counts: Tensor

    @property
    def n(self) -> int:
        """Return the number of training rows."""
        return int(self.counts.sum())

    @property
    def classes(self) -> int:
        """Return the number of classes K."""
        return len(self.counts)

    @property
    def log_prior(self) -> Tensor:
        """Return the logarithm of the classes' shares of the rows (K,).

        A class without rows counts as one with a single row.
        """
        # log 0 would rule the class out for good.
        return (self.counts.clamp(min=1) / self.counts.sum()).log()

    def class_weights(self, beta: float) -> Tensor:
        """Compute weights by the effective number of samples (Cui et al., CVPR 2019).

        Args:
            beta: In [0, 1). The nearer to 1, the more a row of a rare class weighs.

        Returns:
            (1 - beta) / (1 - beta^n) for each class of n rows (K,), with mean 1 over the classes.
        """
        # Without the clamp a class without rows would divide by 0.
        raw = (1 - beta) / (1 - beta ** self.counts.clamp(min=1))
        return raw / raw.mean()


class TrainingLoss:
    """A loss without memory whose predictions are the logits themselves: the base of all losses.

    A loss is a frozen dataclass. One with a field `training: Labels` (no default) needs a fixed set
    of labelled rows and is given theirs. Episodes have none, and refuse it.

    Attributes:
        images_only: Whether it changes which batches are drawn, as only images' batches can be.
        mixing: Parameter of the Beta distribution by which the images and labels of training
            batches are mixed. 0 leaves them alone.
        head_alone_from: Share of training after which the head is trained alone, on batches that
            are balanced. 1 for never.
    """

    images_only: ClassVar[bool] = False

    @property
    def mixing(self) -> float:
        """The parameter of the Beta distribution, 0 for no mixing."""
        return 0.0

    @property
    def head_alone_from(self) -> float:
        """The share of training after which the head is trained alone, 1 for never."""
        return 1.0

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """Compute the mean loss of a batch, pure and twice differentiable in the logits.

        Args:
            logits: Logits (R, N, K).
            labels: Labels (R, N).
            state: What the loss keeps of these rows, (R, N, ...) each.
            progress: Share of training done, in [0, 1].

        Returns:
            The loss of each run (R,), in nats.

        Raises:
            NotImplementedError: Always, in this class.
        """
        raise NotImplementedError

    def init(self, runs: int) -> State:
        """Return the memory of every training row to start from.

        Args:
            runs: Number of runs R.

        Returns:
            Tensors (R, n, ...), {} for a loss without memory.
        """
        return {}

    def observe(self, state: State, logits: Tensor) -> State:
        """Return the new state of a batch's rows, once a training step has seen their logits.

        It is called once a step, before the step's loss is taken.

        Args:
            state: What the loss keeps of these rows, (R, N, ...) each.
            logits: Logits (R, N, K) of these rows.

        Returns:
            The new state of these rows, (R, N, ...) each.
        """
        return state

    def adjust(self, logits: Tensor) -> Tensor:
        """Return the logits of the classifier that the loss trains, to predict with.

        Args:
            logits: The network's logits (..., K).

        Returns:
            Logits (..., K).
        """
        return logits


class LearningLoss(TrainingLoss):
    """A loss with parameters of its own, which a meta set trains.

    What it has learned is part of the `state` that it is called with.

    Attributes:
        look_ahead: Length of the step of gradient descent after which the meta loss is taken.
    """

    look_ahead: float

    def start(self, like: Tensor) -> State:
        """Return what is learned, at its start.

        Args:
            like: Weights (R, P), which give the number of runs, dtype and device.

        Returns:
            Tensors (R, ...) by name. ``network`` (R, Q) is what the meta loss is differentiated in.

        Raises:
            NotImplementedError: Always, in this class.
        """
        raise NotImplementedError

    def learn(self, state: State, slope: Tensor) -> State:
        """Take one step of learning.

        Args:
            state: What `start` or the last call returned.
            slope: The meta loss's gradient in ``network`` (R, Q).

        Returns:
            The new state.

        Raises:
            NotImplementedError: Always, in this class.
        """
        raise NotImplementedError


def log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute log p_y.

    Args:
        logits: Logits (R, N, K).
        labels: Labels y (R, N).

    Returns:
        Logarithms (R, N).
    """
    return logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)


def log_rest(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute log(1 - p_y) without cancellation.

    Powers of it have all derivatives also where p_y rounds to 1.

    Args:
        logits: Logits (R, N, K).
        labels: Labels y (R, N).

    Returns:
        Logarithms (R, N).
    """
    # log of the other classes' sum less that of all: 1 - p_y is never formed.
    own = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, labels[..., None], True)
    return logits.masked_fill(own, -torch.inf).logsumexp(-1) - logits.logsumexp(-1)
