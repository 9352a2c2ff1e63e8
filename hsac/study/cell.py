"""A cell: one experiment × one method, with all that decides its result and nothing else."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hsac import parts
from hsac.files import JsonObject
from hsac.study.models import Curvature, Measure, Training, Variant
from hsac.study.part import Part


@dataclass(frozen=True)
class ModelPart:
    """The model of a cell: its name, its parameters, and its head where it takes one."""

    name: str
    parameters: Mapping[str, Any]
    head: Part | None = None

    def dump(self) -> JsonObject:
        """Return the model as records hold it."""
        head = {} if self.head is None else {"head": self.head.dump()}
        return {"name": self.name, **self.parameters, **head}


@dataclass(frozen=True)
class Trials:
    """What the search of a cell tries.

    Attributes:
        seeds: the seeds that every trial is trained on.
        points: what each trial replaces, "<kind>.<parameter>" -> value; the first replaces nothing.
    """

    seeds: list[int]
    points: list[dict[str, Any]]


@dataclass(frozen=True)
class Configuration:
    """All that decides the result of a cell.

    Attributes:
        setting: `classification`, `long_tailed`, `noisy` or `few_shot`.
        dataset: the name of the dataset.
        variant: how the dataset is cut.
        model: the model with its head.
        loss: the training loss.
        training: length and kind of training.
        weight_rule: what moves the weights.
        curvature: the parametrisation, with the method's initial curvature.
        curvature_rule: what moves the curvature.
        measure: how sharpness is measured.
        among: candidate method -> hash of its cell; only for `best_of`.
        search: the search's seeds and trials; only for a searched cell.
    """

    setting: str
    dataset: str
    variant: Variant
    model: ModelPart
    loss: Part
    training: Training
    weight_rule: Part
    curvature: Curvature
    curvature_rule: Part
    measure: Measure
    among: Mapping[str, str] | None = None
    search: Trials | None = None

    def dump(self) -> JsonObject:
        """Return the configuration as records hold it and as its hash is taken of."""
        # The hash is of these very keys, so another name for one would orphan every finished run.
        found = {
            "setting": self.setting,
            "dataset": self.dataset,
            "variant": self.variant.dump(),
            "model": self.model.dump(),
            "loss": self.loss.dump(),
            "training": self.training.dump(),
            "weights": self.weight_rule.dump(),
            "curvature": self.curvature.dump(),
            "rule": self.curvature_rule.dump(),
            "measure": self.measure.dump(),
        }
        if self.among is not None:
            found["among"] = dict(self.among)
        if self.search is not None:
            found["search"] = {"seeds": self.search.seeds, "points": self.search.points}
        return found

    def part(self, kind: str) -> Part:
        """Return the part of a kind.

        Args:
            kind: `weights`, `curvature`, `losses` or `heads`.
        """
        if kind == "heads":
            assert self.model.head is not None  # only a method with a head has a space of heads
            return self.model.head
        return {
            "weights": self.weight_rule,
            "curvature": self.curvature_rule,
            "losses": self.loss,
        }[kind]

    def at(self, point: Mapping[str, Any]) -> "Configuration":
        """Return the configuration of a trial of a search.

        Args:
            point: what the trial replaces, "<kind>.<parameter>" -> value; `base_parameters.lr`
                names a parameter within a mapping, `curvature.start` the initial curvature.
        """
        made = self
        for key, one in point.items():
            kind, _, parameter = key.partition(".")
            # The start belongs to the parametrisation. No curvature rule has such a parameter.
            if key == "curvature.start":
                curvature = made.curvature.model_copy(update={"start": one})
                made = replace(made, curvature=curvature)
            else:
                made = made._with_part(kind, _replaced(made.part(kind), parameter, one))
        return made

    def with_search(self, search: Trials) -> "Configuration":
        """Return the configuration of a cell that is trained at the point that a search chooses.

        Args:
            search: what the search tries.
        """
        return replace(self, search=search)

    def _with_part(self, kind: str, part: Part) -> "Configuration":
        if kind == "heads":
            return replace(self, model=replace(self.model, head=part))
        names = {"weights": "weight_rule", "curvature": "curvature_rule", "losses": "loss"}
        changes: dict[str, Any] = {names[kind]: part}
        return replace(self, **changes)


def _replaced(part: Part, parameter: str, value: Any) -> Part:
    *path, last = parameter.split(".")
    # The parameters are the study's own, shared by every cell of the rule.
    made = copy.deepcopy(dict(part.parameters))
    into = made
    for name in path:
        # A mapping may be absent, or None as YAML reads an empty one.
        into[name] = into.get(name) or {}
        into = into[name]
    into[last] = value
    return Part(part.name, made)


@dataclass(frozen=True)
class Cell:
    """One experiment × one method.

    Attributes:
        experiment: the name of the experiment.
        method: the name of the method.
        config: all that decides the result.
        hash: the digest of `config`; a changed configuration is another cell.
        point: the number of the trial that a search tries, None for a cell that is none.
    """

    experiment: str
    method: str
    config: Configuration
    hash: str
    point: int | None = None

    @property
    def searched(self) -> bool:
        """Whether the cell is trained at the point that a search chooses."""
        return self.config.search is not None

    @property
    def derived(self) -> bool:
        """Whether the cell's runs are chosen among other cells' runs."""
        return self._marked("derived")

    @property
    def trains_once(self) -> bool:
        """Whether a run of the cell is one training."""
        return not self.derived and not self._marked("searches")

    def _marked(self, mark: str) -> bool:
        return parts.marked("curvature rule", self.config.curvature_rule.name, mark)
