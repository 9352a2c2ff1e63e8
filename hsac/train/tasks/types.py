"""The interface between training and its tasks, and the losses that are taken of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from hsac import parts
from hsac.errors import InputError
from hsac.losses.cross_entropy import CrossEntropy
from hsac.losses.types import Labels, TrainingLoss
from hsac.study.part import Part
from hsac.train.ensemble import Ensemble

Arrays = Mapping[str, np.ndarray]  # a dataset's arrays by name, as they are stored
Metrics = dict[str, Tensor]
CROSS_ENTROPY = Part("cross_entropy")
# Streams of training batches for the bi-level problem. Each draws batches of its own.
SAMPLES = ("upper", "lower", "adversary")
HELD_OUT = ("held_out", "held_out adversary")  # streams of validation batches
META = ("meta", "meta adversary", "meta weights")  # streams of batches of a meta set


class Outputs(NamedTuple):
    """What a network gives for a batch.

    Attributes:
        logits: Logits (R, N, K).
        labels: The labels given there (R, N), or shares of the classes (R, N, K) of mixed rows.
        rows: Rows (R, N) of the training part that these are, None where there is no such part.
    """

    logits: Tensor
    labels: Tensor
    rows: Tensor | None


class Task(Protocol):
    """A setting's batches, outputs and metrics. There is one class a kind of data.

    Batches are per run. Under a long tail what is taken of validation weighs the classes alike.

    Attributes:
        steps_per_epoch: Batches that make an epoch.
        batches: Batches that make up the whole training part, the last perhaps smaller.
        size: Rows, nodes or episodes of a training batch.
        examples: Independent training examples.
        asked: Answers that a test item or episode asks for.
        trained: The loss that is trained.
        selected_by: The metric of validation that selection looks at.
    """

    steps_per_epoch: int
    batches: int
    size: int
    examples: int
    asked: int
    trained: TrainingLoss
    selected_by: str

    def batch(self, stream: str, times: int = 1) -> Any:
        """Draw a training batch.

        Args:
            stream: The stream of random numbers, by name. Every stream has batches of its own.
            times: The size, in training batches. At most the whole part is drawn.

        Returns:
            The batch, as `outputs` takes it.
        """
        ...

    def probe(self) -> Any:
        """Make the batch that sharpness is measured on, the same for every run and call."""
        ...

    def outputs(self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: Any) -> Outputs:
        """Compute the network's outputs on a batch.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            batch: What `batch` or `probe` gave.

        Returns:
            Logits, beside labels and rows.
        """
        ...

    def held_out(self, stream: str = "held_out") -> Any:
        """Draw a batch of the validation part.

        Args:
            stream: One of `HELD_OUT`.

        Returns:
            The batch, as `held_out_loss` takes it.
        """
        ...

    def meta(self, stream: str = "meta") -> Any:
        """Draw a batch of the meta set, which has as many rows of every class and true labels.

        Args:
            stream: One of `META`.

        Returns:
            The batch, as `held_out_loss` takes it.

        Raises:
            InputError: The variant has no meta set.
        """
        ...

    def held_out_loss(self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: Any) -> Tensor:
        """Compute the cross-entropy of what the network predicts with on a held-out batch.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            batch: What `held_out` or `meta` gave.

        Returns:
            Mean cross-entropy (R,) in nats.
        """
        ...

    def held_out_logits(
        self, ensemble: Ensemble, w: Tensor, c: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute what the network predicts with on the whole validation part.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Logits (R, N, K), labels (N,), and weights (N,) of mean 1.
        """
        ...

    def embedded(self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: Any) -> Outputs:
        """Compute what the head is given for a batch.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).
            batch: A training batch.

        Returns:
            Tangent features (R, N, d) in the place of the logits.
        """
        ...

    def features(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Tensor:
        """Compute features of a training batch of a stream of its own.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Tangent features (R, N, d).
        """
        ...

    def evaluate(self, ensemble: Ensemble, w: Tensor, c: Tensor) -> Metrics:
        """Compute the metrics of every part.

        Args:
            ensemble: The network.
            w: Weights (R, P).
            c: Curvatures (R, C).

        Returns:
            Metrics (R,) by name. `test_right` alone is (R, N): how many of the `asked` answers of
            each of the N test items or episodes are right.
        """
        ...


class WithoutMetaSet:
    """A task whose variants have no meta set."""

    def meta(self, stream: str = "meta") -> Any:
        """Refuse to draw a batch of the meta set.

        Args:
            stream: Of no effect.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "variant.meta: found nothing, and a rule draws from the meta set; allowed is a number"
            " of images a class from 1, where images are classified"
        )


def plain_loss(task: Task, ensemble: Ensemble, w: Tensor, c: Tensor, batch: Any) -> Tensor:
    """Compute the cross-entropy of a batch, whatever loss is trained.

    It is what is measured of every method alike.

    Args:
        task: The task that the batch is of.
        ensemble: The network.
        w: Weights (R, P).
        c: Curvatures (R, C).
        batch: A training batch.

    Returns:
        Mean cross-entropy (R,) in nats.
    """
    logits, labels, _ = task.outputs(ensemble, w, c, batch)
    # Cross-entropy has no memory and no schedule, so an empty state and any progress will do.
    return CrossEntropy()(logits, labels, {}, 0.0)


def training_loss(given: Part, labels: Tensor | None, classes: int, like: Tensor) -> TrainingLoss:
    """Build the training loss of a task.

    Args:
        given: Name and parameters of the loss.
        labels: The training labels (n,), None where there are none.
        classes: Number of classes K.
        like: A tensor of the model's dtype and device.

    Returns:
        The loss.

    Raises:
        InputError: The loss needs training labels, and there are none.
    """
    filled: dict[str, Any] = {}
    if "training" in parts.filled("loss", given.name):
        if labels is None:
            raise InputError(
                f"loss: found {given.name!r}, which needs labelled training rows; episodes have"
                " none"
            )
        # Of the model's dtype, as losses divide and take logarithms of the counts.
        filled["training"] = Labels(torch.bincount(labels, minlength=classes).to(like))
    return parts.build("loss", given.name, dict(given.parameters), "loss", **filled)
