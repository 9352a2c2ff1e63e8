"""Sharpness-aware curvature learning for a training loop of your own."""

from collections.abc import Callable
from typing import Any

import geoopt
import torch
from torch import Tensor, nn

from hsac.ball import Curvature
from hsac.errors import InputError
from hsac.registry import build
from hsac.rules.curvature.hsac import Hsac


def _named_curvatures(model: nn.Module) -> dict[str, Curvature]:
    """Name of θ -> module, each module once."""
    return {f"{name}.theta".lstrip("."): m for name, m in model.named_modules() if isinstance(m, Curvature)}


def weights(model: nn.Module) -> list[nn.Parameter]:
    """The model's parameters but its curvatures: what the optimiser of the weights is for."""
    curvatures = {id(module.theta) for module in _named_curvatures(model).values()}
    return [p for p in model.parameters() if id(p) not in curvatures]


class CurvatureLearner:
    """Moves a model's `hsac.Curvature` parameters to where its loss landscape is flat, beside any optimiser.

    Call `step(batch)` after every step of the optimiser; every `period` calls after the first `warm_up` it takes one
    outer step of `hsac.rules.curvature.hsac.Hsac`, the rule of the benchmark.

    Args:
        model: any module with `hsac.Curvature` submodules (one scalar curvature each).
        optimizer: the weights' torch or geoopt optimiser. Its parameters are the lower level's variables and its
            `weight_decay` part of the lower level's objective; curvatures must not be among them (`hsac.weights`).
        loss: batch -> scalar loss of the model, plain (no weight decay), as a mean over the batch. It may autocast.
        warm_up: calls before the first outer step.
        seed: of the Gaussian draws of the objective `mean`.
        parameters: of the rule: objective, scope, radius, per_layer, ascent_steps, warm_start, samples, solver
            ({"name": "neumann", "terms": 3}), period, step, clip, ratio.

    geoopt's manifold parameters are perturbed along a retraction at where they are, and differentiated in its
    coordinates; every other weight is a vector. Buffers (BatchNorm's statistics) and the random number stream (dropout)
    are the same before and after, and all evaluations of one outer step see the same ones. Operations need second
    derivatives. Raises InputError for a model without curvatures, an optimiser that holds one, or bad parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Callable[[Any], Tensor],
        *,
        warm_up: int = 0,
        seed: int = 0,
        **parameters: Any,
    ) -> None:
        self.rule: Hsac = build("curvature rule", "hsac", parameters, "CurvatureLearner")
        self.model, self.optimizer, self.loss, self.warm_up = model, optimizer, loss, warm_up
        self.curvatures = _named_curvatures(model)
        if not self.curvatures:
            raise InputError("model: found no hsac.Curvature in it; allowed is a module with one or more")
        names = {id(p): name for name, p in model.named_parameters()}
        self.parameters: dict[str, nn.Parameter] = {}
        for group in optimizer.param_groups:
            for p in group["params"]:
                name = names.get(id(p))
                if name is None:
                    raise InputError(f"optimizer: found a parameter of shape {tuple(p.shape)} that is not the model's")
                if name in self.curvatures:
                    raise InputError(f"optimizer: found the curvature {name!r}; allowed are hsac.weights(model)")
                self.parameters[name] = p
        self.count = 0
        self.state = self.rule.init(self._theta())
        self.generator = torch.Generator().manual_seed(seed)
        self._called = _Called(model, loss)

    def step(self, batch: Any) -> dict[str, Any]:
        """Count one training step; take an outer one on `batch` when it is due.

        `batch` is best a fresh one, not the one just trained on. Returns {} when idle, else the objective's `value`,
        `hypergradient` and `curvature` by name of θ, the solve's relative `residual`, `fallback` (the implicit term was
        left out) and `products` (Hessian products spent).
        """
        self.count += 1
        theta, w = self._theta(), self._flat()
        if self.count <= self.warm_up or self.count % self.rule.period:
            self.state = self.rule.between(theta, self.state, w, lambda: self._objective(batch, decay=True))
            return {}
        theta, self.state, log = self.rule.outer(
            theta,
            self.state,
            w,
            self._objective(batch, decay=False),
            self._objective(batch, decay=True),
            lambda: torch.randn(w.shape, generator=self.generator, dtype=torch.float64).to(w),
            [p.numel() for p in self.parameters.values()],
        )
        with torch.no_grad():
            for module, moved in zip(self.curvatures.values(), theta[0], strict=True):
                module.theta.copy_(module.transform.clamp(moved))
                module.theta.grad = None  # the weights' backward passes pile up there
        return {
            "value": float(log["value"][0]),
            "hypergradient": dict(zip(self.curvatures, log["hypergradient"][0].tolist(), strict=True)),
            "curvature": {name: float(module().detach()) for name, module in self.curvatures.items()},
            "residual": float(log["residual"][0]),
            "fallback": bool(log["fallback"][0]),
            "products": int(log["products"][0]),
        }

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed learner needs besides the model's and the optimiser's own states."""
        return {"count": self.count, "rule": self.state, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`, on whatever device the model is now. Raises InputError for another model's."""
        size = state["rule"]["adam"]["first"].shape[-1]
        if size != len(self.curvatures):
            raise InputError(f"state_dict: found {size} curvatures; allowed is {len(self.curvatures)}, the model's")
        adversary, size = state["rule"]["adversary"], sum(p.numel() for p in self.parameters.values())
        if adversary is not None and adversary.shape[-1] != size:
            raise InputError(f"state_dict: found {adversary.shape[-1]} weights; allowed is {size}, the optimiser's")
        self.count = state["count"]
        self.state = _moved(state["rule"], self._theta().device)
        self.generator.set_state(state["generator"].cpu())

    def _theta(self) -> Tensor:
        """θ of every curvature, (1, C)."""
        return torch.stack([module.theta.detach() for module in self.curvatures.values()])[None]

    def _flat(self) -> Tensor:
        """The weights as one vector, (1, P)."""
        return torch.cat([p.detach().flatten() for p in self.parameters.values()])[None]

    def _objective(self, batch: Any, decay: bool) -> Callable[[Tensor, Tensor], Tensor]:
        """(w (1, P), θ (1, C)) -> (1,): the loss on the batch, with weight decay or without."""
        devices = {p.device for p in self.parameters.values() if p.device.type == "cuda"}

        def objective(w: Tensor, theta: Tensor) -> Tensor:
            parts = w[0].split([p.numel() for p in self.parameters.values()])
            points = {
                name: _point(p, part.view(p.shape).to(p.dtype))
                for (name, p), part in zip(self.parameters.items(), parts, strict=True)
            }
            curvatures = dict(zip(self.curvatures, theta[0], strict=True))
            buffers = {name: b.clone() for name, b in self.model.named_buffers()}
            swapped = {f"model.{name}": t for name, t in (points | curvatures | buffers).items()}
            with torch.random.fork_rng(list(devices)):
                value = torch.func.functional_call(self._called, swapped, (batch,))
            return (value + self._decay(points) if decay else value).reshape(1)

        return objective

    def _decay(self, points: dict[str, Tensor]) -> Tensor | float:
        """Σ weight decay/2·|w|², as the optimiser's groups say."""
        names = {id(p): name for name, p in self.parameters.items()}
        return sum(
            group["weight_decay"] / 2 * points[names[id(p)]].square().sum()
            for group in self.optimizer.param_groups
            if group.get("weight_decay")
            for p in group["params"]
        )


class _Called(nn.Module):
    """The loss as a module that holds the model, so that `functional_call` can swap the model's tensors in it."""

    def __init__(self, model: nn.Module, loss: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Any) -> Tensor:
        return self.loss(batch)


def _point(p: nn.Parameter, x: Tensor) -> Tensor:
    """The parameter at coordinates x: x itself, or on a manifold the retraction at p of x - p."""
    manifold = getattr(p, "manifold", None)
    if manifold is None:
        return x
    here = p.detach().as_subclass(Tensor)
    point = manifold.retr(here, manifold.proju(here, x - here)).as_subclass(geoopt.ManifoldTensor)
    point.manifold = manifold  # code that asks the parameter for its manifold finds it
    return point


def _moved(value: Any, device: torch.device) -> Any:
    """The nested state with its tensors on a device."""
    if isinstance(value, dict):
        return {k: _moved(v, device) for k, v in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
