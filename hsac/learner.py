"""Sharpness-aware curvature learning for a training loop of your own.

    model = ...                                # with hsac.Curvature modules in it
    optimizer = torch.optim.SGD(hsac.weights(model), lr=0.1)
    learner = hsac.CurvatureLearner(model, optimizer, loss, radius=0.05)
    for batch, other, third in ...:            # three independent batches
        train(batch)                           # a step of the optimizer, as ever
        learner.step(batch, other, third)      # moves the curvatures when it is due

`examples/own_loop.py` is complete.
"""

import gc
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hsac import imports
from hsac.ball import Curvature
from hsac.batches import halves
from hsac.errors import InputError
from hsac.hypergradient import Loss
from hsac.hypergradient.ranks import agreed, any_of, mean_over_ranks, same_on_ranks
from hsac.interrupts import Deferred
from hsac.learner_checks import (
    check_curvatures,
    check_ranks,
    check_same,
    check_scalar,
    check_second_derivatives,
    check_state,
    check_used,
    check_weight,
    explained,
)
from hsac.parts import build, nearest, require
from hsac.rules.curvature.hsac import Hsac, Samples
from hsac.rules.types import State
from hsac.sharpness import WITH_ADVERSARY

with imports.quiet():
    import geoopt

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
TWO_LEARNERS = (
    "hsac.CurvatureLearner: this model's curvatures have another learner that is still there; each"
    " moves them in steps of its own; delete the one that is not meant"
)
# What the paper may have meant, each a rule of the benchmark.
READINGS = (
    *("literal", "range", "replay", "meta", "mixed", "sam"),
    *("curvature_scope", "joint_scope", "mean"),
)
# Of torch's optimizers with decoupled weight decay, as in AdamW, those whose groups do not say so.
DECOUPLED = tuple(getattr(torch.optim, x) for x in ("Adafactor", "Muon") if hasattr(torch.optim, x))
# Stands for a batch that was left out. It is not None, which can be a batch: that of a loss which
# always takes the whole training set.
_NOT_GIVEN: Any = object()
F64 = torch.float64


def _curvatures(model: nn.Module) -> dict[str, Curvature]:
    """Return name of θ -> module, one for each θ, however many modules or names share it."""
    found: dict[int, tuple[str, Curvature]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Curvature):
            # By the identity of θ: modules that share one are one variable, and it moves once.
            found.setdefault(id(module.theta), (f"{name}.theta".lstrip("."), module))
    return dict(found.values())


def weights(model: nn.Module) -> list[nn.Parameter]:
    """List the parameters of a model that its optimizer is for: all but the curvatures.

    Args:
        model: any module with `hsac.Curvature` submodules.

    Returns:
        Parameters, frozen ones included.
    """
    thetas = {id(module.theta) for module in _curvatures(model).values()}
    return [p for p in model.parameters() if id(p) not in thetas]


@dataclass(frozen=True)
class _Sample:
    """What one level, or the adversary, sees.

    Attributes:
        batch: what the loss is called with.
        stream: which stream of random numbers its loss takes. Dropout masks are part of a sample.
        half_of: the batch that the learner halved for it. None where the caller gave the sample.
    """

    batch: Any
    stream: int
    half_of: Any = None


