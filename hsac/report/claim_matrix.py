"""The claims of ``config/claims.yaml``: a matrix of experiments and rivals, and claims written out.

Those about regret on frozen features are a matrix of their own.

A matrix saves repeating what claims share. Each block of it makes one claim for each of its
experiments and rivals, experiment by experiment. A rival says which two methods are compared, an
experiment in which setting and with which weight rule, and a template makes the sentence.
"""

import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from hsac import documents, parts
from hsac.errors import InputError
from hsac.files import JsonObject
from hsac.report.expressions import read
from hsac.study.models import Setting

SETTINGS: tuple[str, ...] = get_args(Setting)
THEORY: Literal["theory"] = "theory"  # the setting and the source of a theory claim
KINDS = ("comparison", THEORY, "regret")
# Of claims about regret.
Group = Literal["all", "classification", "long_tailed", "noisy", "few_shot"]
Measure = Literal["error", "nll"]
UNITS: dict[Measure, str] = {"error": "points", "nll": "hundredths of a nat"}
RELATIONS = ("<=", ">=")
MOST_LOST = 0.1  # a file's `most_lost` where it gives none
PLACEHOLDER = re.compile(r"\{(\w+)\}")

Text = Annotated[str, Field(min_length=1)]
Source = Literal["paper", "control"]
Points = Annotated[float, Field(ge=-100, lt=100)]
Level = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]

# What an error line says is allowed. Looked up by key, then by pydantic's error type; otherwise
# "text".
ALLOWED = {
    "minimum_effect": "a number from -100 to 100",
    "alpha": "a number from 0 to 1",
    "most_lost": "a number from 0 to 1",
    "list_type": "a list",
    "dict_type": "a mapping of keys",
}

# Strict, so that YAML's `on` or a quoted number is refused rather than converted.
_STRICT = ConfigDict(strict=True, extra="forbid")

T = TypeVar("T")


@dataclass(frozen=True, config=_STRICT)
class Claim:
    """A claim that one method beats another by a minimum effect.

    Attributes:
        id: Names the claim, once in a file.
        setting: The setting of the experiment.
        source: `paper`, a qualitative claim of the paper as reconstructed from its abstract, or
            `control`, one that this project adds.
        claim: The sentence that the report shows.
        experiment: The experiment that both methods are run on.
        better: The method that is claimed to be better in test accuracy.
        than: The method that it is compared with.
        minimum_effect: Points of test accuracy. A negative number claims non-inferiority: `better`
            is not worse by more than that.
        alpha: Level of the tests, over all claims that were run.
        kind: Always `comparison`.
    """

    id: Text
    setting: Setting
    source: Source
    claim: Text
    experiment: Text
    better: Text
    than: Text
    minimum_effect: Points
    alpha: Level
    kind: Literal["comparison"] = "comparison"


@dataclass(frozen=True, config=_STRICT)
class TheoryClaim:
    """A claim that a relation holds in every row of a study.

    Both sides of a relation, and ``where``, are expressions of the study's columns as
    `hsac.report.expressions` has them. They must allow for rounding themselves.

    Attributes:
        id: Names the claim, once in a file.
        setting: Always `theory`.
        source: Always `theory`.
        claim: The sentence that the report shows.
        study: The study whose rows are judged.
        holds: The relation, `left <= right` or `left >= right`.
        where: Which rows are judged, by default every row.
        fails: The relation that refutes the claim in a row, by default the opposite of `holds`. A
            confidence interval can leave a row undecided between the two.
        kind: Always `theory`.
    """

    id: Text
    setting: Literal["theory"]
    source: Literal["theory"]
    claim: Text
    study: Text
    holds: Text
    where: str = ""
    fails: str = ""
    kind: Literal["theory"] = "theory"


