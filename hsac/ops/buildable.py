"""Build the parts that a study names before anything is trained, to see that they can be built.

A configuration is read without torch, so `hsac.study` checks the names and types of parameters
only. What values a parameter may have, the class of the part says: `radius: -1` has the right type.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from hsac import parts
from hsac.data import catalogue
from hsac.errors import InputError
from hsac.files import canonical
from hsac.losses.types import Labels
from hsac.study import resolve
from hsac.study.cell import Cell, ModelPart
from hsac.study.models import Study
from hsac.study.part import Part
from hsac.study.search_space import FAMILIES

NOISE = "noise kind"
DIM = 16  # of features, where the model does not tell


@dataclass(frozen=True)
class Named:
    """A part that a study names.

    Attributes:
        key: where its parameters stand in the configuration.
        family: a key of `hsac.parts.FAMILIES`.
        part: its name and parameters.
        known: what of the data is known without them, by field of the part.
    """

    key: str
    family: str
    part: Part
    known: dict[str, Any]

    def fault(self) -> str:
        """Build the part.

        Returns:
            The error line of a part that cannot be built, else "".
        """
        needs = parts.filled(self.family, self.part.name)
        if not needs.keys() <= self.known.keys():  # only its data tell
            return ""
        filled = {name: self.known[name] for name in needs}
        try:
            parts.build(self.family, self.part.name, self.part.parameters, self.key, **filled)
        except InputError as error:
            return str(error)
        except Exception as error:  # a plugin's class may raise anything
            root, _ = parts.find(parts.FAMILIES[self.family], self.part.name)
            return f"{self.key}: building it raised {parts.exception_line(error, root)}"
        return ""


def check(study: Study) -> None:
    """Check that every part that a study names can be built.

    Args:
        study: the study, whose plugins are in use.

    Raises:
        InputError: a line for each part that cannot: its key, what was found and what is allowed.
    """
    # Experiments and seeds share their rules.
    seen, found = set(), []
    for named in _named(study):
        same = (named.family, canonical([named.part.dump(), {**named.known, "training": None}]))
        if same not in seen:
            seen.add(same)
            found.append(named.fault())
    if lines := list(dict.fromkeys(filter(None, found))):
        raise InputError("\n".join(lines))


def _named(study: Study) -> Iterator[Named]:
    for name, parameters in (study.theory.studies if study.theory else {}).items():
        yield Named(f"theory.studies.{name}", "study", Part(name, parameters or {}), {})
    for name in study.experiments:
        for cell in resolve.informed(study, name):
            yield from _of_cell(study, cell)
    # Those that train, and those of the tables, which may only choose.
    for cell in (*resolve.trained(study), *resolve.cells(study)):
        yield from _of_cell(study, cell)


def _of_cell(study: Study, cell: Cell) -> Iterator[Named]:
    known, config = _known(cell), cell.config
    if config.model.head:
        known["dim"] = _dim(config.model, known)
    for kind, name in resolve.named_rules(study, cell.experiment, cell.method).items():
        key = _key(study, cell, kind, name)
        yield Named(key, FAMILIES[kind], config.part(kind), known)
    model, key = config.model, f"experiments.{cell.experiment}"
    yield Named(f"{key}.model", "model", Part(model.name, model.parameters), known)
    recipe = config.variant.made_by()
    if config.variant.recipe == "label_noise" and "kind" in recipe:
        kind = str(recipe["kind"])
        own = {name: recipe[name] for name in parts.parameters(NOISE, kind) if name in recipe}
        yield Named(f"{key}.variant", NOISE, Part(kind, own), recipe)


def _dim(model: ModelPart, known: dict[str, Any]) -> int:
    """Return the dimension of a model's features, which its head gets."""
    try:
        filled = {name: known[name] for name in parts.filled("model", model.name)}
        built = parts.build("model", model.name, model.parameters, "model", **filled)
        dim: int = built.dim
    except Exception:  # what is wrong with the model is said of the model itself
        return DIM
    return dim


def _key(study: Study, cell: Cell, kind: str, name: str) -> str:
    """Return the key of a rule's parameters; in a trial, that of the space they are drawn in."""
    if cell.point:  # trial 0 is as configured
        owner, _ = resolve.space_of(study, cell.experiment, kind, name)
        return f"spaces.{kind}.{owner}"
    own = study.experiments[cell.experiment].rules
    if own is not None and name in (getattr(own, kind) or {}):
        return f"experiments.{cell.experiment}.rules.{kind}.{name}"
    return f"rules.{kind}.{name}"


def _known(cell: Cell) -> dict[str, Any]:
    """Return what a part may be filled in with, by field, as far as the catalogue tells it."""
    rule = cell.config.curvature_rule.name
    space = parts.constant("curvature rule", rule, "geometry") or "hyperbolic"
    found = {"points": (), "dim": DIM, "space": space, "training": Labels(torch.ones(2))}
    dataset = catalogue.entry(cell.config.dataset)
    counts, classes = dataset.counts, dataset.counts.get("classes", 2)
    found["classes"] = classes["train"] if isinstance(classes, dict) else classes
    if "features" in counts:
        found["inputs"] = counts["features"]
    elif "side" in counts:
        side = counts["side"]
        colours = (3,) if counts.get("channels") == 3 else ()
        found["inputs"] = (*colours, *(side if isinstance(side, list) else (side, side)))
    if cell.config.variant.recipe == "episodes":
        sizes = cell.config.variant.parameters
        found |= {name: sizes[name] for name in ("way", "shot") if name in sizes}
    return found
