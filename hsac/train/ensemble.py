"""Many seeds of one model as one program.

The weights are one (R, P) tensor with a leading axis for the runs, so every rule, inner product and
solver is a few operations on it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from hsac.models.layers import Params
from hsac.models.types import BatchNormalised, WithHead
from hsac.rules.types import Place
from hsac.train.seeds import generator

State = dict[str, Tensor]


@dataclass(frozen=True)
class Ensemble:
    """A model's parameters laid out flat, and its forward pass over R runs.

    Attributes:
        model: The model.
        shapes: Shapes of the parameter tensors by name, in the order in which they are laid out.
        device: Where the weights are.
    """

    model: Any
    shapes: dict[str, torch.Size]
    device: torch.device

    @classmethod
    def start(
        cls, model: Any, seeds: Sequence[int], device: torch.device
    ) -> tuple["Ensemble", Tensor]:
        """Lay out a model and draw its start weights.

        Args:
            model: The model.
            seeds: The seeds of the R runs.
            device: Where the weights go. They are drawn on the CPU, so every device starts alike.

        Returns:
            The ensemble and the start weights (R, P).
        """
        # Each seed draws for itself, so that a run starts alike alone and in company.
        drawn = [model.init(generator(seed, "weights")) for seed in seeds]
        flat = torch.stack([torch.cat([p.flatten() for p in params.values()]) for params in drawn])
        shapes = {name: p.shape for name, p in drawn[0].items()}
        return cls(model, shapes, device), flat.to(device, model.dtype)

    @property
    def vmapped(self) -> bool:
        """Whether the runs go as one program: the model and its head allow it."""
        # A model without a head answers for itself.
        head_vmapped = not isinstance(self.model, WithHead) or self.model.classifier.vmapped
        return self.model.vmapped and head_vmapped

    @property
    def points(self) -> tuple[Place, ...]:
        """Where w holds points of the ball.

        Of each: start, end, dimension, and the column of their ball's curvature.
        """
        # The head is the last to use a curvature, so its ball has the last one.
        names = self.model.classifier.points if isinstance(self.model, WithHead) else ()
        column = len(self.model.curvature_names) - 1
        ends = list(accumulate(self.sizes))
        return tuple(
            (end - size, end, self.shapes[name][-1], column)
            for name, size, end in zip(self.shapes, self.sizes, ends, strict=True)
            if name in names
        )

    @cached_property
    def head(self) -> Tensor:
        """Which of the weights (P,) are the head's, none of a model without one."""
        if not isinstance(self.model, WithHead):
            return torch.zeros(sum(self.sizes), dtype=torch.bool, device=self.device)
        names = self.model.classifier.init(torch.Generator())
        spans = [
            torch.full((n,), name in names) for name, n in zip(self.shapes, self.sizes, strict=True)
        ]
        return torch.cat(spans).to(self.device)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of weights of the parameter tensors, in their order."""
        return tuple(shape.numel() for shape in self.shapes.values())

    def unflatten(self, w: Tensor) -> Params:
        """Take one run's weights apart.

        Args:
            w: Weights (P,).

        Returns:
            The parameters by name, as views.
        """
        named = zip(self.shapes.items(), w.split(self.sizes), strict=True)
        return {name: part.view(shape) for (name, shape), part in named}

    def call(
        self,
        method: str,
        w: Tensor,
        c: Tensor,
        x: Any,
        shared: bool = False,
        state: State | None = None,
    ) -> Any:
        """Call a method of the model for all R runs.

        Args:
            method: `forward`, `embed`, or another method with their arguments.
            w: Weights (R, P).
            c: Curvatures (R, C).
            x: Input with a leading R.
            shared: One input without a leading R is for all runs.
            state: What else a run's pass takes, by name with a leading R. In evaluation of a model
                that normalises by batch, what `statistics` gave for the same w and c. Without it
                the batch at hand is used, a pure function of weights and batch, which is what
                training differentiates. In training with dropout, the batch's masks.

        Returns:
            What the method gives, each tensor with a leading R.
        """

        def one(w: Tensor, c: Tensor, x: Any, state: State | None) -> Any:
            given = () if state is None else (state,)
            return getattr(self.model, method)(self.unflatten(w), c, x, *given)

        if self.vmapped:
            # What all runs share has no axis to map over.
            dims = (0, 0, None if shared else 0, None if state is None else 0)
            return torch.func.vmap(one, in_dims=dims)(w, c, x, state)
        # One run after another, for models that vmap refuses or makes slower, as it does
        # convolutions.
        runs = []
        for i in range(len(w)):
            own = state and {name: values[i] for name, values in state.items()}
            runs.append(one(w[i], c[i], x if shared else x[i], own))
        # `statistics` gives several tensors by name, every other method a single one.
        if isinstance(runs[0], dict):
            return {name: torch.stack([run[name] for run in runs]) for name in runs[0]}
        return torch.stack(runs)

    def statistics(self, w: Tensor, c: Tensor, batches: Iterable[Tensor]) -> State | None:
        """Compute the model's batch statistics of each run, as their mean over batches.

        Args:
            w: Weights (R, P).
            c: Curvatures (R, C).
            batches: Batches that all runs share. None is made where the model has no statistics.

        Returns:
            The statistics by name with a leading R. None for a model that has none.
        """
        if not isinstance(self.model, BatchNormalised):
            return None
        # Evaluation only: training differentiates through the statistics of its own batch.
        with torch.no_grad():
            found = [self.call("statistics", w, c, x, shared=True) for x in batches]
        return {name: torch.stack([one[name] for one in found]).mean(0) for name in found[0]}