@dataclass(frozen=True, config=_STRICT)
class RegretClaim:
    """A claim that choosing c by a reading of sharpness saves some of a rival's regret.

    Attributes:
        id: Names the claim, once in a file.
        setting: The setting of the problems, or `all`.
        source: As of `Claim`.
        claim: The sentence that the report shows.
        reading: The reading with its radius, a column of the landscapes such as `gap@0.05`.
        rival: The chooser that it is compared with, such as `c=1`.
        measure: `error` or `nll` of the test set.
        minimum_effect: Regret saved, in points or in hundredths of a nat. A negative number claims
            non-inferiority.
        alpha: Level of the tests, over all claims about regret that could be tested.
        kind: Always `regret`.
    """

    id: Text
    setting: Group
    source: Source
    claim: Text
    reading: Text
    rival: Text
    measure: Measure
    minimum_effect: Points
    alpha: Level
    kind: Literal["regret"] = "regret"


AnyClaim = Claim | TheoryClaim | RegretClaim


@dataclass(frozen=True)
class ClaimsFile:
    """A file of claims.

    Attributes:
        claims: The claims, in the file's order.
        most_lost: Largest share of a comparison's pairs that may be lost to runs that did not
            finish. Above it no verdict is given.
    """

    claims: list[AnyClaim]
    most_lost: float


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class _Defaults:
    """Values used where a rival, or for `weight_rule` an experiment, gives none."""

    weight_rule: Text | None = None
    better: Text | None = None
    source: Source | None = None
    minimum_effect: Points | None = None
    alpha: Level | None = None
    claim: Text | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class _Rival(_Defaults):
    """A column of the matrix: a method to beat. Methods are named without their weight rule."""

    than: Text
    words: Text
    id: Text | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class _Experiment:
    """A row of the matrix."""

    setting: Setting
    words: Text
    weight_rule: Text | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class _Block:
    """A block of the matrix: every experiment × every rival."""

    experiments: list[str]
    rivals: list[str]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class _Sections:
    """The file, its entries still unchecked so that an error can name the one it is in."""

    most_lost: Share = MOST_LOST
    defaults: JsonObject = Field(default_factory=dict)
    words: dict[str, Text] = Field(default_factory=dict)
    experiments: JsonObject = Field(default_factory=dict)
    rivals: JsonObject = Field(default_factory=dict)
    matrix: list[Any] = Field(default_factory=list)
    claims: list[Any] = Field(default_factory=list)
    regret: JsonObject = Field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class _Side:
    """A reading, a rival, a group of problems or a measure, and what the sentence calls it."""

    words: Text
    # A reading with its radius, or the rival's name; by default the entry's own name.
    column: Text | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class _RegretBlock:
    """A block of claims about regret: setting × measure × reading × rival."""

    source: Source
    claim: Text
    minimum_effect: dict[Measure, Points]
    readings: list[str]
    rivals: list[str]
    settings: list[Group]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class _RegretSections:
    """The claims about regret."""

    alpha: Level
    readings: JsonObject
    rivals: JsonObject
    settings: dict[Group, Text]
    measures: dict[Measure, Text]
    matrix: list[Any]


def read_claims(path: Path) -> list[AnyClaim]:
    """Read the claims of a YAML file.

    Args:
        path: The file, as of `read_file`.

    Returns:
        The claims of the matrix, block by block, those written out, and those about regret, in the
        file's order.

    Raises:
        InputError: As of `read_file`.
    """
    return read_file(path).claims


def read_file(path: Path) -> ClaimsFile:
    """Read a YAML file of claims.

    Args:
        path: A file of the sections that config/README.md describes, or a mere list of claims.

    Returns:
        The claims, and how they are to be judged.

    Raises:
        InputError: The file cannot be read, or something in it does not fit. The line names
            the file, the claim or the part of the matrix, and the key.
    """
    content = documents.read_yaml(path)
    # A file of written-out claims alone needs no sections.
    if isinstance(content, list):
        content = {"claims": content}
    if not isinstance(content, dict):
        found = type(content).__name__
        raise InputError(f"{path}: found {found}, allowed is a list of claims or a matrix")
    sections = _made(_Sections, content, f"{path}")
    claims: list[AnyClaim] = [*_matrix(sections, path)]
    claims += [_written(entry, path) for entry in sections.claims]
    claims += _regret_matrix(sections.regret, path)
    seen: set[str] = set()
    for claim in claims:
        if claim.id in seen:
            raise InputError(f"{path}: claim {claim.id}: id is used twice")
        seen.add(claim.id)
    return ClaimsFile(claims, sections.most_lost)


