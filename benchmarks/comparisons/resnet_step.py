"""A ResNet's training step against the same network in plain PyTorch."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from benchmarks.case import Case, Run, at_most
from hsac.ball import Transform, clip_norm, mlr_logits_tangent
from hsac.losses.cross_entropy import CrossEntropy
from hsac.models.resnet import Resnet
from hsac.rules.curvature.fixed import Fixed
from hsac.rules.weights.sgd import Sgd
from hsac.train.ensemble import Ensemble
from hsac.train.loop import Prepared, Schedule, Trainer
from hsac.train.tasks.types import Outputs

CURVATURE, RATE, DECAY, CLASSES = 0.3, 0.1, 5e-4, 10
SIZES = {"cpu": (32, 32, 16), "cuda": (32, 32, 128)}  # depth, side, batch
TINY = (20, 8, 4)


class _Images:
    """A task of one run with one batch: bytes of random images (B, 3, side, side) and labels."""

    steps_per_epoch = 10**6
    batches = 1

    def __init__(self, side: int, batch: int, device: torch.device) -> None:
        g = torch.Generator().manual_seed(0)
        self.examples = batch
        shape = (batch, 3, side, side)
        self.bytes = torch.randint(0, 256, shape, generator=g, dtype=torch.uint8).to(device)
        self.labels = torch.randint(0, CLASSES, (batch,), generator=g).to(device)
        self.trained = CrossEntropy()

    def batch(self, stream: str, times: int = 1) -> tuple[Tensor, Tensor]:
        return self.bytes[None].float() / 255, self.labels[None]

    def outputs(
        self, ensemble: Ensemble, w: Tensor, c: Tensor, batch: tuple[Tensor, Tensor]
    ) -> Outputs:
        return Outputs(ensemble.call("forward", w, c, batch[0]), batch[1], None)


class _Block(nn.Module):
    """A basic block with the shortcut of option A (He et al., CVPR 2016)."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.stride, self.new = stride, out - inside

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm2(self.second(self.norm1(self.first(x)).relu()))
        if self.new:
            half = self.new // 2
            x = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new - half))
        return (h + x).relu()


class _Head(nn.Module):
    """A Poincaré MLR at a fixed curvature."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.z, self.r = nn.Parameter(torch.zeros(CLASSES, dim)), nn.Parameter(torch.zeros(CLASSES))
        self.register_buffer("c", torch.tensor(CURVATURE))

    def forward(self, u: Tensor) -> Tensor:
        return mlr_logits_tangent(u, self.z, self.r, self.c)


class _Plain(nn.Module):
    """The network as one writes it with torch.nn, its parameters in hsac's order."""

    def __init__(self, depth: int, clip: float) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        blocks, inside = [], 16
        for stage, width in enumerate((16, 32, 64)):
            for i in range((depth - 2) // 6):
                blocks.append(_Block(inside, width, 2 if stage and i == 0 else 1))
                inside = width
        self.blocks = nn.Sequential(*blocks)
        self.head, self.clip = _Head(inside), clip

    def forward(self, x: Tensor) -> Tensor:
        u = self.blocks(self.norm(self.stem(x)).relu()).mean((-2, -1))
        return self.head(clip_norm(u, self.clip))


def cases(device: torch.device, tiny: bool) -> Iterator[Case]:
    """Yield SGD with momentum and weight decay, the curvature fixed.

    The peer keeps running statistics besides, as its modules do.
    """
    depth, side, batch = TINY if tiny else SIZES[device.type]
    yield Case(
        f"ResNet-{depth}, {batch} images of side {side}, sgd+fixed",
        "nn.Module and torch.optim.SGD",
        partial(pair, depth, side, batch, device),
        at_most(1.05),
        tolerance=1e-4,
    )


def pair(depth: int, side: int, batch: int, device: torch.device) -> tuple[Run, Run]:
    """Build one step of each from the same weights on the same images; both return the weights."""
    model = Resnet((3, side, side), CLASSES, "hyperbolic", depth=depth)
    ensemble, w = Ensemble.start(model, [0], device)
    plain = _Plain(depth, model.clip).to(device)
    with torch.no_grad():
        for p, given in zip(plain.parameters(), ensemble.unflatten(w[0]).values(), strict=True):
            p.copy_(given)
    images: Any = _Images(side, batch, device)
    transform = Transform()
    theta = torch.full((1, 1), transform.inverse(CURVATURE), device=device)
    made = Prepared(
        task=images,
        model=model,
        ensemble=ensemble,
        weight_rule=Sgd(lr=RATE),
        curvature_rule=Fixed(),
        transform=transform,
        schedule=Schedule(1, DECAY, "constant", 1, 0.3, 1),
        w=w,
        theta=theta,
    )
    going = Trainer(made, lambda _: torch.zeros_like(w))
    optimizer = torch.optim.SGD(plain.parameters(), lr=RATE, momentum=0.9, weight_decay=DECAY)

    def ours() -> Tensor:
        going.step(0)
        return going.w[0]

    def theirs() -> Tensor:
        x, labels = images.batch("batches")
        optimizer.zero_grad()
        cross_entropy(plain(x[0]), labels[0]).backward()
        optimizer.step()
        return torch.cat([p.detach().flatten() for p in plain.parameters()])

    return ours, theirs
