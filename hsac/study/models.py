"""The configuration of a study, typed: every key, what it means, and what it may be.

`hsac.study.load` reads it from YAML. The key tables of config/README.md and the schema for editors
are made from these models (`python -m hsac.study.describe`). Numbers stay as they are given, and
`dump` leaves out what was left out, since the hash of a cell is that of its JSON. No torch here.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field, create_model

from hsac.files import JsonObject, digest
from hsac.study.fields import (
    LONGEST,
    Allowed,
    Count,
    Distinct,
    FileName,
    Fraction,
    Model,
    Natural,
    NotNegative,
    Positive,
    Positives,
    Real,
    Seeds,
    Setting,
    SettingKey,
    Several,
    Share,
    ShareOfTraining,
    Text,
)
from hsac.study.frozen import Frozen
from hsac.study.method import GRAMMAR

RECIPES = {
    "classification": ("plain", "node_split", "public_split"),
    "long_tailed": ("long_tail",),
    "noisy": ("label_noise",),
    "few_shot": ("episodes",),
}
GRAPH_RECIPES = ("node_split", "public_split")
SETTINGS: tuple[str, ...] = get_args(Setting)
TRIALS = 1000  # of a method: each is drawn and hashed whenever the study is read
LOSS = "cross_entropy"  # of a method that names none
KINDS = ("weights", "curvature", "losses", "heads")  # of named rules, in a method's order


def _left_out(description: str) -> Any:
    """Return a field that may be left out, and is None then. What is given is never None."""
    return Field(default=None, description=description)


Parameters = Annotated[dict[str, Any] | None, Allowed("a mapping of parameters", container=True)]
Methods = Annotated[
    list[Annotated[Text, Allowed(GRAMMAR)]],
    Field(min_length=1),
    Allowed("a list of methods", container=True),
]
Range = Annotated[
    dict[Literal["low", "high"], Positive],
    Field(min_length=2),
    Allowed("low and high above 0", container=True),
]
Values = Annotated[
    list[Annotated[bool, Field(strict=True)] | Real | Text],
    Field(min_length=1),
]
Space = Annotated[
    dict[str, Annotated[Values | Range, Allowed("a list of values, or low and high above 0")]]
    | None,
    Allowed("a mapping from parameters to a list, or to low and high", container=True),
]
SpacesOfKind = Annotated[
    dict[str, Space] | None, Allowed("a mapping from rules to their spaces", container=True)
]


class Spaces(Model):
    """Search spaces of named rules, by kind."""

    weights: SpacesOfKind = _left_out(description="spaces of weight rules")
    curvature: SpacesOfKind = _left_out(
        description="spaces of curvature rules; `start` is the initial curvature"
    )
    losses: SpacesOfKind = _left_out(description="spaces of losses")
    heads: SpacesOfKind = _left_out(description="spaces of heads")

    def of(self, kind: str) -> dict[str, Any]:
        """Return the spaces of a kind by the names of their rules.

        Args:
            kind: one of `KINDS`.
        """
        return getattr(self, kind) or {}


class Search(Model):
    """The same search for every method: how many trials, how drawn, on which seeds."""

    points: Annotated[
        int, Field(strict=True, ge=1, le=TRIALS), Allowed(f"an integer from 1 to {TRIALS}")
    ] = Field(description="how many trials each method has, for every method the same")
    draw: Natural = Field(default=0, description="number of the random draw of the trials")
    seeds: Seeds = Field(
        default=[100, 101, 102],
        description="seeds that every trial is trained on; none may be a seed that methods are"
        " judged by",
    )


Searched = Annotated[Search | None, Allowed("null or a mapping with points", container=True)]


class Curvature(Model):
    """The parametrisation of the curvature that all methods share."""

    start: Positive = Field(description="initial curvature c of a method that names none with `@`")
    bounds: Annotated[
        list[Positive],
        Field(min_length=2, max_length=2),
        Allowed("two numbers above 0, low and high", container=True),
    ] = Field(
        description="closed interval for c; moving rules are clamped to it, a start outside is"
        " refused"
    )
    transform: Annotated[
        Literal["exp", "softplus", "sigmoid"], Allowed("exp, softplus or sigmoid")
    ] = Field(
        description="c = τ(θ): `exp`, `softplus`, or `sigmoid` onto the bounds; inverted exactly"
        " at the start"
    )
    sharing: Annotated[Literal["per_layer", "shared"], Allowed("per_layer or shared")] = Field(
        description="`per_layer` (one curvature for each hyperbolic layer) or `shared` (one for"
        " the model)"
    )


class Measure(Model):
    """How sharpness is measured, the same for every method."""

    radius: Positive = Field(description="ρ")
    ascent_steps: Count = Field(description="steps of the ascent; fewer underestimate the maximum")


class Rules(Model):
    """Named weight rules, curvature rules, losses and heads: name -> parameters."""

    weights: dict[str, Parameters] = Field(description="weight rules")
    curvature: dict[str, Parameters] = Field(description="curvature rules")
    losses: dict[str, Parameters] = Field(default={}, description="losses")
    heads: dict[str, Parameters] = Field(default={}, description="heads")

    def of(self, kind: str) -> dict[str, Any]:
        """Return the named rules of a kind.

        Args:
            kind: one of `KINDS`.

        Returns:
            Parameters by name. Cross-entropy needs no name in the configuration: it is every
            method's default.
        """
        default = {LOSS: None} if kind == "losses" else {}
        return default | (getattr(self, kind) or {})


class CertificateOptions(Model):
    """The PAC-Bayes certificate of a trained network."""

    delta: Fraction = Field(description="δ: a certificate holds with probability 1 − δ")
    draws: Count = Field(description="weight vectors drawn from the posterior for the bound")
    pilot_draws: Count = Field(description="weight vectors drawn for choosing σ and α")
    sigmas: Positives = Field(
        description="the posterior is N(w0 + α(w − w0), σ² I); the bound pays for the choice of σ"
    )
    alphas: Annotated[
        list[Share], Field(min_length=1), Allowed("a list of numbers from 0 to 1", container=True)
    ] = Field(description="α, as above")
    curvature_points: Several = Field(
        description="a curvature learned on the certified examples is rounded to so many"
        " log-spaced values from `curvature.bounds`"
    )


class InformedOptions(Model):
    """Certificates with a prior that is trained on a part of the examples."""

    share: Fraction = Field(
        description="part of the examples that the informed prior is trained on; the others are"
        " certified"
    )
    rate: Positive = Field(
        description="factor on the learning rate when training on from that prior, on all examples"
    )
    sigmas: Positives = Field(description="as `certificate.sigmas`, for these certificates")
    draws: Count = Field(description="as `certificate.draws`, for these certificates")


class HypergradientOptions(Model):
    """The study of the hypergradient's bias and noise along a training."""

    at: Annotated[
        list[ShareOfTraining],
        Field(min_length=1),
        Allowed("a list of shares of training above 0, at most 1", container=True),
    ] = Field(
        description="bias and noise of the hypergradient are measured at these shares of a training"
    )
    sizes: Positives = Field(
        description="batch sizes, in training batches; at least one row (or episode), at most all"
    )
    draws: Several = Field(description="independent estimates of each kind and size")
    seed: Natural = Field(description="seed of the training, and of the draws")
    rows: Annotated[int | None, Field(strict=True, ge=2), Allowed("an integer from 2 or null")] = (
        Field(
            description="how many training rows (or episodes), drawn at random, stand for the whole"
            " part: the true hypergradient is of these and batches are drawn from them; null for"
            " all"
        )
    )