def sides(relation: str, where: str) -> tuple[str, str, str]:
    """Split a relation at its sign.

    Args:
        relation: `left <= right` or `left >= right`.
        where: What an error line starts with.

    Returns:
        The left side, the sign and the right side.

    Raises:
        InputError: There is not exactly one sign with something on both sides.
    """
    # A chain such as `0 <= x <= 1` splits in three and is refused, too.
    found = [sign for sign in RELATIONS if sign in relation]
    split = relation.split(found[0]) if len(found) == 1 else []
    if len(split) != 2 or not all(part.strip() for part in split):
        raise InputError(f"{where} is {relation!r}, allowed is `left <= right` or `left >= right`")
    return split[0].strip(), found[0], split[1].strip()


def _matrix(sections: _Sections, path: Path) -> Iterable[Claim]:
    """Make the claims of the matrix."""
    defaults = _made(_Defaults, sections.defaults, f"{path}: defaults")
    rivals = {
        name: _made(_Rival, entry, f"{path}: rival {name}")
        for name, entry in sections.rivals.items()
    }
    experiments = {
        name: _made(_Experiment, entry, f"{path}: experiment {name}")
        for name, entry in sections.experiments.items()
    }
    for number, entry in enumerate(sections.matrix, start=1):
        where = f"{path}: block {number} of matrix"
        block = _made(_Block, entry, where)
        _check_known(block.experiments, experiments, f"{where}: experiments")
        _check_known(block.rivals, rivals, f"{where}: rivals")
        for experiment in block.experiments:
            row = {"experiment": experiment} | _said(experiments[experiment])
            for name in block.rivals:
                column = {"id": name} | _said(rivals[name])
                yield _cell(_said(defaults), row, column, sections.words, f"{path}")


def _cell(
    defaults: JsonObject,
    row: JsonObject,
    column: JsonObject,
    words: dict[str, str],
    path: str,
) -> Claim:
    """Make the claim of one experiment, the row, and one rival, the column."""
    # The rival's weight rule comes before the experiment's: `sam` compares both methods under SAM.
    entry = defaults | row | column
    entry["id"] = f"{row['experiment'].replace('_', '-')}-{column['id']}"
    where = f"{path}: claim {entry['id']}"
    # These are used before pydantic sees the entry.
    for key in ("weight_rule", "better", "claim"):
        if key not in entry:
            raise InputError(f"{where}: {key} is missing")
    # A claim has no such key: the weight rule becomes a part of the methods' names.
    better, weight_rule = entry["better"], entry.pop("weight_rule")
    _check_known([better], words, f"{where}: words")
    filled = {"experiment": row["words"], "better": words[better], "than": entry.pop("words")}
    entry["claim"] = _sentence(entry["claim"], filled, where)
    entry |= {key: f"{weight_rule}+{entry[key]}" for key in ("better", "than")}
    return _made(Claim, entry, where)


def _regret_matrix(content: JsonObject, path: Path) -> Iterable[RegretClaim]:
    """Make the claims about regret, none where the file has no such section."""
    if not content:
        return
    sections = _made(_RegretSections, content, f"{path}: regret")
    readings = _sides(sections.readings, f"{path}: regret: reading")
    rivals = _sides(sections.rivals, f"{path}: regret: rival")
    for number, entry in enumerate(sections.matrix, start=1):
        where = f"{path}: regret: block {number} of matrix"
        block = _made(_RegretBlock, entry, where)
        _check_known(block.readings, readings, f"{where}: readings")
        _check_known(block.rivals, rivals, f"{where}: rivals")
        _check_known(block.settings, sections.settings, f"{where}: settings")
        _check_known(block.minimum_effect, sections.measures, f"{where}: minimum_effect")
        keys = product(block.settings, block.minimum_effect, block.readings, block.rivals)
        for setting, measure, reading, rival in keys:
            filled = {"problems": sections.settings[setting]}
            filled |= {"measure": sections.measures[measure]}
            filled |= {"reading": readings[reading].words, "rival": rivals[rival].words}
            least = block.minimum_effect[measure]
            filled["margin"] = f"{abs(least):g} {UNITS[measure]}"
            parts_of_id = ("regret", setting, measure, reading, rival)
            yield RegretClaim(
                "-".join(parts_of_id).replace("_", "-").replace("=", "").replace(".", ""),
                setting,
                block.source,
                _sentence(block.claim, filled, where),
                readings[reading].column or reading,
                rivals[rival].column or rival,
                measure,
                least,
                sections.alpha,
            )


