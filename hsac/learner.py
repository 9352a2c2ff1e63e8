"""Sharpness-aware curvature learning for a training loop of your own."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import geoopt
import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.nn.attention import SDPBackend, sdpa_kernel

from hsac.ball import Curvature
from hsac.batches import halves
from hsac.errors import InputError
from hsac.hypergradient import HessianOperator, Loss
from hsac.hypergradient.operator import norm
from hsac.parts import build, require
from hsac.rules.curvature.hsac import Hsac, Samples
from hsac.sharpness import WITH_ADVERSARY

NO_HOOKS = (
    "hsac.CurvatureLearner: gradient checkpointing recomputes at other weights; the loss must not"
    " use it"
)
# Rows that each piece of a batch must have. BatchNorm in training mode refuses one row, and its
# statistics of two or three are mostly noise. The last batch of a loader can be that small.
LEAST_ROWS = 4
NO_PIECES = f"cannot be split into pieces of {LEAST_ROWS} rows or more"
TWO_BATCHES = "two independent batches, `step(batch, other)`"
THREE_BATCHES = "three independent batches, `step(batch, other, third)`"
NO_HALVES = (
    f"hsac.CurvatureLearner: this batch {NO_PIECES}, so {{seen}} saw the same sample, which biases"
    " the hypergradient; pass {batches}, or the same object twice if it is the whole"
    " training set"
)
NO_THIRD = (
    f"hsac.CurvatureLearner: the upper level's sample {NO_PIECES}, so the adversary was found on"
    " all of it, which biases the hypergradient; pass a third independent batch, `step(batch,"
    " other, third)`"
)
# Stands for a batch that was left out. None can be a batch: that of a loss which always takes the
# whole training set.
_NOT_GIVEN: Any = object()


def _curvatures(model: nn.Module) -> dict[str, Curvature]:
    """Name of θ -> module; one for each θ, however many modules or names share it."""
    found: dict[int, tuple[str, Curvature]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Curvature):
            found.setdefault(id(module.theta), (f"{name}.theta".lstrip("."), module))
    return dict(found.values())


def weights(model: nn.Module) -> list[nn.Parameter]:
    """The model's parameters but its curvatures: what the optimiser of the weights is for."""
    thetas = {id(module.theta) for module in _curvatures(model).values()}
    return [p for p in model.parameters() if id(p) not in thetas]


@dataclass(frozen=True)
class _Sample:
    """What one level, or the adversary, sees."""

    batch: Any
    # Dropout masks are part of a sample: which stream of random numbers its loss takes.
    stream: int
    # The batch that the learner halved for it, None where the caller gave the sample as it is.
    half_of: Any = None