class Theory(Model):
    """Studies of the theory, and what is measured of trained networks."""

    studies: dict[str, Parameters] = Field(
        description="studies of `hsac list` and their parameters: `approximation`, `inexactness`,"
        " `convergence`, `negative_curvature` (hypergradients against ground truth), `lipschitz`"
        " (the ball's maps), `coverage` (of the certificate)"
    )
    measured: Annotated[
        list[Text], Distinct(), Allowed("a list of curvature rules", container=True)
    ] = Field(
        description="curvature rules whose networks are measured (under the weight rule, loss and"
        " head of the experiment's reference): Hessian spectrum, certificate; `[]` for none"
    )
    probes: Several = Field(description="Rademacher probes of the Hessian's trace")
    certificate: CertificateOptions = Field(description="the PAC-Bayes certificate")
    informed: InformedOptions = Field(description="certificates with a prior trained on a part")
    hypergradient: HypergradientOptions = _left_out(
        description="options of the hypergradient's study; needed where an experiment asks"
    )

    def measured_options(self) -> JsonObject:
        """Return the options that a measurement depends on.

        Returns:
            All but `studies` and `hypergradient`. So another study leaves measurements as they are.
        """
        return self.model_dump(exclude_unset=True, exclude={"studies", "hypergradient"})


class Variant(Model):
    """The variant of a dataset: a name to show, a recipe, and the recipe's parameters."""

    # The recipe's parameters stand beside its name, and only the recipe knows them.
    model_config = ConfigDict(frozen=True, extra="allow")

    name: Annotated[
        str,
        Field(strict=True, pattern="^[A-Za-z0-9_]+$", max_length=LONGEST),
        Allowed(f"at most {LONGEST} letters, digits and _"),
    ] = Field(description="shown")
    recipe: Annotated[Text, Allowed("the name of a recipe")] = Field(
        description="how the data are cut, and its parameters beside it"
    )

    @property
    def parameters(self) -> dict[str, Any]:
        """The recipe's parameters."""
        return dict(self.model_extra or {})

    def made_by(self) -> JsonObject:
        """Return the recipe and its parameters, without the name that is shown."""
        return {"recipe": self.recipe, **self.parameters}


