"""Run records: what one holds, and how they lie on disk.

A record is the result of one cell trained with one seed. The index of a bundle names the bundle's
records with the digest of their bytes, so that an edit is seen.
"""

import os
import re
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from hsac.errors import InputError
from hsac.files import JsonObject, file_sha256, read_json, workflow_of, write_json
from hsac.study.cell import Cell
from hsac.study.models import Setting

# Statuses that count as a result. A run with any other status is trained again when the job of its
# bundle runs again.
FINAL = ("ok", "diverged")

ROUNDING = 1e-9  # of an accuracy summed in another order


def _distinct(values: list[int]) -> list[int]:
    if len(set(values)) < len(values):
        raise ValueError("a value is there twice")
    return values


Text = Annotated[str, Field(min_length=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seeds = Annotated[list[Count], Field(min_length=1), AfterValidator(_distinct)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Series = list[float | None]  # a value a logged step, None where it was not finite
MethodName = Annotated[str, Field(pattern=r"^[^+@]+\+[^+@]+(@[^+]+)?(\+[^+@]+){0,2}$")]


class Section(BaseModel):
    """A section of a run record: strict in types, without unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Metrics(Section):
    """Metrics of the weights after one step; a task leaves out those that it does not have."""

    step: Count
    train_accuracy: Share | None
    train_nll: float | None  # nats, as every NLL
    validation_accuracy: Share | None
    validation_nll: float | None
    test_accuracy: Share | None
    test_nll: float | None
    head_accuracy: Share | None = None
    middle_accuracy: Share | None = None
    tail_accuracy: Share | None = None
    many_accuracy: Share | None = None
    medium_accuracy: Share | None = None
    few_accuracy: Share | None = None
    validation_balanced_accuracy: Share | None = None
    test_balanced_accuracy: Share | None = None
    validation_ece: Share | None = None
    test_ece: Share | None = None
    memorisation: Share | None = None
    test_accuracy_episode_sd: NotNegative | None = None
    # How many answers of each test item or episode are right, in the variant's order. The numbers
    # are counts; they are not checked one by one, since there may be ten thousand of them.
    test_right: Annotated[list[int], Field(min_length=1)] | None = None
    test_answers: Positive | None = None  # how many answers each of them asks for


class Selections(Section):
    """The metrics at the step best on validation, at the last step, and at the one best on test."""

    selected: Metrics
    last: Metrics
    oracle: Metrics


class Curvature(Section):
    """The curvatures after training, by the name of their layer."""

    names: list[str]
    final: list[NotNegative | None]


class Trajectory(Section):
    """What was logged during training, a value a logged step."""

    step: list[Count]
    curvature: list[Series]  # a value a layer
    sharpness: Series
    train_nll: Series
    validation_accuracy: Series
    test_accuracy: Series


class Outer(Section):
    """What was logged of the curvature's steps."""

    step: list[Count]
    value: Series
    hypergradient: list[Series]
    residual: Series
    fallback: list[bool]  # whether the implicit term was left out


class Landscape(Section):
    """The loss along two directions from the final weights."""

    alpha: list[float]
    random: Series
    worst: Series


class Embedding(Section):
    """Points of the ball to draw, with their classes."""

    x: list[Annotated[list[float], Field(min_length=2, max_length=2)]]
    label: list[int]
    c: Annotated[float, Field(gt=0)]


class Tried(Section):
    """One training of a searching rule; of one that halving dropped, how it stood then."""

    curvature: list[NotNegative | None]
    status: Literal["ok", "diverged"]
    validation_accuracy: Share | None
    validation_nll: float | None
    # held-out loss of the final weights at its own best temperature; not looked at in halving
    tempered_nll: float | None


class SearchOfRule(Section):
    """The trainings of a searching rule, in order, and the place of the one that was chosen."""

    chosen: Count
    tried: Annotated[list[Tried], Field(min_length=1)]


class Tuning(Section):
    """The search of a searched method, whose cost the run's own does not hold."""

    point: Count  # the chosen trial's number; 0 is as configured
    different: Positive  # trials that did not come out like another
    seeds: Seeds
    score: Share | None
    failed: Count  # runs of the search that are not ok, which count as worst
    gradients: Count
    products: Count
    seconds: NotNegative


class RunRecord(Section):
    """The result of one cell trained with one seed."""

    # The key in the file is `schema`, which is a method of pydantic's models.
    version: Annotated[Literal[1], Field(alias="schema")]
    experiment: Text
    setting: Setting
    dataset: Text
    variant: Text
    model: Text
    method: MethodName
    weight_rule: Text
    curvature_rule: Text
    loss: Text  # the loss trained on, by its class
    start: NotNegative | None
    seed: Count
    status: Literal["ok", "diverged", "out_of_memory", "timeout", "error"]
    reason: str | None
    config: JsonObject
    config_hash: Text
    code: Text
    # files of plugins that trained it, by path
    plugins: Annotated[dict[str, Digest], Field(min_length=1)] | None = None
    variant_hash: Text
    weights: Digest | None
    versions: dict[str, str]
    host: str
    device: str
    dtype: str
    threads: Positive | None = None
    # the seeds trained as one program, this one among them
    together: Seeds | None = None
    steps: Count | None
    gradients: Count | None
    products: Count | None
    # batches of the validation part that the curvature rule was trained on
    held_out_batches: Count | None = None
    # batches of the variant's meta set that training drew
    meta_batches: Count | None = None
    tried: Positive
    # of grid and best_of: the method whose run this is; of a searched method: the trial
    chosen: str | None
    search: SearchOfRule | None = None
    tuning: Tuning | None = None
    metrics: Selections | None
    # the metric that `selected` is best in, validation NLL breaking ties; None without metrics
    selected_by: Literal["validation_accuracy", "validation_balanced_accuracy"] | None
    curvature: Curvature
    sharpness: float | None
    trajectory: Trajectory
    outer: Outer | None
    landscape: Landscape | None
    embedding: Embedding | None
    seconds: NotNegative
    peak_memory_mib: NotNegative

    @model_validator(mode="after")
    def _check(self) -> "RunRecord":
        """Check what holds between keys; the messages start with the key at fault."""
        _check_status(self)
        _check_lengths(self)
        if self.metrics is not None:
            _check_answers(self.metrics.selected)
        if "python" not in self.versions:
            raise ValueError("versions: 'python' is a required property")
        return self


# How the reason of a run that did not end well starts or what it holds.
REASONS = {
    "diverged": r"^(loss|weights|curvature) not finite at step [0-9]+$",
    "timeout": r"after step [0-9]+ of [0-9]+",
    "error": r"[A-Za-z_]+: ",
    "out_of_memory": r".",
}


def _check_status(record: RunRecord) -> None:
    """Check that a finished run has its results, and that another says why it has not."""
    if record.status in FINAL:
        for key in ("weights", "steps", "gradients", "products"):
            if getattr(record, key) is None:
                raise ValueError(f"{key}: None is not allowed where status is {record.status}")
    else:
        for key in ("metrics", "weights"):
            if getattr(record, key) is not None:
                raise ValueError(f"{key}: only None is allowed where status is {record.status}")
    if record.status == "ok":
        if record.reason is not None:
            raise ValueError("reason: only None is allowed where status is ok")
        if record.metrics is None:
            raise ValueError("metrics: None is not allowed where status is ok")
    elif not re.search(REASONS[record.status], record.reason or ""):
        raise ValueError(
            f"reason: found {record.reason!r}, expected {REASONS[record.status]!r} where status is"
            f" {record.status}"
        )


def _check_lengths(record: RunRecord) -> None:
    """Check that the curvatures and what was logged have as many values as names and steps."""
    names, final = record.curvature.names, record.curvature.final
    if len(names) != len(final):
        raise ValueError(
            f"curvature.final: {len(final)} values, allowed is one for each of {len(names)} names"
        )
    steps = len(record.trajectory.step)
    for key, values in record.trajectory:
        if len(values) != steps:
            raise ValueError(
                f"trajectory.{key}: {len(values)} values for {steps} steps, allowed is one each"
            )
    for at in record.trajectory.curvature:
        if len(at) != len(names):
            found = f"a row of {len(at)}, allowed is {len(names)} values"
            raise ValueError(f"trajectory.curvature: {found}")


def _check_answers(selected: Metrics) -> None:
    """Check that the answers are those that the test accuracy is of."""
    if selected.test_right is None:
        return
    if min(selected.test_right) < 0:
        raise ValueError("metrics.selected.test_right: a negative number, allowed are counts")
    asked = len(selected.test_right) * (selected.test_answers or 1)
    share, accuracy = sum(selected.test_right) / asked, selected.test_accuracy
    if accuracy is None or abs(share - accuracy) > ROUNDING:
        found = f"{share:g} of the answers, while test_accuracy is {accuracy}"
        raise ValueError(f"metrics.selected.test_right: {found}; allowed is the same")


def check_record(record: object, path: Path) -> RunRecord:
    """Check the content of a record's file.

    Args:
        record: The content, as decoded.
        path: The file, for the error line.

    Returns:
        The record, typed.

    Raises:
        InputError: Something does not fit. The line names the file and the key.
    """
    try:
        return RunRecord.model_validate(record)
    except ValidationError as error:
        problem = _problem(error.errors(include_url=False)[0])
        raise InputError(
            f"{path}: {problem[:300]}; delete it and its bundle's index (block<k>.json) and run"
            f" {workflow_of(path)} again"
        ) from None


def _problem(error: ErrorDetails) -> str:
    """Say which key does not fit and why."""
    if error["type"] == "value_error" and not error["loc"]:
        return str(error["ctx"]["error"])  # of RunRecord._check, which names the key itself
    *parents, key = error["loc"] or ("the record",)
    parent = ".".join(map(str, parents)) or "the record"
    if error["type"] == "missing":
        return f"{parent}: {key!r} is a required property"
    if error["type"] == "extra_forbidden":
        return f"{parent}: {key!r} is unknown"
    found = reprlib.repr(error["input"])
    return f"{'.'.join(map(str, [*parents, key]))}: {error['msg']}, found {found}"


def write_index(index: Path, cell: Cell, paths: dict[int, Path]) -> None:
    """Write the index of a bundle: each run's record, by seed, and the digest of its bytes.

    Args:
        index: The file to write, in the folder of the records.
        cell: The cell that the bundle is of.
        paths: The record of each seed.
    """
    _write_index(index, cell, [(seed, path, path.name) for seed, path in sorted(paths.items())])


def write_point_index(index: Path, cell: Cell, runs: list[tuple[int, Path]]) -> None:
    """Write the index of a bundle of trials, whose records lie in the trials' own folders.

    Args:
        index: The file to write.
        cell: The searched cell.
        runs: Seed and record of each run.
    """
    placed = []
    for seed, path in runs:
        placed.append((seed, path, Path(os.path.relpath(path, index.parent)).as_posix()))
    _write_index(index, cell, placed)


def _write_index(index: Path, cell: Cell, runs: list[tuple[int, Path, str]]) -> None:
    listed = []
    for seed, path, place in runs:
        listed.append({"seed": seed, "path": place, "sha256": file_sha256(path)})
    of = {"experiment": cell.experiment, "method": cell.method}
    write_json(index, {"schema": 1, **of, "runs": listed})


def read_index(index: Path) -> tuple[tuple[str, str], list[tuple[int, Path, str]]]:
    """Read the index of a bundle.

    Args:
        index: The file.

    Returns:
        Experiment and method of the bundle, and seed, record's path and SHA-256 of each run.

    Raises:
        InputError: The file is missing, cut short or no index.
    """
    content = read_json(index)
    try:
        listed = []
        for run in content["runs"]:
            path = Path(os.path.normpath(index.parent / run["path"]))
            listed.append((run["seed"], path, run["sha256"]))
        return (content["experiment"], content["method"]), listed
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{index}: not a bundle index ({error}); delete it and run {workflow_of(index)} again"
        ) from None


def read_records(index: Path) -> Iterator[tuple[Path, Any]]:
    """Read every record that a bundle's index names.

    Args:
        index: The index.

    Yields:
        Path and content of each record. The content is not checked against `RunRecord`.

    Raises:
        InputError: As `read_record` and `read_index` do.
    """
    cell, listed = read_index(index)
    for seed, path, sha256 in listed:
        yield path, read_record(index, cell, seed, path, sha256)


def read_record(
    index: Path, cell: tuple[str, str], seed: int, path: Path, sha256: str
) -> JsonObject:
    """Read one record as `read_index` lists it.

    Args:
        index: The index, for the error line.
        cell: Experiment and method of the bundle.
        seed: The run's seed.
        path: The record.
        sha256: Of the record's bytes.

    Returns:
        The content, not checked against `RunRecord`.

    Raises:
        InputError: The record is missing, differs from the SHA-256, or is another cell's or seed's;
            or there are weights beside it and they differ from the record's.
    """
    again = f"delete it and {index} and run {workflow_of(path)} again"
    if not path.is_file():
        raise InputError(
            f"{path}: missing, though {index} lists it; delete that index and run"
            f" {workflow_of(path)} again"
        )
    if file_sha256(path) != sha256:
        raise InputError(
            f"{path}: edited or damaged since its run (SHA-256 differs from {index}); "
            f"delete it and that index and run {workflow_of(path)} again"
        )
    record = read_json(path)
    if not isinstance(record, dict):
        raise InputError(f"{path}: no run record; {again}")
    weights = path.with_suffix(".npy")
    if weights.is_file() and file_sha256(weights) != record.get("weights"):
        raise InputError(
            f"{weights}: edited or damaged since its run (SHA-256 differs from {path}); {again}"
        )
    found = tuple(record.get(key) for key in ("experiment", "method", "seed"))
    if found != (*cell, seed):
        raise InputError(f"{path}: is {found}, while {index} lists it as {(*cell, seed)}")
    return record


def same_cell(record: object, identity: dict[str, str]) -> bool:
    """Check whether a record is of a configuration, code and variant.

    Args:
        record: The content of a record's file.
        identity: The hashes to compare: `config_hash`, `code`, `variant_hash`, or some of them.

    Returns:
        Whether each is the record's.
    """
    return isinstance(record, dict) and all(
        record.get(key) == value for key, value in identity.items()
    )


def is_chosen(record: JsonObject) -> bool:
    """Check whether a run was chosen among other methods' runs, as `grid` and `best_of` do.

    Such a run was not trained of itself: its weights lie beside the chosen method's record.

    Args:
        record: The content of a record's file.
    """
    # A searched run names its point in `chosen`, and was trained there.
    return record.get("chosen") is not None and "tuning" not in record


def has_weights(path: Path, record: JsonObject) -> bool:
    """Check whether the weights that a record was written with lie beside it.

    Args:
        path: The record.
        record: Its content.

    Returns:
        Whether they are there, with the record's digest.
    """
    weights = path.with_suffix(".npy")
    return weights.is_file() and file_sha256(weights) == record.get("weights")
