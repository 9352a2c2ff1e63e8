"""The configuration of the study on frozen features, typed.

Features of a dataset are computed once. On them alone a head is solved at every curvature, so the
lower level is at its minimum, as the theory wants it. No torch here.
"""

from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field

from hsac.files import JsonObject
from hsac.study.fields import (
    Allowed,
    Count,
    Distinct,
    FileName,
    Model,
    Positive,
    Positives,
    SettingKey,
    Text,
)

BACKBONE = "backbone"  # the recipe of features that trained networks compute
# The recipe of `hsac.data.variants` that draws the problems of a setting.
DRAWN_BY = {
    "classification": "plain",
    "long_tailed": "long_tail",
    "noisy": "label_noise",
    "few_shot": "episodes",
}


class Curvatures(Model):
    """The curvatures at which heads are solved: log-spaced, both ends among them."""

    low: Positive = Field(description="the least curvature")
    high: Positive = Field(description="the largest curvature, above `low`")
    points: Annotated[int, Field(strict=True, ge=2), Allowed("an integer from 2")] = Field(
        description="how many curvatures, log-spaced, with both ends"
    )

    @property
    def values(self) -> list[float]:
        """The curvatures, ascending."""
        return [float(c) for c in np.geomspace(self.low, self.high, self.points)]


class Features(Model):
    """Features of a dataset: the dataset, a recipe, and the recipe's parameters."""

    # The recipe's parameters stand beside its name, and only the recipe knows them.
    model_config = ConfigDict(frozen=True, extra="allow")

    dataset: Annotated[Text, Allowed("the name of a dataset")] = Field(
        description="a name of `hsac list`"
    )
    recipe: Annotated[Text, Allowed("the name of a recipe of features")] = Field(
        description="`pixels`, `principal_components` (`components`), `backbone` (`experiment`,"
        " `method`: networks of this scale in flat space, each seed's a backbone) or `propagation`"
        " (of graphs: `hops`, `components`, `test`, the share of nodes that test)"
    )

    @property
    def parameters(self) -> dict[str, Any]:
        """The recipe's parameters."""
        return dict(self.model_extra or {})

    def made_by(self) -> JsonObject:
        """Return the recipe and its parameters, without the dataset."""
        return {"recipe": self.recipe, **self.parameters}


class Draw(Model):
    """How the problem of a seed is drawn from features: a recipe of variants."""

    # The recipe's parameters stand beside its name, and only the recipe knows them.
    model_config = ConfigDict(frozen=True, extra="allow")

    recipe: Annotated[Text, Allowed("the name of a recipe")] = Field(
        description="how the features' rows are cut, and its parameters beside it"
    )

    @property
    def parameters(self) -> dict[str, Any]:
        """The recipe's parameters."""
        return dict(self.model_extra or {})

    def made_by(self) -> JsonObject:
        """Return the recipe and its parameters."""
        return {"recipe": self.recipe, **self.parameters}


class Problem(Model):
    """Problems of one kind, one a seed: a head is learned on frozen features."""

    setting: SettingKey = Field(
        description="`classification`, `long_tailed`, `noisy` or `few_shot`; tables go by it"
    )
    features: Annotated[Text, Allowed("a name of frozen.features")] = Field(
        description="a name of `frozen.features`"
    )
    variant: Annotated[
        Draw, Allowed("a mapping with recipe and the recipe's parameters", container=True)
    ] = Field(
        description="a recipe of variants and its parameters: the seed is its `draw`, it has no"
        " `meta` set, and `episodes` have no `train`"
    )
    dims: Annotated[
        list[Count],
        Field(min_length=1),
        Distinct(),
        Allowed("a list of different integers from 1", container=True),
    ] = Field(description="dimensions of the ball that the features are mapped into")
    seeds: Count = Field(description="how many problems are drawn: seeds 0, 1, …")
    test: Count = Field(
        default=1000,
        description="test rows at most, drawn once for all seeds; of few-shot problems every query"
        " tests",
    )

    def drawn(self) -> JsonObject:
        """Return what the rows of the problems depend on, beside their features."""
        return self.model_dump(exclude={"dims"})


class RuleStudy(Model):
    """Rules on solved heads: their hypergradients against differences, and where they end."""

    problems: Annotated[
        list[Annotated[Text, Allowed("a name of frozen.problems")]],
        Field(min_length=1),
        Distinct(),
        Allowed("a list of different names of frozen.problems", container=True),
    ] = Field(
        description="names of `frozen.problems`, not few-shot; each is looked at in each of its"
        " dimensions"
    )
    seeds: Count = Field(description="how many seeds of each problem, from 0")
    radius: Positive = Field(description="ρ of the readings that rules follow")
    starts: Positives = Field(description="curvatures that rules start at")
    steps: Count = Field(description="outer steps of a rule")


class Frozen(Model):
    """The study on frozen features: curvatures, readings, features and problems."""

    curvatures: Curvatures = Field(description="the curvatures at which heads are solved")
    radii: Annotated[
        list[Positive],
        Field(min_length=1),
        Distinct(),
        Allowed("a list of different numbers above 0", container=True),
    ] = Field(description="radii of the readings' scopes")
    weight_decay: Positive = Field(description="λ of λ/2·|w|², part of the head's objective")
    ascent_steps: Count = Field(description="steps of an ascent that is run to convergence")
    draws: Count = Field(description="Gaussian draws of the reading `mean`")
    features: Annotated[
        dict[FileName, Features],
        Field(min_length=1),
        Allowed("at least one, named in lower case letters, digits and _", container=True),
    ] = Field(description="name -> features of a dataset")
    problems: Annotated[
        dict[FileName, Problem],
        Field(min_length=1),
        Allowed("at least one, named in lower case letters, digits and _", container=True),
    ] = Field(description="name -> problems on features")
    rules: Annotated[
        RuleStudy | None,
        Allowed("a mapping with problems, seeds, radius, starts and steps", container=True),
    ] = Field(
        default=None,
        description="which rules are followed on solved heads; left out for none",
    )

    def landscapes(self) -> list[tuple[str, int]]:
        """Return every problem with each of its dimensions, in the configuration's order."""
        found = []
        for name, problem in self.problems.items():
            found += [(name, dim) for dim in problem.dims]
        return found

    def followed(self) -> list[tuple[str, int]]:
        """Return every problem that rules are followed on, with each of its dimensions."""
        named = self.rules.problems if self.rules else []
        return [(name, dim) for name in named for dim in self.problems[name].dims]

    def options(self) -> JsonObject:
        """Return all that a landscape depends on, beside its problem and features."""
        return self.model_dump(exclude={"features", "problems", "rules"})