class ModelChoice(Model):
    """A model: its name, its parameters, and the name of its head."""

    # The model's parameters stand beside its name, and only the model knows them.
    model_config = ConfigDict(frozen=True, extra="allow")

    name: Annotated[Text, Allowed("the name of a model")] = Field(description="a model")
    head: Annotated[Text, Allowed("the name of a head")] = _left_out(
        description="where the model takes one, a name of `rules.heads`"
    )

    @property
    def parameters(self) -> dict[str, Any]:
        """The model's parameters."""
        return dict(self.model_extra or {})


class Training(Model):
    """How long and how a cell is trained."""

    epochs: Count = Field(description="length of training")
    batch: Count = Field(
        description="batch size; a batch of few-shot training is counted in episodes, graphs train"
        " full batch"
    )
    weight_decay: NotNegative = Field(
        description="λ of λ/2·|w|², part of the lower level's objective"
    )
    schedule: Annotated[
        Literal["cosine", "constant", "warmup_steps"],
        Allowed("cosine, constant or warmup_steps"),
    ] = Field(
        description="`cosine` or `constant` learning rate, or `warmup_steps`: up from 0 over the"
        " first 2.5 % of training, × 0.01 from 80 % on, × 0.0001 from 90 % on (5, 160 and 180 of"
        " 200 epochs: the usual recipe of long-tailed CIFAR)"
    )
    evaluations: Count = Field(
        description="how many times train, validation and test are evaluated, evenly spread;"
        " selection looks at these"
    )
    augment: Annotated[Literal["crop_flip"], Allowed("crop_flip")] = _left_out(
        "left out, or `crop_flip`: training images are cropped at random out of 4"
        " pixels of zero padding and mirrored in half of the cases; where images are classified."
        " Same seed: same crops, for every method",
    )


def _partial(model: type[Model], **more: Any) -> Any:
    """Return a model of the same keys, none of which is required."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        annotation: Any = field.annotation
        for one in field.metadata:
            # Pydantic keeps constraints apart from the annotation, so they are put back.
            annotation = Annotated[annotation, one]
        fields[name] = (annotation, _left_out(description=field.description or ""))
    made = create_model(f"Partial{model.__name__}", __base__=Model, **(fields | more))
    made.__doc__ = model.__doc__
    return made


if TYPE_CHECKING:
    # A type checker cannot follow `create_model`, so it sees the models that these come from.
    PartialCurvature = Curvature
    PartialRules = Rules

    class StudiedHypergradient(HypergradientOptions):
        """The options of an experiment's study, over those of the theory."""

        method: str