def _sides(entries: JsonObject, where: str) -> dict[str, _Side]:
    return {name: _made(_Side, entry, f"{where} {name}") for name, entry in entries.items()}


def _sentence(template: str, filled: Mapping[str, str], where: str) -> str:
    """Fill the placeholders of a template."""
    # Not `str.format`, which reads attributes and pads to any width that a file asks for.
    texts, names = PLACEHOLDER.split(template)[::2], PLACEHOLDER.findall(template)
    # A brace that is left belongs to no placeholder.
    if not set(names) <= set(filled) or any(set("{}") & set(text) for text in texts):
        allowed = ", ".join(f"{{{name}}}" for name in filled)
        raise InputError(f"{where}: claim is {template!r}, allowed in it are {allowed}")
    return PLACEHOLDER.sub(lambda found: filled[found[1]], template)


def _written(entry: Any, path: Path) -> AnyClaim:
    """Make a claim that is written out."""
    if not isinstance(entry, dict):
        raise InputError(f"{path}: an entry is {reprlib.repr(entry)}, allowed is a mapping of keys")
    where = f"{path}: claim {entry.get('id', '(no id)')}"
    kind = entry.get("kind", "comparison")
    # The kind decides which keys are allowed, so pydantic cannot check it with the others.
    if kind not in KINDS:
        raise InputError(f"{where}: kind is {kind!r}, allowed are {', '.join(KINDS)}")
    if kind == "comparison":
        return _made(Claim, entry, where)
    if kind == "regret":
        return _made(RegretClaim, entry, where)
    # Both keys can have but one value, so the file need not say it.
    claim = _made(TheoryClaim, {"setting": THEORY, "source": THEORY} | entry, where)
    parts.check_name("study", claim.study, f"{where}: study")
    # A bad expression would otherwise show only when the studies have been run.
    for key in ("holds", "fails"):
        # Without a text `fails` is the opposite of `holds`.
        if relation := getattr(claim, key):
            left, _, right = sides(relation, f"{where}: {key}")
            read(left, f"{where}: {key}")
            read(right, f"{where}: {key}")
    if claim.where:
        read(claim.where, f"{where}: where")
    return claim


def _said(given: _Defaults | _Experiment) -> JsonObject:
    return {key: value for key, value in asdict(given).items() if value is not None}


def _check_known(names: Iterable[str], known: Iterable[str], where: str) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise InputError(f"{where}: found {name!r}; {parts.nearest(name, known)}")


def _made(made: type[T], entry: Any, where: str) -> T:
    """Make a dataclass of an entry of the file; an error line starts with ``where``."""
    # YAML's keys can be numbers or bools, which are no names of arguments.
    if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry):
        raise InputError(f"{where}: found {reprlib.repr(entry)}, allowed is a mapping of keys")
    try:
        return made(**entry)
    except ValidationError as error:
        names = [field.name for field in fields(made)]  # type: ignore[arg-type]
        raise InputError(f"{where}: {_problem(error.errors(), names)}") from None


def _problem(errors: list[ErrorDetails], names: list[str]) -> str:
    """Say what does not fit in an entry, an unknown key first: it explains a missing one."""
    unknown = [e for e in errors if e["type"] == "unexpected_keyword_argument"]
    error = (unknown or errors)[0]
    key, kind, found = ".".join(map(str, error["loc"])), error["type"], reprlib.repr(error["input"])
    if unknown:
        return f"{key} is unknown; {parts.nearest(key, names)}"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "literal_error":
        # Pydantic says: 'a', 'b' or 'c'.
        allowed = str(error["ctx"]["expected"]).replace(" or ", ", ").replace("'", "")
        return f"{key} is {found}, allowed are {allowed}"
    return f"{key} is {found}, allowed is {ALLOWED.get(key) or ALLOWED.get(kind, 'text')}"
