"""What every training loss is, and what it is told about the training labels."""

from dataclasses import dataclass

import torch
from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Labels:
    """The training labels as given (noisy where they are): `counts` (K,), rows of each class, of
    the model's dtype.
    """

    counts: Tensor

    @property
    def n(self) -> int:
        """Number of training rows."""
        return int(self.counts.sum())

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return len(self.counts)

    @property
    def log_prior(self) -> Tensor:
        """Logarithm of the classes' shares of the rows (K,); a class without rows counts as one
        with a single row.
        """
        return (self.counts.clamp(min=1) / self.counts.sum()).log()


class TrainingLoss:
    """Base of the losses: stateless, and predictions are the logits themselves.

    A loss is a frozen dataclass. One with a field `training: Labels` (no default) needs a fixed set
    of labelled rows: it is given theirs, and episodes, which have none, refuse it.
    """

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """Mean loss (R,) of logits (R, N, K) and labels (R, N): pure, and twice differentiable in
        the logits.

        `state`: what the loss keeps of these rows, (R, N, ...) each; `progress`: share of training
        done, in [0, 1].
        """
        raise NotImplementedError

    def init(self, runs: int) -> State:
        """What the loss keeps of every training row, (R, n, ...) each; {} for a loss without
        memory.
        """
        return {}

    def observe(self, state: State, logits: Tensor) -> State:
        """`state` of a batch's rows, (R, N, ...) each, after a training step saw their logits (R,
        N, K), once a step and before the step's loss is taken.
        """
        return state

    def adjust(self, logits: Tensor) -> Tensor:
        """Logits (..., K) of the classifier that the loss trains, to predict with."""
        return logits


def log_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """log p_y (R, N) of logits (R, N, K) and labels (R, N)."""
    return logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)


def log_rest(logits: Tensor, labels: Tensor) -> Tensor:
    """log(1 - p_y) (R, N) without cancellation, so that powers of it have all derivatives where p_y
    rounds to 1.
    """
    own = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, labels[..., None], True)
    return logits.masked_fill(own, -torch.inf).logsumexp(-1) - logits.logsumexp(-1)