else:
    PartialCurvature = _partial(Curvature)
    PartialRules = _partial(Rules)
    StudiedHypergradient = _partial(
        HypergradientOptions,
        method=(
            Annotated[Text, Allowed("one of the experiment's methods")],
            Field(description="the method whose training is looked at"),
        ),
    )


def variant_id(dataset: str, variant: Mapping[str, Any]) -> str:
    """Return name and hash of a variant's recipe, unique to dataset and recipe.

    Args:
        dataset: the dataset that is cut.
        variant: the variant, as a configuration or a record gives it.
    """
    return f"{variant['name']}-{digest([dataset, variant])[:8]}"


class Experiment(Model):
    """One block of tables and figures: a dataset's variant, a model, and methods."""

    setting: SettingKey = Field(
        description="`classification`, `long_tailed`, `noisy` or `few_shot`"
    )
    dataset: Annotated[Text, Allowed("the name of a dataset")] = Field(
        description="a name of `hsac list`"
    )
    variant: Annotated[
        Variant, Allowed("a mapping with name, recipe and the recipe's parameters", container=True)
    ] = Field(description="`name` (shown), `recipe` and its parameters, below")
    model: Annotated[
        ModelChoice, Allowed("a mapping with name and the model's parameters", container=True)
    ] = Field(
        description="`name` and the model's parameters; `head`, where the model takes one, is a"
        " name of `rules.heads`. `conv4_protonet` and `resnet12` (few-shot): `power` 1 gives logits"
        " -d/T, not -d²/T. `conv4_maml` (few-shot; curvature rule `euclidean` alone): `steps`"
        " of adaptation to an episode, in training and evaluation, at rate `inner_lr`;"
        " `first_order: true` takes their gradients for constants"
    )
    training: Training = Field(description="length and kind of training")
    methods: Methods = Field(
        description="`weight+curvature` or `weight+curvature@start`; then, in either order,"
        " `+loss` and `+head` where they are not the defaults: `sgd+fixed@0.3+ldam_drw`. A start"
        " has one spelling (`0.3`, not `0.30`), and a configuration one name in an experiment"
    )
    reference: Annotated[Text, Allowed("one of the experiment's methods")] = Field(
        description="the method the others are compared with, paired by seed"
    )
    informed: Methods = _left_out(
        "methods that get a certificate with an informed prior (they are trained again"
        " on parts of the examples); images only",
    )
    hypergradient: Annotated[
        StudiedHypergradient, Allowed("a mapping with method", container=True)
    ] = _left_out(
        "study bias and noise of the rule `hsac`'s hypergradient along a training of"
        " `method`, one of `methods` with a curvature that trains once; images without"
        " augmentation, or episodes. The other keys replace those of `theory.hypergradient`",
    )
    seeds: Seeds = _left_out(description="replaces the top-level key")
    search: Searched = _left_out(description="replaces the top-level key")
    spaces: Spaces = _left_out(description="extends the top-level key, entry by entry")
    curvature: PartialCurvature = _left_out(description="extends the top-level key")
    rules: PartialRules = _left_out(description="extends the top-level key, rule by rule")

    def variant_id(self) -> str:
        """Return name and hash of the variant's recipe, unique to dataset and recipe."""
        return variant_id(self.dataset, self.variant.dump())


