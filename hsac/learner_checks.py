"""What `hsac.CurvatureLearner` asks of a model, an optimizer and a loss."""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from hsac.ball import Curvature
from hsac.errors import InputError
from hsac.hypergradient import HessianOperator, Loss
from hsac.hypergradient.operator import norm
from hsac.parts import require

COMPILED = (
    "the model is compiled; allowed is the module that was compiled, which shares its parameters,"
    " because compiled code has no second derivatives"
)
# What torch says where derivatives are sparse, or where there are no second ones, and what to do.
REMEDIES = {
    "is not implemented for sparse tensors": "the model has sparse gradients; allowed are dense"
    " ones, as of Embedding with sparse=False",
    "torch.compile with aot_autograd does not currently support double backward": COMPILED,
    "donated buffer": COMPILED,
}


@contextmanager
def explained() -> Iterator[None]:
    """Say what to do where torch refuses a derivative.

    Raises:
        InputError: The work has failed in one of the ways of `REMEDIES`.
    """
    try:
        yield
    except RuntimeError as error:
        for words, remedy in REMEDIES.items():
            if words in str(error):
                raise InputError(f"CurvatureLearner.step: {remedy}") from error
        raise


def check_curvatures(curvatures: dict[str, Curvature]) -> None:
    """Check that there are curvatures to move, and that they have values.

    Args:
        curvatures: The curvatures by the name of θ.

    Raises:
        InputError: See above.
    """
    if not curvatures:
        allowed = "allowed is a module with one or more"
        raise InputError(f"model: found no hsac.Curvature in it; {allowed}")
    for name, module in curvatures.items():
        _check_values(name, module.theta)


def check_same(now: dict[str, Curvature], held: dict[str, Curvature]) -> None:
    """Check that a model still has the curvatures that its learner moves.

    Args:
        now: The model's curvatures by the name of θ.
        held: Those of the learner.

    Raises:
        InputError: A module was replaced, added or taken away.
    """
    thetas = [{name: id(module.theta) for name, module in some.items()} for some in (now, held)]
    if thetas[0] != thetas[1]:
        raise InputError(
            f"model: found other curvatures ({', '.join(now) or 'none'}) than when this learner was"
            f" made ({', '.join(held)}); allowed is a new learner for them"
        )


def check_weight(name: str, p: nn.Parameter) -> None:
    """Check that a parameter is a tensor with values.

    Args:
        name: Its name in the model.
        p: The parameter.

    Raises:
        InputError: It is on the device meta, or no tensor of torch or geoopt, as HypLL's are.
    """
    if not _is_plain(p):
        kind = f"{type(p).__module__}.{type(p).__name__}"
        allowed = "allowed are the parameters of torch and geoopt, which torch's functions take"
        raise InputError(f"optimizer: found {name!r} of type {kind}; {allowed}")
    _check_values(name, p)


def _is_plain(p: nn.Parameter) -> bool:
    try:
        return isinstance(p.detach(), Tensor)
    except TypeError:
        return False


def _check_values(name: str, p: Tensor) -> None:
    if p.is_meta:
        allowed = "allowed is a device with values, as after `to_empty` and an initialisation"
        raise InputError(f"model: found {name!r} on the device meta; {allowed}")


def check_used(missing: list[str]) -> None:
    """Check that the loss depends on every curvature that can move.

    Args:
        missing: Those that it does not depend on.

    Raises:
        InputError: There is one, with what can be the cause.
    """
    if missing:
        raise InputError(
            f"loss: found one that does not depend on {', '.join(missing)}, which would never move;"
            " allowed is a loss that calls the hsac.Curvature of this very model in every forward"
            " pass and takes its tensor as it is. geoopt.PoincareBall copies its c: use hsac.ball's"
            " functions or Curvature.manifold(). float(c), c.item() and c.detach() cut it off. A"
            " curvature that is to stay where it is can be frozen by requires_grad_(False)"
        )


