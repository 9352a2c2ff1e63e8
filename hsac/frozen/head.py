"""The problem of a head on frozen features."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hsac.ball import mlr_logits_tangent
from hsac.frozen.splits import HeadData


@dataclass(frozen=True)
class HeadProblem:
    """R problems of a linear map into d dimensions and a Poincaré MLR behind it.

    The lower level is the mean cross-entropy plus ½·decay·|w|². θ is log c. Weights w (P,) are the
    map (d, F), then the normals (K, d) and the offsets (K,) of the MLR.

    Attributes:
        data: The training rows.
        classes: Number of classes K.
        dim: Dimension d of the ball.
        decay: Factor λ of the weight decay.
    """

    data: HeadData
    classes: int
    dim: int
    decay: float

    @property
    def layers(self) -> list[int]:
        """Sizes of map, normals and offsets."""
        return [self.dim * self.data.x.shape[-1], self.classes * self.dim, self.classes]

    def start(self, draw: int) -> Tensor:
        """Draw weights to start from, the same for every problem.

        Tangent vectors have a length of about 1 and logits a deviation of about 2.

        Args:
            draw: Number of the draw.

        Returns:
            Weights (R, P), float64.
        """
        generator = torch.Generator().manual_seed(draw)
        of_map, of_normals, of_offsets = self.layers
        a = torch.randn(of_map, generator=generator, dtype=torch.float64)
        z = torch.randn(of_normals, generator=generator, dtype=torch.float64)
        a, z = a / (of_map**0.5), z / (2 * self.dim**0.5)
        w = torch.cat((a, z, torch.zeros(of_offsets, dtype=torch.float64)))
        return w.expand(len(self.data.x), -1).clone()

    def logits(self, w: Tensor, theta: Tensor, x: Tensor) -> Tensor:
        """Compute the logits of rows.

        Args:
            w: Weights (R, P).
            theta: log c (R, 1).
            x: Features (R, n, F).

        Returns:
            Logits (R, n, K).
        """
        a, z, r = w.split(self.layers, -1)
        u = x @ a.unflatten(-1, (self.dim, -1)).mT
        normals = z.unflatten(-1, (self.classes, self.dim))
        return torch.vmap(mlr_logits_tangent)(u, normals, r, theta[:, 0].exp())

    def nll(self, w: Tensor, theta: Tensor, data: HeadData) -> Tensor:
        """Compute the mean cross-entropy of rows.

        Args:
            w: Weights (R, P).
            theta: log c (R, 1).
            data: The rows.

        Returns:
            Nats (R,).
        """
        logits = self.logits(w, theta, data.x)
        each = cross_entropy(logits.flatten(0, 1), data.label.flatten(), reduction="none")
        return (each.view_as(data.weight) * data.weight).sum(-1)

    def error(self, w: Tensor, theta: Tensor, data: HeadData) -> Tensor:
        """Compute the share of rows whose class is missed.

        Args:
            w: Weights (R, P).
            theta: log c (R, 1).
            data: The rows.

        Returns:
            Shares (R,).
        """
        missed = self.logits(w, theta, data.x).argmax(-1) != data.label
        return (missed * data.weight).sum(-1)

    def loss(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the training loss L, without weight decay.

        Args:
            w: Weights (R, P).
            theta: log c (R, 1).

        Returns:
            Nats (R,).
        """
        return self.nll(w, theta, self.data)

    def objective(self, w: Tensor, theta: Tensor) -> Tensor:
        """Compute the lower level: L plus the weight decay.

        Args:
            w: Weights (R, P).
            theta: log c (R, 1).

        Returns:
            Nats (R,).
        """
        return self.loss(w, theta) + self.decay / 2 * (w * w).sum(-1)

    def take(self, runs: Tensor) -> "HeadProblem":
        """Return some of the problems.

        Args:
            runs: Their places, int64.
        """
        return HeadProblem(self.data.take(runs), self.classes, self.dim, self.decay)