class CurvatureLearner:
    """Moves a model's `hsac.Curvature` parameters to where its loss landscape is flat, beside any
    optimiser.

    Call `step(batch, other, third)` after every step of the optimiser, with three independent
    batches. Every `period` calls after the first `warm_up` it takes one outer step of
    `hsac.rules.curvature.hsac.Hsac`, the rule of the benchmark. The upper level is on `batch`, the
    lower level on `other`, and the adversary is found on `third`. Given `step(batch, other)`, it
    halves `batch` for the upper level and the adversary. Given `step(batch)`, it halves it for the
    two levels, and then the upper level's half again. `step(batch, batch)` is for the whole
    training set.

    Args:
        model: any module with `hsac.Curvature` submodules (one scalar curvature each).
        optimizer: the weights' torch or geoopt optimiser. Those of its parameters that require a gradient are the lower
            level's variables, and its `weight_decay` is part of the lower level's objective (not where it is decoupled,
            as in AdamW: it is then no gradient of an objective). Curvatures must not be in it (`hsac.weights`).
        loss: batch -> scalar loss of the model, plain (no weight decay), as a mean over the batch. It may autocast.
        warm_up: calls before the first outer step.
        seed: of the Gaussian draws of the objective `mean`.
        parameters: of the rule: objective, scope, radius, per_layer, ascent_steps, warm_start, samples, solver
            ({"name": "neumann", "terms": 3}), period, step, clip, ratio.

    geoopt's manifold parameters are perturbed along a retraction at where they are, and
    differentiated in its coordinates; every other weight is a vector. Points on a ball whose c is
    learned are not kept inside as c grows: give them as tangent vectors at the origin. Buffers
    (BatchNorm's statistics) and torch's random number stream (dropout) are the same before and
    after. All evaluations on one sample in an outer step see the same numbers, the samples' differ,
    and other randomness inside `loss` differs between evaluations. A frozen curvature
    (`requires_grad_(False)`) stays where it is.

    The loss needs true second derivatives: a compiled model, gradient checkpointing and cuDNN's
    recurrent layers have none (use the module that was compiled, which shares its parameters); a
    custom autograd function that lacks them is warned about. Raises InputError for a model without
    curvatures, an optimiser that holds one, or bad parameters.
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
        whose = "training; the batch is what `step` is given, held out or not"
        require(self.rule.batch == "training", "CurvatureLearner.batch", self.rule.batch, whose)
        require(
            not self.rule.anneal,
            "CurvatureLearner.anneal",
            True,
            "False; how long training is, it cannot know",
        )
        shared, factor = self.rule.shared, self.rule.batch_factor
        require(
            shared == "none",
            "CurvatureLearner.shared",
            shared,
            "none; `step(batch, batch, batch)` shares",
        )
        size = "1; a sample is as large as the batch `step` is given"
        require(factor == 1, "CurvatureLearner.batch_factor", factor, size)
        for name, value in (("warm_up", warm_up), ("seed", seed)):
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            require(whole, f"CurvatureLearner.{name}", value, "an integer from 0")
        self.model, self.optimizer, self.loss, self.warm_up = model, optimizer, loss, warm_up
        self.curvatures = _curvatures(model)
        if not self.curvatures:
            raise InputError(
                "model: found no hsac.Curvature in it; allowed is a module with one or more"
            )
        self.count = 0
        self.state = self.rule.init(self._theta())
        self.generator = torch.Generator().manual_seed(seed)
        self._called = _Called(model, loss)
        self._names = list(self._weights())
        self._checked = False
        self._warned: set[str] = set()

    @property
    def due(self) -> bool:
        """Whether the next `step` takes an outer step, and so needs its batches.

        The solver `amortised` also works between outer steps, and needs a batch for the lower level
        at every step.
        """
        return self.count + 1 > self.warm_up and (self.count + 1) % self.rule.period == 0

    def step(self, batch: Any, other: Any = _NOT_GIVEN, third: Any = _NOT_GIVEN) -> dict[str, Any]:
        """Count one training step, and take an outer one when it is due.

        The implicit term of the hypergradient is a product of a factor of the upper level with one
        of the lower level. On one sample of B examples for both, its mean is not the product of
        their means. Without a scope and with the identity for H⁻¹ it is off by (1/2B)·∂θ tr
        Cov(∇ℓ), ∇ℓ an example's gradient in the weights: c is pulled to where the examples'
        gradients differ most, also where that raises the loss. So each level needs a sample of its
        own (Ghadimi and Wang 2018, arXiv:1802.02246; Ji, Yang and Liang, ICML 2021, stocBiO). The
        adversary of the objectives `worst` and `gap` needs a third: it does more harm on the sample
        it was found on than elsewhere.

        Args:
            batch: for the upper level, the plain loss and its scope. Best a fresh one, not the one just trained on.
            other: for the lower level, the training objective, weight decay included. It must be drawn independently of
                `batch`. Left out, `batch` is split in two halves by `hsac.batches.halves`: its even rows are for the
                upper level, its odd rows for the lower level. The first dimension of every tensor in it must run over
                the examples, and these must be independent. One that cannot be split, or not into halves of at least
                four rows, is used for both levels, with one warning a learner. Give the same object twice,
                `step(graph, graph)`, where it is the whole training set: nothing is sampled then, so nothing is biased.
            third: to find the adversary on, independent of the others. Left out, it is found on the even rows of the
                upper level's sample, and the objective is taken on the odd rows. The same must hold of the sample's
                tensors. Where it cannot be split, or not into halves of at least four rows, both are on all of it, with
                one warning a learner.

        Returns:
            {} when idle, which costs nothing. Else the objective's `value` on the upper level's sample, `hypergradient`
            and `curvature` by name of θ, the solve's relative `residual`, `fallback` (the implicit term was left out)
            and `products` (Hessian products spent).

        Raises:
            InputError: The loss is no scalar, or it takes a batch but not its halves, or inference mode is on.
        """
        if torch.is_inference_mode_enabled():
            raise InputError(
                "CurvatureLearner.step: found inference mode; allowed is outside of it"
            )
        due = self.due
        self.count += 1
        for module in self.curvatures.values():
            module.theta.grad = None  # the weights' backward passes pile up there
        if not due and not self.rule.tracks(self.state):
            return {}
        found = self._weights()
        if (
            list(found) != self._names
        ):  # a layer was frozen or added: what was carried over is of other weights
            self._names = list(found)
            self.state = self.state | {"adversary": None, "solver": {}}
        theta, w = self._theta(), torch.cat([p.detach().flatten() for p in found.values()])[None]
        with (
            torch.enable_grad(),
            torch.autograd.graph.disable_saved_tensors_hooks(NO_HOOKS),
            sdpa_kernel(SDPBackend.MATH),
        ):
            if not due:
                _, lower = self._levels(batch, other)
                tracked = self._objective(found, lower, decay=True)
                self.state = self.rule.between(theta, self.state, w, lambda: tracked)
                return {}
            upper, lower, adversary = self._samples(batch, other, third)
            samples = Samples(
                upper=self._objective(found, upper, decay=False),
                lower=self._objective(found, lower, decay=True),
                adversary=self._objective(found, adversary, decay=False),
            )
            if not self._checked:
                _check_second_derivatives(samples.lower, w, theta)
                self._checked = True

            def normal() -> Tensor:
                return torch.randn(w.shape, generator=self.generator, dtype=torch.float64).to(w)

            sizes = [p.numel() for p in found.values()]
            theta, self.state, log = self.rule.outer(theta, self.state, w, samples, normal, sizes)
        with torch.no_grad():
            for module, moved in zip(self.curvatures.values(), theta[0], strict=True):
                if module.theta.requires_grad:
                    module.theta.copy_(module.transform.clamp(moved))
        return {
            "value": float(log["value"][0]),
            "hypergradient": dict(
                zip(self.curvatures, log["hypergradient"][0].tolist(), strict=True)
            ),
            "curvature": {
                name: float(module().detach()) for name, module in self.curvatures.items()
            },
            "residual": float(log["residual"][0]),
            "fallback": bool(log["fallback"][0]),
            "products": int(log["products"][0]),
        }

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed learner needs besides the model's and the optimiser's own states."""
        return {
            "count": self.count,
            "rule": self.state,
            "generator": self.generator.get_state(),
            "curvatures": list(self.curvatures),
            "weights": self._names,
            "solver": type(self.rule.linear_solver).__name__,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`, on whatever device the model is now. Raises InputError for
        that of another model, optimiser or solver.
        """
        own = self.state_dict()
        for key in ("curvatures", "weights", "solver"):
            if state[key] != own[key]:
                raise InputError(
                    f"state_dict: {key}: found {state[key]}; allowed is {own[key]}, as in this"
                    " learner"
                )
        self.count = state["count"]
        self.state = _moved(state["rule"], self._theta().device)
        self.generator.set_state(state["generator"].cpu())

    def _levels(self, batch: Any, other: Any) -> tuple[_Sample, _Sample]:
        """Return the samples of the upper and of the lower level, the same where `batch` alone
        cannot be split.
        """
        if other is not _NOT_GIVEN:
            return _Sample(batch, 0), _Sample(other, 1)
        split = halves(batch, LEAST_ROWS)
        if split is None:
            return _Sample(batch, 0), _Sample(batch, 1)
        return _Sample(split[0], 0, batch), _Sample(split[1], 1, batch)

    def _samples(self, batch: Any, other: Any, third: Any) -> tuple[_Sample, _Sample, _Sample]:
        """Return the samples of the upper level, the lower level and the adversary, of what `step`
        was given.
        """
        upper, lower = self._levels(batch, other)
        climbs = self.rule.objective in WITH_ADVERSARY
        if other is _NOT_GIVEN and lower.batch is batch:
            seen = (
                "both levels and the adversary" if climbs and third is _NOT_GIVEN else "both levels"
            )
            batches = THREE_BATCHES if climbs else TWO_BATCHES
            self._warn(NO_HALVES.format(seen=seen, batches=batches))
        if third is not _NOT_GIVEN:
            return upper, lower, _Sample(third, 2)
        # The same object twice is the whole training set, in which there is nothing to keep apart.
        # Without an adversary nothing looks at its sample.
        if lower.batch is upper.batch or not climbs:
            return upper, lower, _Sample(batch, 2)
        split = halves(upper.batch, LEAST_ROWS)
        if split is None:
            self._warn(NO_THIRD)
            return upper, lower, _Sample(upper.batch, 2, upper.half_of)
        return _Sample(split[1], 0, batch), lower, _Sample(split[0], 2, batch)

    def _warn(self, text: str) -> None:
        """Warn once a learner of each thing, at the line that called `step`."""
        if text not in self._warned:
            warnings.warn(text, stacklevel=4)
            self._warned.add(text)

    def _theta(self) -> Tensor:
        """θ of every curvature, (1, C)."""
        return torch.stack([module.theta.detach() for module in self.curvatures.values()])[None]

    def _weights(self) -> dict[str, nn.Parameter]:
        """The optimiser's parameters that require a gradient, by name. Raises InputError for one it
        must not hold.
        """
        names = {id(p): name for name, p in self.model.named_parameters()}
        thetas = {id(module.theta) for module in self.curvatures.values()}
        found = {}
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                if id(p) in thetas:
                    raise InputError(
                        f"optimizer: found the curvature {names[id(p)]!r}; allowed are"
                        " hsac.weights(model)"
                    )
                if id(p) not in names:
                    raise InputError(
                        f"optimizer: found a parameter of shape {tuple(p.shape)} that is not the"
                        " model's"
                    )
                if p.requires_grad:
                    found[names[id(p)]] = p
        if not found:
            raise InputError(
                "optimizer: found no parameter that requires a gradient; allowed is one or more"
            )
        return found

    def _objective(self, found: dict[str, nn.Parameter], sample: _Sample, decay: bool) -> Loss:
        """(w (1, P), θ (1, C)) -> (1,): the loss on the sample, with weight decay or without."""
        devices = list({p.device for p in found.values() if p.device.type == "cuda"})
        slots = [
            (f"model.{name}.{key}".replace("..", "."), value)
            for name, module in (
                self.model.named_modules()
            )  # each module once, so that each slot is swapped once
            for own in (module._parameters, module._buffers)
            for key, value in own.items()
            if value is not None
        ]

        def objective(w: Tensor, theta: Tensor) -> Tensor:
            parts = w[0].split([p.numel() for p in found.values()])
            points = {
                id(p): _point(p, part.view(p.shape).to(p.dtype))
                for p, part in zip(found.values(), parts, strict=True)
            }
            thetas = {
                id(m.theta): t for m, t in zip(self.curvatures.values(), theta[0], strict=True)
            }
            buffers = {id(b): b.clone() for b in self.model.buffers()}
            swapped = points | thetas | buffers
            given = {name: swapped[id(value)] for name, value in slots if id(value) in swapped}

            def called(batch: Any) -> Any:
                with torch.random.fork_rng(devices):
                    _seed_apart(sample.stream, devices)
                    return torch.func.functional_call(
                        self._called, given, (batch,), tie_weights=False
                    )

            value = _of_sample(called, sample)
            if not isinstance(value, Tensor) or value.numel() != 1:
                said = (
                    f"shape {list(value.shape)}"
                    if isinstance(value, Tensor)
                    else type(value).__name__
                )
                raise InputError(
                    f"loss: found {said}; allowed is a tensor with one value, the mean over the"
                    " batch"
                )
            return (value + self._decay(points) if decay else value).reshape(1)

        return objective

    def _decay(self, points: dict[int, Tensor]) -> Tensor | float:
        """Σ weight decay/2·|w|², as the optimiser's groups say."""
        return sum(
            group["weight_decay"] / 2 * points[id(p)].square().sum()
            for group in self.optimizer.param_groups
            if group.get("weight_decay") and not group.get("decoupled_weight_decay")
            for p in group["params"]
            if id(p) in points
        )


class _Called(nn.Module):
    """The loss as a module that holds the model, so that `functional_call` can swap the model's
    tensors in it.
    """

    def __init__(self, model: nn.Module, loss: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.call = (loss,)  # in a tuple: a loss that is a module itself is no part of the tree

    def forward(self, batch: Any) -> Tensor:
        return self.call[0](batch)


def _seed_apart(stream: int, devices: list[torch.device]) -> None:
    """Take torch's random numbers from a stream of its own, set by where the present one is. 0 is
    the present one.
    """
    if stream == 0:
        return
    seed = int(torch.randint(2**62, ())) + stream
    generators = [torch.cuda.default_generators[device.index or 0] for device in devices]
    for generator in (torch.random.default_generator, *generators):
        generator.manual_seed(seed)


def _of_sample(loss: Callable[[Any], Any], sample: _Sample) -> Any:
    """Compute the loss on a sample. Raises InputError where it takes the batch that the learner
    halved, but no half.
    """
    try:
        return loss(sample.batch)
    except Exception as error:
        # With gradients as before: what forbids them, such as gradient checkpointing, is no fault
        # of the halves.
        if sample.half_of is None or not _succeeds(lambda: loss(sample.half_of)):
            raise
        raise InputError(
            "CurvatureLearner.step: found a batch whose halves the loss does not take"
            f" ({type(error).__name__}); allowed are {THREE_BATCHES}, or the same one twice if it"
            " is the whole training set"
        ) from error


def _succeeds(call: Callable[[], Any]) -> bool:
    try:
        call()
    except Exception:
        return False
    return True


def _point(p: nn.Parameter, x: Tensor) -> Tensor:
    """The parameter at coordinates x: x itself, or on a manifold the retraction at p of x - p."""
    manifold = getattr(p, "manifold", None)
    if manifold is None:
        return x
    here = p.detach().as_subclass(Tensor)
    # EuclideanStiefel's retraction works in place, which autograd does not take
    move = manifold.expmap if isinstance(manifold, geoopt.EuclideanStiefel) else manifold.retr
    point = move(here, manifold.proju(here, x - here)).as_subclass(geoopt.ManifoldTensor)
    point.manifold = manifold  # code that asks the parameter for its manifold finds it
    return point


def _check_second_derivatives(objective: Loss, w: Tensor, theta: Tensor) -> None:
    """Warn where the loss uses custom autograd functions and its Hessian disagrees with differences
    of its gradient.
    """
    w, theta = w.detach().requires_grad_(), theta.detach().requires_grad_()
    value = objective(w, theta)
    custom = _custom_functions(value.grad_fn)
    if not custom:
        return
    hessian = HessianOperator(objective, w, theta)
    v = hessian.gradient.detach()
    h = 1e-3 * norm(w.detach()) / norm(v)
    ends = [torch.autograd.grad(objective(w + s * h * v, theta).sum(), w)[0] for s in (1, -1)]
    differences = (ends[0] - ends[1]) / (2 * h)
    error = float(norm(hessian(v) - differences) / norm(differences))
    if error > 0.1:
        warnings.warn(
            f"hsac.CurvatureLearner: the loss uses {', '.join(sorted(custom))}, and its second"
            f" derivatives are off by {error:.0%} of what differences of its gradient say; custom"
            " autograd functions often lack them",
            stacklevel=3,
        )


def _custom_functions(node: Any) -> set[str]:
    """Names of the custom autograd functions in a graph but hsac's own, which have all derivatives."""
    found, seen, waiting = set(), set(), [node]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, BackwardCFunction) and not _own(node):
            found.add(type(node).__name__.removesuffix("Backward"))
        waiting += [following for following, _ in node.next_functions]
    return found


def _own(node: Any) -> bool:
    return node._forward_cls.__module__.startswith("hsac.")


def _moved(value: Any, device: torch.device) -> Any:
    """The nested state with its tensors on a device."""
    if isinstance(value, dict):
        return {k: _moved(v, device) for k, v in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