def check_state(state: Any, own: dict[str, Any], rule: dict[str, Any], carried: int) -> None:
    """Check that a learner can go on from a state.

    Args:
        state: What it is given.
        own: Its own `state_dict`.
        rule: The state of its rule at the start, for its keys.
        carried: Numbers that an adversary has.

    Raises:
        InputError: The state is not whole, or it is of another learner.
    """
    _check_keys("state_dict", state, own)
    _check_keys("state_dict: settings", state["settings"], own["settings"])
    for key, value in own["settings"].items():
        found = state["settings"][key]
        if found != value:
            allowed = f"allowed is {value}, as in this learner"
            raise InputError(f"state_dict: {key}: found {found}; {allowed}")
    _check_keys("state_dict: rule", state["rule"], rule)
    count = state["count"]
    require(_is_count(count), "state_dict: count", count, "an integer from 0")
    _check_adam(state["rule"]["adam"], rule["adam"])
    size = sum(map(math.prod, own["settings"]["shapes"]))
    if state["rule"]["adversary"] is not None:
        _check_vector("adversary", state["rule"]["adversary"], (carried,))
    iterates = state["rule"].get("iterates")
    if iterates is not None:
        several = isinstance(iterates, Tensor) and iterates.dim() == 3
        for kept in iterates.unbind(1) if several else (iterates,):
            _check_vector("iterates", kept, (size,))
    solver, tracked = state["rule"]["solver"], state["rule"]["tracked"]
    _check_keys("state_dict: rule.solver", solver, {})
    for key, kept in solver.items():
        _check_vector(f"solver.{key}", kept, (1, size))
    require(_is_count(tracked), "state_dict: rule.tracked", tracked, "an integer from 0")
    try:
        torch.Generator().set_state(state["generator"].cpu())
    except (AttributeError, RuntimeError, TypeError):
        line = "found no state of torch's random number generator"
        raise InputError(f"state_dict: generator: {line}") from None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _check_vector(key: str, value: Any, sizes: tuple[int, ...]) -> None:
    """Raise InputError for what is no (1, n) of finite numbers, with n among the sizes."""
    fits = isinstance(value, Tensor) and value.dim() == 2 and len(value) == 1
    if not (fits and value.shape[1] in sizes and value.isfinite().all()):
        found = list(value.shape) if isinstance(value, Tensor) else value
        allowed = " or ".join(f"(1, {n})" for n in dict.fromkeys(sizes))
        line = f"allowed is a tensor {allowed} of finite numbers"
        raise InputError(f"state_dict: rule.{key}: found {found}; {line}")


def _check_keys(where: str, found: Any, wanted: dict[str, Any]) -> None:
    if not isinstance(found, Mapping):
        allowed = "allowed is what `state_dict` gave"
        raise InputError(f"{where}: found {type(found).__name__}; {allowed}")
    missing = [key for key in wanted if key not in found]
    if missing:
        line = f"found no {', '.join(missing)}; allowed is all that `state_dict` gave"
        raise InputError(f"{where}: {line}")


def _check_adam(adam: Any, wanted: dict[str, Tensor]) -> None:
    _check_keys("state_dict: rule.adam", adam, wanted)
    for key, value in wanted.items():
        fits = isinstance(adam[key], Tensor) and adam[key].shape == value.shape
        least = -math.inf if key == "first" else 0.0  # a sum of squares, and a number of steps
        if not (fits and adam[key].isfinite().all() and (adam[key] >= least).all()):
            line = f"allowed are {value.numel()} finite numbers"
            line += "" if key == "first" else " from 0"
            raise InputError(f"state_dict: rule.adam.{key}: found {adam[key]}; {line}")


def check_ranks(model: nn.Module, ranks: Any) -> None:
    """Check that ranks are known, and that each has the whole model.

    Args:
        model: The model.
        ranks: The learner's `ranks`.

    Raises:
        InputError: See above.
    """
    if not (dist.is_available() and dist.is_initialized()):
        require(ranks in ("all", "own"), "CurvatureLearner.ranks", ranks, "all, own")
        return
    known = ranks in ("all", "own") or isinstance(ranks, dist.ProcessGroup)
    allowed = "all, own, or a process group that this rank is in"
    require(known, "CurvatureLearner.ranks", ranks, allowed)
    # These come with torch.distributed only, and take a while to import.
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    sharded = (FullyShardedDataParallel, DTensor)
    spread = [x for x in (*model.modules(), *model.parameters()) if isinstance(x, sharded)]
    if spread:
        raise InputError(
            f"model: found {type(spread[0]).__name__}, whose weights are spread over the ranks;"
            " allowed is a model that is whole on each rank, as in DistributedDataParallel"
        )


def check_scalar(value: Any) -> None:
    """Check that a loss gives one number.

    Args:
        value: What the loss returned.

    Raises:
        InputError: It is something else.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        return
    said = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    allowed = "allowed is a tensor with one value, the mean over the batch"
    raise InputError(f"loss: found {said}; {allowed}")


def check_second_derivatives(objective: Loss, w: Tensor, theta: Tensor) -> None:
    """Warn where a loss with custom autograd functions has a Hessian that its gradient denies.

    One Hessian-vector product along the gradient is compared with central differences.

    Args:
        objective: The loss.
        w: Weights (1, P).
        theta: Curvatures θ (1, C).
    """
    w, theta = w.detach().requires_grad_(), theta.detach().requires_grad_()
    value = objective(w, theta)
    custom = _custom_functions(value.grad_fn)
    # torch's own functions have second derivatives, and the comparison is not free.
    if not custom:
        return
    hessian = HessianOperator(objective, w, theta)
    v = hessian.gradient.detach()
    # Both ends lie a thousandth of |w| away, whatever the size of the gradient.
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
    """Return the names of the custom autograd functions in a graph, except hsac's own."""
    found, seen, waiting = set(), set(), [node]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        # hsac's own functions have all derivatives
        if isinstance(node, BackwardCFunction) and not _is_ours(node):
            found.add(type(node).__name__.removesuffix("Backward"))
        waiting += [following for following, _ in node.next_functions]
    return found


def _is_ours(node: Any) -> bool:
    return node._forward_cls.__module__.startswith("hsac.")
