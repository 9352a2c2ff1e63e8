"""Augmentation of images of training batches, with one stream of draws a run.

Methods see the same images, because the draws depend on seed and purpose alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

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