class Keys(Model):
    """Every key of a configuration's file."""

    plugins: Annotated[
        list[Annotated[Text, Allowed("a folder")]],
        Distinct(),
        Allowed("a list of different folders", container=True),
    ] = Field(
        default=[],
        description="list of folders with parts of your own (rules, models, datasets …), laid out"
        " like the package; relative to the working directory. See"
        " [docs/extend.md](../docs/extend.md)",
    )
    seeds: Seeds = Field(
        description="list of integers from 0; each is one run of every cell. Same seed: same start"
        " weights, same batches, for every method"
    )
    bundle: Count = Field(
        description="how many runs one job trains: seed `s` of a cell is in bundle `s // bundle`."
        " A search's bundle holds as many points as make that many runs, at least one. More:"
        " [docs/size.md](../docs/size.md). A profile can set it:"
        " [docs/cluster.md](../docs/cluster.md)"
    )
    device: Annotated[
        str,
        Field(strict=True, pattern="^(auto|cpu|cuda(:[0-9]+)?)$"),
        Allowed("auto, cpu, cuda or cuda:<index>"),
    ] = Field(
        default="auto",
        description="`auto` (a GPU where there is one, else the CPU), `cpu`, `cuda` or"
        " `cuda:<index>`; one that is not there is refused. See *GPUs* below",
    )
    time_limit: Annotated[
        Real | None, Field(gt=0), Allowed("a number of seconds above 0 or null")
    ] = _left_out(
        "seconds a run may take, `null` for no limit; seeds trained together share the"
        " sum of theirs. A run stopped by it is recorded as `timeout`. Does not enter a run's"
        " identity",
    )
    mirror: Annotated[str | None, Field(strict=True), Allowed("a folder or null")] = _left_out(
        "folder with the files of datasets in the hub's layout, looked into before any"
        " download, or `null`; `HSAC_MIRROR` wins over it. Changing it computes nothing again",
    )
    search: Searched = _left_out(
        "`null`: every method runs at its configured point. Else a mapping",
    )
    spaces: Spaces = Field(default=Spaces(), description="search spaces of named rules")
    curvature: Curvature = Field(description="the parametrisation of the curvature")
    measure: Measure = Field(description="how sharpness is measured")
    rules: Rules = Field(description="named rules, losses and heads")
    theory: Theory | None = _left_out(
        description="studies, and what is measured of trained networks; null for none"
    )
    frozen: Frozen | None = _left_out(
        description="the study on frozen features; null for none. A scale that leaves it out has"
        " none: the default scale's is its own"
    )
    experiments: Annotated[
        dict[FileName, Experiment],
        Field(min_length=1),
        Allowed(
            "at least one experiment, named in lower case letters, digits and _", container=True
        ),
    ] = Field(description="the blocks of tables and figures")


class Study(Keys):
    """A scale of the suite: all keys of its configuration, and its name."""

    scale: str

    @cached_property
    def known_cells(self) -> dict[tuple[str, str, int | None], Any]:
        """The cells resolved so far, by experiment, method and point."""
        return {}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "Study":
        """Return a copy, which resolves its own cells.

        Args:
            update: values by key, which are not validated.
            deep: whether the copy shares nothing with the original.
        """
        made = super().model_copy(update=update, deep=deep)
        made.__dict__.pop("known_cells", None)  # a changed study has other cells
        return made

    def seeds_of(self, experiment: str) -> list[int]:
        """Return the seeds of an experiment: its own, or everybody's.

        Args:
            experiment: the name of an experiment of the study.
        """
        return self.experiments[experiment].seeds or self.seeds

    def search_of(self, experiment: str) -> Search | None:
        """Return the search of an experiment.

        Args:
            experiment: the name of an experiment of the study.

        Returns:
            The experiment's own search or everybody's; None where each method runs at its
            configured point.
        """
        own = self.experiments[experiment]
        # Being set decides, since null is how an experiment says that it has no search.
        return own.search if "search" in own.model_fields_set else self.search

    def curvature_of(self, experiment: str) -> Curvature:
        """Return the parametrisation of the curvature in an experiment.

        Args:
            experiment: the name of an experiment of the study.
        """
        own = self.experiments[experiment].curvature
        return self.curvature.model_copy(update=own.dump()) if own else self.curvature

    def hypergradient_of(self, experiment: str) -> HypergradientOptions:
        """Return the options of an experiment's study of the hypergradient.

        Args:
            experiment: the name of an experiment that asks for it.

        Returns:
            The experiment's own options over those of `theory.hypergradient`.
        """
        own = self.experiments[experiment].hypergradient.dump()
        assert self.theory is not None  # such a study is refused without its options
        return self.theory.hypergradient.model_copy(
            update={key: value for key, value in own.items() if key != "method"}
        )
