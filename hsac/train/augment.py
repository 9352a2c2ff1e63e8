"""Augmentation and mixing of images of training batches, with one stream of draws a run.

Methods see the same images, because the draws depend on seed and purpose alone.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from hsac.train.seeds import generator


class CropFlip:
    """A random crop and a mirror image (He et al., CVPR 2016, section 4.2).

    The crop has the image's size and is cut out of the image with `PADDING` pixels of zeros around
    it. Half of the crops are mirrored left to right.
    """

    PADDING = 4

    def __init__(self, seeds: Sequence[int], purpose: str) -> None:
        """Start a stream of draws for each of the seeds."""
        self.generators = [generator(seed, purpose) for seed in seeds]

    def __call__(self, images: Tensor) -> Tensor:
        """Augment images (R, B, H, W) or (R, B, 3, H, W), of any dtype, each by its own draws."""
        # Drawn on the CPU, so that every device crops alike.
        draws = torch.stack([self._draw(images.shape[1], g) for g in self.generators])
        top, left, mirrored = draws.to(images.device).flatten(0, 1)[..., None].unbind(1)
        rows, columns = (torch.arange(side, device=images.device) for side in images.shape[-2:])
        # Columns in reverse order are the mirror image, so one look-up crops and mirrors.
        columns = torch.where(mirrored == 1, columns.flip(0), columns)
        padded = pad(images.flatten(0, 1), (self.PADDING,) * 4)
        each = torch.arange(len(padded), device=images.device)[:, None, None]
        found = padded[each, ..., (top + rows)[:, :, None], (left + columns)[:, None, :]]
        if found.dim() == 4:  # indexing puts the channels last
            found = found.movedim(-1, 1).contiguous()
        return found.unflatten(0, images.shape[:2])

    def _draw(self, count: int, stream: torch.Generator) -> Tensor:
        """Draw offsets from the top and from the left, and whether mirrored: (B, 3)."""
        # The padded image is 2·PADDING longer, so the crop fits in one place more than that.
        offsets = torch.randint(0, 2 * self.PADDING + 1, (count, 2), generator=stream)
        return torch.cat([offsets, torch.randint(0, 2, (count, 1), generator=stream)], 1)


class Mixing:
    """Convex combinations of images and of their labels (Zhang et al., ICLR 2018, eq. 1).

    Each row is mixed with the next one of its batch, the last with the first. Batches are shuffled,
    so the next row is a random one. One share λ from Beta(alpha, alpha) is for the whole batch.
    """

    def __init__(self, alpha: float, classes: int, seeds: Sequence[int], purpose: str) -> None:
        """Start a stream of shares for each of the seeds.

        Args:
            alpha: Parameter of the Beta distribution.
            classes: Number of classes K.
            seeds: The seeds of the R runs.
            purpose: What the streams are for.
        """
        self.alpha, self.classes = alpha, classes
        # torch draws no Beta from a generator, so its seed is handed to one of numpy's.
        numbers = [generator(seed, purpose).initial_seed() for seed in seeds]
        self.generators = [np.random.Generator(np.random.PCG64(number)) for number in numbers]

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            images: Floats (R, B, ...).
            labels: Labels (R, B).

        Returns:
            Mixed images (R, B, ...), and shares of the classes (R, B, K).
        """
        shares = torch.tensor([g.beta(self.alpha, self.alpha) for g in self.generators])
        return self._mixed(images, shares), self._mixed(
            one_hot(labels, self.classes).to(images), shares
        )

    def _mixed(self, values: Tensor, shares: Tensor) -> Tensor:
        share = shares.to(values).view(-1, *[1] * (values.dim() - 1))
        return share * values + (1 - share) * values.roll(-1, 1)
