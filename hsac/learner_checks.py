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

# How torch begins to tell of what has no second derivatives, or none that are dense, and what to
# do about it.
REMEDIES = {
    "sparse": "the model has sparse gradients; allowed are dense ones, as of Embedding with"
    " sparse=False",
    "aot_autograd": "the model is compiled; allowed is the module that was compiled, which shares"
    " its parameters, because compiled code has no second derivatives",
    "donated": "the model is compiled; allowed is the module that was compiled, which shares its"
    " parameters, because compiled code has no second derivatives",
}


@contextmanager
def explained() -> Iterator[None]:
    """Say what to do where torch refuses a derivative.

    Raises:
        InputError: The work has failed in one of the ways of `REMEDIES`.
    """
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        said = str(error)
        for word, remedy in REMEDIES.items():
            if word in said and not isinstance(error, InputError):
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
            " functions. float(c), c.item() and c.detach() cut it off. A curvature that is to stay"
            " where it is can be frozen by requires_grad_(False)"
        )


def check_state(state: Any, own: dict[str, Any], rule: dict[str, Any]) -> None:
    """Check that a learner can go on from a state.

    Args:
        state: What it is given.
        own: Its own `state_dict`.
        rule: The state of its rule at the start, for its keys.

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
    whole = isinstance(count, int) and not isinstance(count, bool) and count >= 0
    require(whole, "state_dict: count", count, "an integer from 0")
    _check_adam(state["rule"]["adam"], rule["adam"])
    adversary, size = state["rule"]["adversary"], sum(map(math.prod, own["settings"]["shapes"]))
    if adversary is not None and getattr(adversary, "shape", None) != (1, size):
        found = getattr(adversary, "shape", adversary)
        allowed = f"allowed is a tensor (1, {size})"
        raise InputError(f"state_dict: rule.adversary: found {found}; {allowed}")
    generator, wanted = state["generator"], own["generator"]
    if not (isinstance(generator, Tensor) and generator.shape == wanted.shape):
        raise InputError("state_dict: generator: found no state of torch's random number generator")


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
        if not fits or not adam[key].isfinite().all():
            line = f"allowed are {value.numel()} finite numbers, one a curvature"
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
