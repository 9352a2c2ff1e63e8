"""Many seeds of one model as one program: weights in one (R, P) tensor, a leading axis for the
runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from hsac.models.layers import Params
from hsac.train.seeds import generator

State = dict[str, Tensor]


@dataclass(frozen=True)
class Bundle:
    """A model's parameters laid out flat, and its forward pass over R runs.

    One (R, P) tensor instead of a dict: every rule, inner product and solver is then a few
    operations on it.
    """

    model: Any
    shapes: dict[str, torch.Size]
    device: torch.device

    @classmethod
    def start(
        cls, model: Any, seeds: Sequence[int], device: torch.device
    ) -> tuple["Bundle", Tensor]:
        """The layout and the start weights (R, P), drawn per seed on the CPU so that every device
        starts alike.
        """
        drawn = [model.init(generator(seed, "weights")) for seed in seeds]
        flat = torch.stack([torch.cat([p.flatten() for p in params.values()]) for params in drawn])
        return cls(model, {k: p.shape for k, p in drawn[0].items()}, device), flat.to(
            device, model.dtype
        )

    @property
    def vmapped(self) -> bool:
        """Whether the runs go as one program: the model and its head allow it."""
        return self.model.vmapped and getattr(self.model, "classifier", self.model).vmapped

    @property
    def points(self) -> tuple[tuple[int, int, int, int], ...]:
        """Where w holds points of the ball: start, end, dimension, and the column of their ball's
        curvature.
        """
        head = getattr(self.model, "classifier", None)
        names = () if head is None else head.points
        column = len(self.model.curvature_names) - 1
        ends = list(accumulate(self.sizes))
        return tuple(
            (end - size, end, self.shapes[name][-1], column)
            for name, size, end in zip(self.shapes, self.sizes, ends, strict=True)
            if name in names
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of weights of the parameter tensors, in their order."""
        return tuple(shape.numel() for shape in self.shapes.values())

    def unflatten(self, w: Tensor) -> Params:
        """One run's weights (P,) -> named parameters."""
        parts = w.split(self.sizes)
        return {
            k: part.view(shape) for (k, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def call(
        self,
        method: str,
        w: Tensor,
        c: Tensor,
        x: Any,
        shared: bool = False,
        state: State | None = None,
    ) -> Any:
        """`forward` or `embed` of R runs: w (R, P), c (R, C), x with a leading R (or one for all,
        `shared`).

        `state`: what else a run's pass takes, by name with a leading R. In evaluation of a model
        that normalises by batch, what `statistics` gave for the same w and c; without it the batch
        at hand is used, a pure function of weights and batch, which is what training
        differentiates. In training with dropout, the batch's masks.
        """

        def one(w: Tensor, c: Tensor, x: Any, state: State | None) -> Any:
            given = () if state is None else (state,)
            return getattr(self.model, method)(self.unflatten(w), c, x, *given)

        if self.vmapped:
            dims = (0, 0, None if shared else 0, None if state is None else 0)
            return torch.func.vmap(one, in_dims=dims)(w, c, x, state)
        own = [state and {name: values[i] for name, values in state.items()} for i in range(len(w))]
        runs = [one(w[i], c[i], x if shared else x[i], own[i]) for i in range(len(w))]
        if isinstance(runs[0], dict):
            return {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
        return torch.stack(runs)

    def statistics(self, w: Tensor, c: Tensor, batches: Iterable[Tensor]) -> State | None:
        """The model's statistics of each run, their mean over batches that all runs share; None for
        a model that has none, and then no batch is made.
        """
        if not hasattr(self.model, "statistics"):
            return None
        with torch.no_grad():
            found = [self.call("statistics", w, c, x, shared=True) for x in batches]
        return {name: torch.stack([one[name] for one in found]).mean(0) for name in found[0]}
