"""Meta-Weight-Net."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from hsac.losses.types import LearningLoss, State, log_probability
from hsac.parts import require
from hsac.rules.weights.adam import Adam


@dataclass(frozen=True)
class MetaWeightNet(LearningLoss):
    """Cross-entropy with rows weighted by a small network of their loss (Shu et al. 2019).

    V(ℓ_i)·ℓ_i with V a network of one hidden layer of ReLUs and a sigmoid at its end (NeurIPS 2019,
    eq. 3 to 8). Before each training step V moves by Adam along the gradient of the cross-entropy
    of a meta batch, after a look-ahead step of plain gradient descent on the training batch. No
    gradient flows into V's input, as in the authors' code. V starts alike in every run.

    Attributes:
        hidden: Hidden units of V.
        lr: Learning rate of Adam on V.
        decay: Factor of the weight decay of V.
        look_ahead: Length of the look-ahead step, times the schedule's factor. The authors take the
            learning rate of the weights.
    """

    hidden: int = 100
    lr: float = 0.001
    decay: float = 0.0001
    look_ahead: float = 0.1
    needs_meta: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse parameters that are out of range."""
        require(self.hidden >= 1, "hidden", self.hidden, "an integer from 1")
        for name in ("lr", "look_ahead"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a number above 0")
        require(self.decay >= 0, "decay", self.decay, "a number from 0")

    @cached_property
    def optimizer(self) -> Adam:
        """Return Adam on V."""
        return Adam(lr=self.lr)

    def start(self, like: Tensor) -> State:
        """Return V at its start, and Adam's state.

        Args:
            like: Weights (R, P), which give the number of runs, dtype and device.

        Returns:
            ``network`` (R, 3·hidden + 1), ``first``, ``second`` and ``count``.
        """
        # Bounds are those of torch's linear layers: 1/√(number of inputs).
        drawn = 2 * torch.rand(3 * self.hidden + 1, generator=torch.Generator().manual_seed(0)) - 1
        drawn[2 * self.hidden :] /= self.hidden**0.5
        network = drawn.to(like).expand(len(like), -1)
        return {
            "network": network,
            **self.optimizer.init(network),
            "count": torch.zeros_like(network[:, :1]),
        }

    def weigh(self, network: Tensor, each: Tensor) -> Tensor:
        """Compute V of the losses of rows.

        Args:
            network: V (R, 3·hidden + 1): slopes, offsets and weights of the hidden units, and the
                last offset.
            each: Losses (R, N).

        Returns:
            Weights (R, N) between 0 and 1.
        """
        slope, offset, out, last = network[:, None].split([*[self.hidden] * 3, 1], -1)
        units = (each[..., None] * slope + offset).relu()
        return ((units * out).sum(-1) + last[..., 0]).sigmoid()

    def __call__(self, logits: Tensor, labels: Tensor, state: State, progress: float) -> Tensor:
        """Compute the mean loss of a batch.

        Args:
            logits: Logits (R, N, K).
            labels: Labels (R, N).
            state: ``network``, V.
            progress: Not used.

        Returns:
            The loss of each run (R,), in nats.
        """
        each = -log_probability(logits, labels)
        # Not divided by the batch's weights, as in the authors' code.
        return (self.weigh(state["network"], each.detach()) * each).mean(-1)

    def learn(self, state: State, slope: Tensor) -> State:
        """Move V by a step of Adam.

        Args:
            state: What `start` or the last call returned.
            slope: The meta loss's gradient in ``network``.

        Returns:
            The new state.
        """
        network = state["network"]
        moved, adam = self.optimizer.apply(network, state, slope + self.decay * network)
        return {"network": moved, **adam}
