"""Values that a configuration may have, each with the words that an error line uses for it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic import ValidationError as Invalid
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from hsac.files import JsonObject
from hsac.parts import nearest

KEY = "[key]"  # pydantic's mark of an error in a mapping's key


class Model(BaseModel):
    """A section of the configuration: no key beside those it declares, and nothing changes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def dump(self) -> JsonObject:
        """Return what the configuration gave, without the defaults of what it left out."""
        return self.model_dump(exclude_unset=True)


@dataclass(frozen=True)
class Allowed:
    """The words for what a value may be.

    A container's words describe the container; its members have their own.

    Attributes:
        words: how an error line goes on after "allowed is".
        container: the value is a list or a mapping whose members have words of their own.
    """

    words: str
    container: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: Any, inner: Callable[[Any], Any]) -> Any:
            try:
                return inner(value)
            except Invalid as error:
                # A fault that has a place is a member's, which has words of its own.
                if self.container and any(one["loc"] for one in error.errors()):
                    raise
            raise PydanticCustomError("allowed", "{words}", {"words": self.words})

        return core_schema.no_info_wrap_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {"title": self.words}


@dataclass(frozen=True)
class Distinct:
    """The members of a list are different."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: list[Any]) -> list[Any]:
            if any(one in value[:place] for place, one in enumerate(value)):
                raise ValueError("a member stands twice")
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {"uniqueItems": True}


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


# an int stays an int and a float a float: the hash of a cell tells 1 from 1.0
Real = Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True)]
Text = Annotated[str, Field(strict=True)]
Setting = Literal["classification", "long_tailed", "noisy", "few_shot"]
SettingKey = Annotated[Setting, Allowed("classification, long_tailed, noisy or few_shot")]
LONGEST = 100  # characters of a name that is a folder or a file's name
FileName = Annotated[
    str,
    Field(pattern="^[a-z0-9_]+$", max_length=LONGEST),
    Allowed(f"a name of at most {LONGEST} lower case letters, digits and _"),
]

Natural = Annotated[int, Field(strict=True, ge=0), Allowed("an integer from 0")]
Count = Annotated[int, Field(strict=True, ge=1), Allowed("an integer from 1")]
Several = Annotated[int, Field(strict=True, ge=2), Allowed("an integer from 2")]
Positive = Annotated[Real, Field(gt=0), Allowed("a number above 0")]
NotNegative = Annotated[Real, Field(ge=0), Allowed("a number from 0")]
Fraction = Annotated[Real, Field(gt=0, lt=1), Allowed("a number between 0 and 1")]
Share = Annotated[Real, Field(ge=0, le=1), Allowed("a number from 0 to 1")]
ShareOfTraining = Annotated[
    Real, Field(gt=0, le=1), Allowed("a share of training above 0, at most 1")
]
Positives = Annotated[
    list[Positive], Field(min_length=1), Allowed("a list of numbers above 0", container=True)
]
Seeds = Annotated[
    list[Natural],
    Field(min_length=1),
    Distinct(),
    Allowed("a list of different integers from 0", container=True),
]


def problems(error: Invalid, model: type[BaseModel]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the place and the line of each problem that validation found.

    Args:
        error: what pydantic raised.
        model: the model that it validated.

    Yields:
        The keys down to the problem, and "key: found …; allowed is …".
    """
    for one in error.errors():
        place = tuple(str(part) for part in one["loc"] if part != KEY)
        yield place, _line(one, place, model)


def _line(error: ErrorDetails, place: tuple[str, ...], model: type[BaseModel]) -> str:
    key = ".".join(place)
    if error["type"] == "extra_forbidden":
        known = _keys(model, place[:-1])
        return f"{key}: found an unknown key; {nearest(place[-1], known)}"
    if error["type"] == "missing":
        return f"{key}: found nothing; this key is required"
    # Only sections have no words of their own, so whatever else is wrong is no mapping.
    words = error["msg"] if error["type"] == "allowed" else "a mapping of keys"
    return f"{key}: found {error['input']!r}; allowed is {words}"


def _keys(model: type[BaseModel], place: tuple[str, ...]) -> list[str]:
    """Return the keys of the section at a place."""
    annotation: Any = model
    for key in place:
        annotation = _member(bare(annotation), key)
    found = bare(annotation)
    return list(found.model_fields)


def _member(annotation: Any, key: str) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_fields[key].annotation
    return get_args(annotation)[-1]  # the values of a mapping, the members of a list


def bare(annotation: Any) -> Any:
    """Return an annotation without its metadata, and without the None that it may be.

    Args:
        annotation: of a model's field.
    """
    while get_origin(annotation) in (Annotated, Union, UnionType):
        inner = [one for one in get_args(annotation) if one is not NoneType]
        annotation = inner[0]
    return annotation
