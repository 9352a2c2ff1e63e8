"""From a cell to what trains it: task, model, rules, schedule and start weights."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hsac import parts
from hsac.ball import Transform
from hsac.errors import InputError
from hsac.models.types import WithDropout
from hsac.rules.types import WeightRule
from hsac.study.part import Part
from hsac.train.ensemble import Ensemble
from hsac.train.loop import Prepared, Schedule
from hsac.train.tasks.episodes import EpisodeTask
from hsac.train.tasks.graphs import NodeTask
from hsac.train.tasks.images import ImageTask
from hsac.train.tasks.types import Arrays

if TYPE_CHECKING:  # what a configuration may be is no part of what is computed from one
    from hsac.data.stored_variant import StoredVariant
    from hsac.study.cell import Cell, Configuration

Sizes = dict[str, Any]  # model fields that the data determine


@dataclass(frozen=True)
class Inputs:
    """All that a training is a function of, but for its seeds.

    Attributes:
        cell: The cell, with its configuration.
        variant: The variant of the dataset: rows, labels or episodes.
        arrays: The dataset's arrays by name.
        device: Where to train.
    """

    cell: "Cell"
    variant: "StoredVariant"
    arrays: Arrays
    device: torch.device


def prepare(inputs: Inputs, seeds: Sequence[int]) -> Prepared:
    """Build what trains the seeds of a cell, in deterministic mode.

    Args:
        inputs: Cell, variant, arrays and device.
        seeds: The seeds of the R runs.

    Returns:
        What `hsac.train.loop.train` takes. Each call starts the streams of random numbers anew.

    Raises:
        InputError: The configuration names a part, parameter or value that cannot be built here.
    """
    _determine()
    config, curvature = inputs.cell.config, inputs.cell.config.curvature
    curvature_rule = _built("curvature rule", config.curvature_rule)
    name = config.model.name
    # Read from the class: the task needs it before the model, which in turn needs the task's sizes.
    dtype = parts.part("model", name).dtype
    task, sizes = build_task(inputs, seeds, torch.zeros((), dtype=dtype, device=inputs.device))
    chosen = {k: v for k, v in config.model.dump().items() if k != "name"}
    space = curvature_rule.geometry
    model = parts.build("model", name, chosen, "model", space=space, **sizes)
    # The task draws the masks, so that a pass is a pure function of weights and batch.
    if isinstance(task, NodeTask) and isinstance(model, WithDropout) and model.dropout:
        task.drop(model.dropout, model.hidden)
    transform = None
    if space == "hyperbolic":
        # Only some rules bound c relative to its start.
        factor = getattr(curvature_rule, "bounds_relative", math.inf)
        transform = _transform(inputs.cell, model).within(curvature.start, factor)
    ensemble, w = Ensemble.start(model, seeds, inputs.device)
    columns = len(model.curvature_names)
    if curvature.sharing != "per_layer":
        # A model without a curvature has no column to share.
        columns = min(1, columns)
    # In flat space θ moves nothing: the curvature is 0 whatever θ is.
    start = 0.0 if transform is None else transform.inverse(curvature.start)
    return Prepared(
        task=task,
        model=model,
        ensemble=ensemble,
        weight_rule=_weight_rule(config.weight_rule, ensemble),
        curvature_rule=curvature_rule,
        transform=transform,
        schedule=_schedule(config),
        w=w,
        theta=torch.full((len(seeds), columns), start, dtype=dtype, device=inputs.device),
    )


def _determine() -> None:
    """Make torch deterministic."""
    # cuBLAS is deterministic only with a fixed workspace.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32, as records say
    # Sums depend on the number of threads, which is the workflow's to say.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def _transform(cell: "Cell", model: Any) -> Transform:
    """Return the map from θ to the curvatures of a model that has some."""
    given = cell.config
    if not model.curvature_names:
        with_head = " with this head" if given.model.head else ""
        raise InputError(
            f"experiments.{cell.experiment}.methods: found {cell.method!r};"
            f" {given.model.name}{with_head} has no curvature, allowed is curvature rule euclidean"
        )
    low, high = given.curvature.bounds
    return Transform(given.curvature.transform, (low, high))


def _built(family: str, given: Part, **filled: Any) -> Any:
    return parts.build(family, given.name, dict(given.parameters), **filled)


def _weight_rule(given: Part, ensemble: Ensemble) -> WeightRule:
    filled: dict[str, Any] = {}
    if "points" in parts.filled("weight rule", given.name):
        filled["points"] = ensemble.points
    rule: WeightRule = _built("weight rule", given, **filled)
    return rule


def _schedule(config: "Configuration") -> Schedule:
    training, measure = config.training, config.measure
    return Schedule(
        epochs=training.epochs,
        weight_decay=training.weight_decay,
        kind=training.schedule,
        evaluations=training.evaluations,
        radius=measure.radius,
        ascent_steps=measure.ascent_steps,
    )


def build_task(inputs: Inputs, seeds: Sequence[int], like: Tensor) -> tuple[Any, Sizes]:
    """Build the task that a variant is for.

    Args:
        inputs: Cell, variant and arrays.
        seeds: The seeds of the R runs.
        like: A tensor of the model's dtype and device.

    Returns:
        The task, and what its data decide of the model: fields of the model by name.

    Raises:
        InputError: The loss needs training labels, and there are none, or it changes the batches of
            what are no images.
    """
    config, variant, arrays = inputs.cell.config, inputs.variant, inputs.arrays
    batch, trained = config.training.batch, config.loss
    classifies = "episodes" not in variant and "edge" not in arrays
    if not classifies and parts.marked("loss", trained.name, "images_only"):
        raise InputError(
            f"loss: found {trained.name!r}, which changes the batches; allowed where images are"
            " classified"
        )
    if "episodes" in variant:
        few_shot = EpisodeTask(arrays, variant, seeds, batch, like, trained)
        given = {"inputs": few_shot.inputs, "way": few_shot.way, "shot": few_shot.shot}
        needs = parts.filled("model", config.model.name)
        # Prototypes serve any number of classes, so not every few-shot model has a field `way`.
        return few_shot, {name: value for name, value in given.items() if name in needs}
    if "edge" in arrays:
        task: Any = NodeTask(arrays, variant, seeds, like, trained)
    else:
        augment = config.training.augment
        task = ImageTask(arrays, variant, seeds, batch, like, augment, trained)
    return task, {"inputs": task.inputs, "classes": task.classes}