class CurvatureLearner:
    """A mover of a model's curvatures, to where its loss landscape is flat, beside any optimizer.

    Call `step(batch, other, third)` after every step of the optimizer, with three independent
    batches. Every `period` calls after the first `warm_up` it takes one outer step of
    `hsac.rules.curvature.hsac.Hsac`, the rule of the benchmark (Fan et al., IJCV 2025,
    doi:10.1007/s11263-025-02567-4). The upper level is on `batch`, the lower level on `other`, and
    the adversary is found on `third`. Given `step(batch, other)`, it halves `batch` for the upper
    level and the adversary. Given `step(batch)`, it halves it for the two levels, and then the
    upper level's half again. `step(batch, batch)` is for the whole training set.

    What an outer step leaves as it was: buffers (BatchNorm's statistics) and torch's random number
    stream (dropout). All evaluations on one sample in an outer step see the same random numbers,
    those on different samples different ones. Other randomness inside `loss` differs between
    evaluations. A frozen curvature (`requires_grad_(False)`) stays where it is. Signals such as
    Ctrl-C wait until the model's tensors are back in their places.

    For as long as a learner lives, its curvatures get no gradient of the weights' loss. So they do
    not count where all gradients of a model are scaled, clipped or measured. In
    DistributedDataParallel, which needs a gradient of all parameters, theirs is 0. All ranks move
    them by the mean of their losses. To shard the weights over the ranks (FSDP) is not supported.

    Weights are vectors, except for geoopt's manifold parameters: these are perturbed along a
    retraction at where they are, and differentiated in its coordinates. Points on a ball whose c is
    learned are not kept inside as c grows. Give them as tangent vectors at the origin.

    The loss needs true second derivatives. A compiled model, gradient checkpointing and cuDNN's
    recurrent layers have none. Of a compiled model, use the module that was compiled: it shares the
    parameters. A custom autograd function that lacks them is warned about.

    Args:
        model: any module with `hsac.Curvature` submodules (one scalar curvature each).
        optimizer: the weights' torch or geoopt optimizer. Its parameters that require a gradient
            are the lower level's variables. Its `weight_decay` is part of the lower level's
            objective, except where it is decoupled, as in AdamW: then it is the gradient of no
            objective. Curvatures must not be in it (`hsac.weights`).
        loss: batch -> scalar loss of the model, a mean over the batch without weight decay. It may
            autocast. It best calls the module itself, not its wrapper for several processes.
        reading: what the paper may have meant, as the benchmark's rule `hsac_<reading>` has it:
            literal, range, replay, meta, mixed, sam, curvature_scope, joint_scope or mean. It sets
            other defaults. For meta, `batch` and `third` are batches of a clean, class-balanced
            set. Left out, it is the benchmark's rule `hsac`.
        warm_up: calls before the first outer step.
        seed: of the Gaussian draws of the objective `mean`.
        ranks: with torch.distributed, the processes that train this model together: all, own (each
            trains a model of its own), or a process group. Their curvatures follow one loss, the
            mean of their losses, and so stay the same. Each calls `step` as often as the others,
            with batches of its own.
        parameters: of the rule: objective, mixing, over, scope, live, radius, per_layer,
            ascent_steps, warm_start, samples, replay, lower_radius, solver ({"name": "neumann",
            "terms": 3}), period, step, bounds_relative (to `Curvature.start`), clip, ratio.

    Raises:
        InputError: The model has no curvature, the optimizer holds one, or a parameter is not
            allowed.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Callable[[Any], Tensor],
        *,
        reading: str | None = None,
        warm_up: int = 0,
        seed: int = 0,
        ranks: "str | dist.ProcessGroup" = "all",
        **parameters: Any,
    ) -> None:
        """Check the parameters and the model; nothing is computed yet."""
        self.rule, self.reading = _rule(reading, parameters), reading
        _check_for_library(self.rule)
        for name, value in (("warm_up", warm_up), ("seed", seed)):
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            require(whole, f"CurvatureLearner.{name}", value, "an integer from 0")
        self.model, self.optimizer, self.loss, self.warm_up = model, optimizer, loss, warm_up
        self.curvatures = _curvatures(model)
        check_curvatures(self.curvatures)
        self.count = 0
        self.state = self.rule.init(self._theta())
        self.generator = torch.Generator().manual_seed(seed)
        self._called = _Called(model, loss)
        # It also refuses a wrong optimizer now, not at the first outer step.
        self._names = list(self._weights())
        self._checked = False
        self._used: set[str] = set()
        self._warned: set[str] = set()
        check_ranks(model, ranks)
        self.ranks = ranks
        self._signals = Deferred()
        # All modules of a θ, which can be in several.
        self._held = [module for module in model.modules() if isinstance(module, Curvature)]
        self._hold()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Hold the curvatures of a copy, too."""
        self.__dict__.update(state)
        self._hold()

    def _hold(self) -> None:
        """Keep the weights' backward passes from the curvatures for as long as the learner lives.

        Their gradients would pile up in no optimizer. A GradScaler would leave them scaled, and
        they would count in the norm that all gradients are clipped by.
        """
        for module in self._held:
            module.learners += 1
        weakref.finalize(self, _release, self._held).atexit = False

    @property
    def due(self) -> bool:
        """Whether the next `step` takes an outer step, and so needs its batches.

        The solver `amortised` also works between outer steps, and needs a batch for the lower level
        at every step.
        """
        return self.count + 1 > self.warm_up and (self.count + 1) % self.rule.period == 0

    def step(self, batch: Any, other: Any = _NOT_GIVEN, third: Any = _NOT_GIVEN) -> dict[str, Any]:
        """Count one training step, and take an outer one when it is due.

        Each level needs a sample of its own (Ghadimi and Wang 2018, arXiv:1802.02246; Ji, Yang and
        Liang, ICML 2021, stocBiO). The implicit term of the hypergradient is a product of a factor
        of the upper level with one of the lower level. On one sample of B examples for both, its
        mean is not the product of their means. Without a scope and with the identity for H⁻¹ it is
        off by (1/2B)·∂θ tr Cov(∇ℓ), where ∇ℓ is an example's gradient in the weights: c is pulled
        to where the examples' gradients differ most, also where that raises the loss. The adversary
        of the objectives `worst`, `gap` and `range` needs a third sample: it does more harm on the
        one it was found on than elsewhere.

        Args:
            batch: for the upper level, the plain loss and its scope. Best a fresh one, not the one
                just trained on.
            other: for the lower level, the training objective, weight decay included. It must be
                drawn independently of `batch`. Left out, `batch` is split in two halves by
                `hsac.batches.halves`: its even rows are for the upper level, its odd rows for the
                lower level. The first dimension of every tensor in it must run over the examples,
                and these must be independent. One that cannot be split, or not into halves of at
                least four rows, is used for both levels, with one warning a learner. Give the same
                object twice, `step(graph, graph)`, where it is the whole training set: nothing is
                sampled then, so nothing is biased.
            third: to find the adversary on, independent of the others. Left out, it is found on the
                even rows of the upper level's sample, and the objective is taken on the odd rows.
                The same must hold of the sample's tensors. Where it cannot be split, or not into
                halves of at least four rows, both are on all of it, with one warning a learner.

        Returns:
            {} when idle, which costs nothing. Else the objective's `value` on the upper level's
            sample, `hypergradient` and `curvature` by name of θ, the solve's relative `residual`,
            `fallback` (the implicit term was left out) and `products` (Hessian-vector products
            spent).

        Raises:
            InputError: The loss is no scalar, or it takes a batch but not its halves, or inference
                mode is on.
        """
        # The enable_grad below cannot lift this mode, in which autograd records nothing.
        if torch.is_inference_mode_enabled():
            raise InputError(
                "CurvatureLearner.step: found inference mode; allowed is outside of it"
            )
        # Before counting: `due` is about the call to come.
        due = self.due
        if due and self._is_shared():
            self._warn(TWO_LEARNERS, stacklevel=3)
        self.count += 1
        for module in self.curvatures.values():
            # DistributedDataParallel leaves a 0 there, and a loss can use θ itself.
            module.theta.grad = None
        if not due and not self.rule.tracks(self.state):
            return {}
        group = self._group()
        with agreed(group, self._theta().device):
            check_same(_curvatures(self.model), self.curvatures)
            found = self._weights()
        if list(found) != self._names:
            # A layer was frozen or added: what was carried over is of other weights.
            self.state = self._without_vectors()
            self._names = list(found)
        # The rule moves a bundle of runs, one a row. Here is one row.
        theta, w = self._theta(), torch.cat([p.detach().flatten() for p in found.values()])[None]
        self._check_copies(group, w, theta)
        with (
            # A signal's handler can raise, such as that of Ctrl-C, and θ, the rule's state, the
            # model's tensors and torch's settings must not be left halfway.
            self._signals,
            explained(),
            # A loop may call under no_grad.
            torch.enable_grad(),
            torch.autograd.graph.disable_saved_tensors_hooks(NO_HOOKS),
            _no_reentrant_checkpoints(),
            sdpa_kernel(SDPBackend.MATH),  # the faster kernels have no second derivatives
        ):
            if not due:
                with agreed(group, w.device):
                    _, lower = self._levels(batch, other)
                tracked = self._objective(found, lower, decay=True)
                self.state = self.rule.between(theta, self.state, w, lambda: tracked)
                return {}
            with agreed(group, w.device):
                upper, lower, adversary = self._samples(batch, other, third)
            # Once only, as it costs a gradient or two, and anew where one is no longer frozen.
            movable = {name for name, x in self.curvatures.items() if x.theta.requires_grad}
            if not movable <= self._used:
                self._check_used(found, (lower, upper), w, theta)
            samples = Samples(
                upper=self._objective(found, upper, decay=False),
                lower=self._objective(found, lower, decay=True),
                adversary=self._objective(found, adversary, decay=False),
                plain_lower=self._objective(found, lower, decay=False),
            )
            # Likewise: with custom functions it costs a Hessian product and three gradients.
            if not self._checked:
                check_second_derivatives(samples.lower, w, theta)
                self._checked = True

            def normal() -> Tensor:
                # On the CPU in float64, so that the draws depend on neither device nor type of w.
                return torch.randn(w.shape, generator=self.generator, dtype=torch.float64).to(w)

            sizes = [p.numel() for p in found.values()]
            theta, self.state, log = self.rule.outer(theta, self.state, w, samples, normal, sizes)
            self._move(theta[0])
        return self._report(log)

    def _group(self) -> "dist.ProcessGroup | None":
        """Return the ranks that train the model together, None where it is this one alone."""
        if self.ranks == "own" or not (dist.is_available() and dist.is_initialized()):
            return None
        group = dist.group.WORLD if isinstance(self.ranks, str) else self.ranks
        return group if dist.get_world_size(group) > 1 else None

    def _check_copies(self, group: "dist.ProcessGroup | None", w: Tensor, theta: Tensor) -> None:
        """Raise InputError, on all ranks, where they do not hold one model and one learner."""
        if group is None:
            return
        sizes = [torch.linalg.vector_norm(x, dtype=F64) for x in (w, theta, *_tensors(self.state))]
        counts = w.new_tensor([w.numel(), theta.numel()], dtype=F64)
        numbers = torch.stack([*counts, *sizes[:2], sum(sizes[2:])])
        if not same_on_ranks(numbers, group):
            raise InputError(
                "CurvatureLearner.step: found weights, curvatures or a learner's state that differ"
                " between ranks of torch.distributed; allowed are copies of one model, as"
                " DistributedDataParallel keeps them, or ranks='own' where each rank trains its own"
            )

    def _move(self, theta: Tensor) -> None:
        """Put the curvatures that are not frozen at θ, (C,)."""
        with torch.no_grad():
            for module, moved in zip(self.curvatures.values(), theta, strict=True):
                if module.theta.requires_grad:
                    # The rule knows no bounds. Those of c are its module's.
                    own = module.transform
                    near = own.within(module.start, self.rule.bounds_relative).bounds
                    module.theta.copy_(moved.clamp(own.inverse(near[0]), own.inverse(near[1])))

    def _report(self, log: dict[str, Tensor]) -> dict[str, Any]:
        """Return what `step` says of an outer step, by the rule's log of its only run."""
        hypergradient = log["hypergradient"][0].tolist()
        return {
            "value": float(log["value"][0]),
            "hypergradient": dict(zip(self.curvatures, hypergradient, strict=True)),
            "curvature": {k: float(module().detach()) for k, module in self.curvatures.items()},
            "residual": float(log["residual"][0]),
            "fallback": bool(log["fallback"][0]),
            "products": int(log["products"][0]),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed learner needs beside the model's and the optimizer's own states.

        Returns:
            A mapping for `torch.save` and `load_state_dict`. It also holds what the learner was
            made with, by which another one can tell that the state is not its own.
        """
        names = list(self._weights())
        kept = self.state if names == self._names else self._without_vectors()
        return {
            "count": self.count,
            "rule": kept,
            "generator": self.generator.get_state(),
            "settings": self._settings(names),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`, on whatever device the model is now.

        Args:
            state: what `state_dict` returned.

        Raises:
            InputError: The state is not whole, or it is of another model, of another optimizer or
                of a learner with other parameters. The learner is then as it was.
        """
        size = sum(p.numel() for p in self._weights().values())
        carried = self.rule.scope_objective.carried_size(size, len(self.curvatures))
        check_state(state, self.state_dict(), self.rule.init(self._theta()), carried)
        self.count = state["count"]
        self.state = _moved(state["rule"], self._theta().device)
        # A `torch.load` to a GPU moves this state, too, but the generator takes it only on the CPU.
        self.generator.set_state(state["generator"].cpu())

    def _without_vectors(self) -> State:
        """Return the rule's state without what is over the weights."""
        none = dict.fromkeys(("adversary", "iterates"))
        return self.state | {key: none[key] for key in none if key in self.state} | {"solver": {}}

    def _settings(self, names: list[str]) -> dict[str, Any]:
        """Return what gives the state its meaning.

        What is carried over is in θ, and over the weights in their order. It was found with the
        rule's parameters.
        """
        named = dict(self.model.named_parameters())
        transforms = {name: module.transform for name, module in self.curvatures.items()}
        rule = {field.name: getattr(self.rule, field.name) for field in fields(self.rule)}
        return rule | {
            "curvatures": list(self.curvatures),
            "transforms": {name: transform.kind for name, transform in transforms.items()},
            "bounds": {name: list(transform.bounds) for name, transform in transforms.items()},
            "weights": names,
            "shapes": [list(named[name].shape) for name in names],
            "solver": repr(self.rule.linear_solver),
            "warm_up": self.warm_up,
        }

    def _levels(self, batch: Any, other: Any) -> tuple[_Sample, _Sample]:
        """Return the samples of the two levels, the same one where `batch` cannot be split."""
        if other is not _NOT_GIVEN:
            return _Sample(batch, 0), _Sample(other, 1)
        if self.reading == "meta":
            raise InputError(
                "CurvatureLearner.step: found one batch with reading='meta', whose lower level is"
                " not on the meta set; allowed are step(meta, other) and step(meta, other, meta)"
            )
        split = halves(batch, LEAST_ROWS)
        if split is None:
            return _Sample(batch, 0), _Sample(batch, 1)
        return _Sample(split[0], 0, batch), _Sample(split[1], 1, batch)

    def _samples(self, batch: Any, other: Any, third: Any) -> tuple[_Sample, _Sample, _Sample]:
        """Return the samples of the upper level, the lower level and the adversary."""
        upper, lower = self._levels(batch, other)
        climbs = self.rule.objective in WITH_ADVERSARY
        if other is _NOT_GIVEN and lower.batch is batch:
            alone = climbs and third is _NOT_GIVEN
            seen = "both levels and the adversary" if alone else "both levels"
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

    def _is_shared(self) -> bool:
        """Tell whether another learner moves one of the curvatures."""
        if TWO_LEARNERS in self._warned or not any(m.learners > 1 for m in self._held):
            return False
        # One that nobody holds lives on where its loss refers to it, as a method of its owner does.
        gc.collect()
        return any(module.learners > 1 for module in self._held)

    def _warn(self, text: str, stacklevel: int = 4) -> None:
        """Warn once a learner of each thing, at the line that called `step`."""
        if text not in self._warned:
            warnings.warn(text, stacklevel=stacklevel)
            self._warned.add(text)

    def _theta(self) -> Tensor:
        """Return θ of every curvature, (1, C)."""
        return torch.stack([module.theta.detach() for module in self.curvatures.values()])[None]

    def _weights(self) -> dict[str, nn.Parameter]:
        """Return the optimizer's parameters that require a gradient, by name.

        Raises:
            InputError: The optimizer holds a parameter that it must not, or none at all.
        """
        names = {id(p): name for name, p in self.model.named_parameters()}
        thetas = {id(module.theta) for module in self.curvatures.values()}
        found: dict[str, nn.Parameter] = {}
        for p in (p for group in self.optimizer.param_groups for p in group["params"]):
            if id(p) in thetas:
                line = f"found the curvature {names[id(p)]!r}; allowed are hsac.weights(model)"
                raise InputError(f"optimizer: {line}")
            if id(p) not in names:
                line = f"found a parameter of shape {tuple(p.shape)} that is not the model's"
                raise InputError(f"optimizer: {line}")
            check_weight(names[id(p)], p)
            if p.requires_grad:
                found[names[id(p)]] = p
        if not found:
            line = "found no parameter that requires a gradient; allowed is one or more"
            raise InputError(f"optimizer: {line}")
        return found

    def _check_used(
        self, found: dict[str, nn.Parameter], samples: Iterable[_Sample], w: Tensor, theta: Tensor
    ) -> None:
        """Raise InputError where a curvature that can move enters the loss on no sample of a rank.

        Its hypergradient would be 0 for ever, and nothing else would tell.
        """
        group = self._group()
        used = [not module.theta.requires_grad for module in self.curvatures.values()]
        for sample in samples:
            if not all(used):
                with agreed(group, w.device):
                    leaves = [x.detach().requires_grad_() for x in (w, *theta[0])]
                    value = self._loss_at(found, sample, decay=False)(leaves[0], leaves[1:])
                    needed = _needed(value, leaves)[1:]
                # A batch can leave out what another rank's batch needs.
                needed = needed if group is None else any_of(needed, group, w.device)
                used = [a or b for a, b in zip(used, needed, strict=True)]
        check_used([name for name, has in zip(self.curvatures, used, strict=True) if not has])
        self._used |= {name for name, x in self.curvatures.items() if x.theta.requires_grad}

    def _objective(self, found: dict[str, nn.Parameter], sample: _Sample, decay: bool) -> Loss:
        """Return a function of w (1, P) and θ (1, C): the mean loss of the ranks, (1,)."""
        at, group = self._loss_at(found, sample, decay), self._group()

        def objective(w: Tensor, theta: Tensor) -> Tensor:
            return at(w, theta[0])

        return objective if group is None else mean_over_ranks(objective, group)

    def _loss_at(
        self, found: dict[str, nn.Parameter], sample: _Sample, decay: bool
    ) -> Callable[[Tensor, Iterable[Tensor]], Tensor]:
        """Return a function of w (1, P) and of each θ (): the loss on the sample, (1,).

        Args:
            found: the weights by name; w holds their entries in this order.
            sample: what the loss is computed on.
            decay: whether the optimizer's weight decay is added.
        """
        devices = list({p.device for p in found.values() if p.device.type == "cuda"})
        slots = list(_slots(self.model))

        def loss_at(w: Tensor, each: Iterable[Tensor]) -> Tensor:
            pieces = w[0].split([p.numel() for p in found.values()])
            points = {
                # Weights of several types were promoted to one when they became w.
                id(p): _point(p, piece.view(p.shape).to(p.dtype))
                for p, piece in zip(found.values(), pieces, strict=True)
            }
            moved = zip(self.curvatures.values(), each, strict=True)
            # A frozen one has no part in the hypergradient, whose length is bounded.
            thetas = {
                id(module.theta): value if module.theta.requires_grad else value.detach()
                for module, value in moved
            }
            # BatchNorm updates its statistics in place. It gets copies, and the model's own stay.
            buffers = {id(b): b.clone() for b in self.model.buffers()}
            swapped = points | thetas | buffers
            # A tied tensor has several places, and all of them take the same piece of w.
            given = {name: swapped[id(value)] for name, value in slots if id(value) in swapped}

            def called(batch: Any) -> Any:
                # All evaluations on a sample see the same numbers, and the caller's stream stays.
                with torch.random.fork_rng(devices), _unbounded(self._held):
                    # One dropout mask for both levels would tie them together as one batch does.
                    _seed_apart(sample.stream, devices)
                    return torch.func.functional_call(
                        self._called, given, (batch,), tie_weights=False
                    )

            value = _of_sample(called, sample)
            self._signals.deliver()
            check_scalar(value)
            return (value + self._decay(points) if decay else value).reshape(1)

        return loss_at

    def _decay(self, points: dict[int, Tensor]) -> Tensor | float:
        """Return Σ weight decay/2·|w|², as the optimizer's groups say."""
        return sum(
            group["weight_decay"] / 2 * points[id(p)].square().sum()
            for group in self.optimizer.param_groups
            # Decoupled decay, as in AdamW, is the gradient of no objective.
            if group.get("weight_decay")
            and not group.get("decoupled_weight_decay")
            and not isinstance(self.optimizer, DECOUPLED)
            for p in group["params"]
            if id(p) in points
        )


def _rule(reading: str | None, parameters: dict[str, Any]) -> Hsac:
    """Build the rule of a reading."""
    if reading is None:
        rule: Hsac = build("curvature rule", "hsac", parameters, "CurvatureLearner")
        return rule
    if reading not in READINGS:
        allowed = nearest(str(reading), READINGS)
        raise InputError(f"CurvatureLearner.reading: found {reading!r}; {allowed}")
    # What the upper level sees is what `step` is given, also where that is a meta set.
    given = {"batch": "training"} | parameters
    rule = build("curvature rule", f"hsac_{reading}", given, "CurvatureLearner")
    return rule


def _check_for_library(rule: Hsac) -> None:
    """Raise InputError for a parameter that only the suite's own training loop can obey."""
    whose = "training; the batch is what `step` is given, held out or not"
    unknown = "False; how long training is, it cannot know"
    shares = "none; `step(batch, batch, batch)` shares"
    size = "1; a sample is as large as the batch `step` is given"
    require(rule.batch == "training", "CurvatureLearner.batch", rule.batch, whose)
    require(not rule.anneal, "CurvatureLearner.anneal", True, unknown)
    require(rule.shared == "none", "CurvatureLearner.shared", rule.shared, shares)
    require(rule.batch_factor == 1, "CurvatureLearner.batch_factor", rule.batch_factor, size)


def _needed(value: Tensor, leaves: list[Tensor]) -> list[bool]:
    """Return which tensors a value depends on."""
    if not value.requires_grad:
        return [False] * len(leaves)
    gradients = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    return [gradient is not None for gradient in gradients]


def _release(held: list[Curvature]) -> None:
    for module in held:
        module.learners -= 1


def _slots(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield each place of a parameter or buffer in `_Called`, by its dotted name, and its tensor.

    A module that is reached by two ways comes once, so that each place is swapped once.
    """
    for name, module in model.named_modules():
        for own in (module._parameters, module._buffers):
            for key, value in own.items():
                if value is not None:
                    yield f"model.{name}.{key}".replace("..", "."), value


class _Called(nn.Module):
    """A loss as a module that holds the model, so that `functional_call` can swap its tensors."""

    def __init__(self, model: nn.Module, loss: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.call = (loss,)  # in a tuple: a loss that is a module itself is no part of the tree

    def forward(self, batch: Any) -> Tensor:
        return self.call[0](batch)


@contextmanager
def _unbounded(held: list[Curvature]) -> Iterator[None]:
    """Let θ beyond the bounds count as it is, as a scope over c looks there."""
    try:
        for module in held:
            module.unbounded = True
        yield
    finally:
        for module in held:
            module.unbounded = False


@contextmanager
def _no_reentrant_checkpoints() -> Iterator[None]:
    """Refuse the kind of gradient checkpointing that saves nothing which hooks would see.

    It runs the forward pass without gradients. Weights of a block whose input needs none would have
    no gradient, and no error would say so.
    """
    module, own = torch.utils.checkpoint, threading.get_ident()
    original = module.CheckpointFunction

    def apply(*args: Any) -> Any:
        if threading.get_ident() == own:
            raise RuntimeError(NO_HOOKS)
        return original.apply(*args)

    try:
        module.CheckpointFunction = SimpleNamespace(apply=apply)  # type: ignore[assignment,misc]
        yield
    finally:
        module.CheckpointFunction = original  # type: ignore[misc]


def _seed_apart(stream: int, devices: list[torch.device]) -> None:
    """Take torch's random numbers from another stream, set by where the present one is.

    Args:
        stream: number of the stream. 0 is the present one.
        devices: GPUs whose streams are set too.
    """
    if stream == 0:
        return
    seed = int(torch.randint(2**62, ())) + stream
    generators = [torch.cuda.default_generators[device.index or 0] for device in devices]
    for generator in (torch.random.default_generator, *generators):
        generator.manual_seed(seed)


def _of_sample(loss: Callable[[Any], Any], sample: _Sample) -> Any:
    """Compute the loss on a sample.

    Raises:
        InputError: The loss takes the batch that the learner halved, but no half.
    """
    try:
        return loss(sample.batch)
    except Exception as error:
        # The whole batch is tried with gradients, too: what forbids them, such as gradient
        # checkpointing, is no fault of the halves.
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
    """Return the parameter at coordinates x: x, or on a manifold the retraction at p of x - p."""
    manifold = getattr(p, "manifold", None)
    if manifold is None:
        return x
    here = p.detach().as_subclass(Tensor)
    # EuclideanStiefel's retraction works in place, which autograd does not take
    move = manifold.expmap if isinstance(manifold, geoopt.EuclideanStiefel) else manifold.retr
    # Only the tangent part: directions off the manifold change no loss on it.
    point = move(here, manifold.proju(here, x - here)).as_subclass(geoopt.ManifoldTensor)
    point.manifold = manifold  # code that asks the parameter for its manifold finds it
    return point


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors of a nested state."""
    if isinstance(value, dict):
        return [tensor for inner in value.values() for tensor in _tensors(inner)]
    return [value] if isinstance(value, Tensor) else []


def _moved(value: Any, device: torch.device) -> Any:
    """Return the nested state with its tensors on a device."""
    if isinstance(value, dict):
        return {k: _moved(v, device) for k, v in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
