"""Metrics of answers: accuracies, likelihoods, calibration, and groups of classes."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from hsac.losses.types import log_probability
from hsac.train.tasks.types import Metrics

BINS = 15  # of the calibration error
# A class is one of many with more training rows than MANY, one of few with fewer than FEW (Liu et
# al., CVPR 2019).
MANY, FEW = 100, 20


def answers(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what a network answers.

    Args:
        logits: Logits (R, ..., N, K) to predict with.
        labels: The right answers (N,).

    Returns:
        Which answers are right (R, ..., N), bool. Their negative log-likelihoods in nats. Their
        confidences, the largest probability.
    """
    logs = logits.log_softmax(-1)
    nll = -logs.gather(-1, labels.expand(logits.shape[:-1])[..., None]).squeeze(-1)
    return logits.argmax(-1) == labels, nll, logs.amax(-1).exp()


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Compute the weighted mean cross-entropy.

    Args:
        logits: Logits (R, N, K).
        labels: Labels (N,) or (R, N).
        weights: Weights of the rows, shaped as the labels.

    Returns:
        The mean (R,) in nats.
    """
    # Not divided by the batch's weights: these have mean 1 over the part, so the mean is unbiased.
    return -(weights * log_probability(logits, labels.expand(logits.shape[:-1]))).mean(-1)


def mean(values: Tensor) -> Tensor:
    """Compute the mean over the last axis in float64.

    Args:
        values: Values (R, N).

    Returns:
        Means (R,).
    """
    return values.double().mean(-1)


def balanced_accuracy(right: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean over the classes of each one's share of right answers.

    Args:
        right: Which answers are right (R, N).
        labels: Labels (N,). A class that none of them is of does not count.

    Returns:
        The balanced accuracy (R,) in [0, 1].
    """
    own = one_hot(labels).double()
    own = own[:, own.any(0)]  # a class without rows has no accuracy
    return (right.double() @ own / own.sum(0)).mean(-1)


def calibration_error(right: Tensor, confidence: Tensor) -> Tensor:
    """Compute the expected calibration error (Guo et al., ICML 2017, eq. 3).

    It is the gap between accuracy and mean confidence in each of 15 bins ((m - 1)/15, m/15],
    averaged over the answers.

    Args:
        right: Which answers are right (R, N).
        confidence: The confidences (R, N).

    Returns:
        The error (R,) in [0, 1].
    """
    confidence = confidence.double()
    # Each bin includes its upper end, so that a confidence of 1 is in the last.
    place = ((confidence * BINS).ceil() - 1).clamp(0, BINS - 1)
    inside = (place[..., None] == torch.arange(BINS).to(place)).double()
    gap = right.double() - confidence
    return (gap[..., None] * inside).sum(-2).abs().sum(-1) / gap.shape[-1]


def balanced_weights(labels: Tensor) -> Tensor:
    """Compute weights that give each class the same sum.

    Args:
        labels: Labels (N,).

    Returns:
        Weights (N,) of mean 1, all exactly 1 where the classes are balanced.
    """
    counts = torch.bincount(labels)
    return len(labels) / (counts.count_nonzero() * counts[labels]).double()


def chance(labels: Tensor) -> float:
    """Compute the error of always predicting the most frequent label.

    Args:
        labels: Labels (N,).

    Returns:
        The error in [0, 1].
    """
    return 1 - float(torch.bincount(labels).max()) / len(labels)


def scores(part: str, right: Tensor, nll: Tensor, confidence: Tensor, labels: Tensor) -> Metrics:
    """Compute the metrics of a part from its answers.

    Args:
        part: `train`, `validation` or `test`. Of `train` there are accuracy and NLL only.
        right: Which answers are right (R, N).
        nll: Negative log-likelihoods (R, N).
        confidence: Confidences (R, N).
        labels: Labels (N,).

    Returns:
        Metrics (R,) by name, which begins with the part's.
    """
    found = {f"{part}_accuracy": mean(right), f"{part}_nll": mean(nll)}
    if part == "train":
        return found
    balanced, ece = balanced_accuracy(right, labels), calibration_error(right, confidence)
    return found | {f"{part}_balanced_accuracy": balanced, f"{part}_ece": ece}


def groups(labels: Tensor, classes: int) -> dict[str, Tensor]:
    """Group the classes by their numbers of training rows.

    Args:
        labels: The training labels (n,).
        classes: Number of classes.

    Returns:
        Classes by group: the thirds `head`, `middle` and `tail`, and `many`, `medium` and `few`. A
        group without classes is absent.
    """
    counts = torch.bincount(labels, minlength=classes)
    # Stable, so that classes of equal counts keep their order and the thirds are reproducible.
    order = counts.argsort(descending=True, stable=True)
    thirds = zip(("head", "middle", "tail"), order.tensor_split(3), strict=True)
    many, few = counts > MANY, counts < FEW
    found = dict(thirds) | {
        "many": many.nonzero()[:, 0],
        "medium": (~many & ~few).nonzero()[:, 0],
        "few": few.nonzero()[:, 0],
    }
    return {name: members for name, members in found.items() if len(members)}
