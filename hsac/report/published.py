"""The ledger of published numbers, compared with ours where the protocols are the same."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import pandas as pd
from pydantic import Field, ValidationError
from scipy import stats

from hsac import documents
from hsac.errors import InputError
from hsac.files import read_json
from hsac.parts import nearest
from hsac.report.claim_matrix import MOST_LOST
from hsac.report.columns import MISSING, SELECTIONS
from hsac.report.gather import read_gathered
from hsac.report.statistics import Mean, Replicates, mean_interval, more_seeds
from hsac.report.tables import write
from hsac.report.unfinished import lost, note
from hsac.study.fields import Allowed, Model, Real, problems

ALPHA = 0.05
TAGS = (
    *("split", "selection", "backbone"),
    *("weights", "curvature", "loss", "augmentation"),
    *("epochs", "batch", "weight_decay", "schedule"),
)
# What `tags_of` makes its own tags of; any other key of a configuration is a tag as it stands.
TAGGED = (
    *("setting", "dataset", "variant", "model", "training"),
    *("weights", "curvature", "rule", "measure", "loss"),
)
COLUMNS = {
    "id": "Published number",
    "source": "Source",
    "dataset": "Dataset",
    "metric": "Metric",
    "published": "Published value",
    "cell": "Our cell",
    "mean": "Our value [90 % interval]",
    "difference": "Difference [90 % interval]",
    "margin": "Margin",
    "verdict": "Verdict",
}
NOTE = (
    "Accuracies in %, differences and margins in points, NLL in nats. A published number is"
    " compared only with runs whose protocol agrees in every tag: ours are read from the runs' own"
    " configuration, a tag that a source does not state does not agree, and which rows a draw takes"
    " is no tag. Reproduced: two one-sided t tests at 5 % (TOST) find the difference inside the"
    " margin, as does its 90 % interval. Drifted: a one-sided t test at 5 % finds it outside."
    " Undecided: neither. Not comparable: the tags in brackets differ from those of the nearest of"
    " our methods, which is shown with its own value; the CSV says how they differ. Not run: no run"
    " on that dataset. Where a source states no spread its value is taken as it is printed; a"
    " spread over episodes is of a single model. Verdicts are not corrected for their number."
)


Tags = Annotated[dict[str, Any], Allowed("a mapping of tags")]
Name = Annotated[str, Field(strict=True, min_length=1), Allowed("text")]
Known = Annotated[
    Annotated[str, Field(strict=True, min_length=1)] | None,
    Allowed("text, or null where it is not known"),
]


class _Source(Model):
    """Where numbers were published."""

    paper: Known
    venue: Known
    link: Known


class _Number(Model):
    """An entry of the ledger."""

    id: Name
    source: Annotated[str, Allowed("a name of sources")]
    table: Known = None
    dataset: Name
    metric: Annotated[
        Literal["test_accuracy", "head_accuracy", "middle_accuracy", "tail_accuracy", "test_nll"],
        Allowed(
            "test_accuracy, head_accuracy, middle_accuracy or tail_accuracy (%), or test_nll (nats)"
        ),
    ]
    value: Annotated[Real, Allowed("a number")]
    interval: Annotated[
        Annotated[Real, Field(gt=0)] | None,
        Allowed("half the width of the 95 % interval, above 0, or null"),
    ] = None
    sd: Annotated[Annotated[Real, Field(gt=0)] | None, Allowed("a number above 0, or null")] = None
    n: Annotated[
        Annotated[int, Field(strict=True, ge=1)] | None, Allowed("an integer from 1, or null")
    ] = None
    over: Annotated[Literal["seeds", "episodes"], Allowed("seeds or episodes")] = "seeds"
    margin: Annotated[Real, Field(gt=0), Allowed("a number above 0")]
    protocol: Annotated[str, Allowed("a name of protocols")]
    tags: Tags = Field(default_factory=dict)


class _Ledger(Model):
    """The file."""

    sources: dict[str, _Source]
    protocols: dict[str, Tags]
    numbers: list[_Number]


@dataclass(frozen=True)
class Published:
    """A published number, with what is known of its spread.

    Attributes:
        id: Names the number.
        source: Paper and venue in words.
        dataset: The dataset's name.
        metric: What was measured, as the columns of the gathered table name it.
        value: In the metric's own units (accuracy in %, NLL in nats).
        margin: A difference up to it counts as the same number.
        tags: The protocol, with the keys of `tags_of`.
        table: Where in the source.
        interval: Half the width of a 95 % interval.
        sd: Standard deviation of the `n` values.
        n: How many values the number is over.
        over: What `n` counts.
    """

    id: str
    source: str
    dataset: str
    metric: str
    value: float
    margin: float
    tags: Mapping[str, Any]
    table: str | None = None
    interval: float | None = None
    sd: float | None = None
    n: int | None = None
    over: str = "seeds"

    def standard_error(self) -> tuple[float, float]:
        """Return the standard error of the value and its degrees of freedom.

        Returns:
            The two, (0, inf) where the source states no spread.
        """
        # An sd without its count does not tell the mean's error.
        if self.sd is not None and self.n is not None and self.n > 1:
            return self.sd / math.sqrt(self.n), self.n - 1
        if self.interval is not None and self.n != 1:
            # Without a count the interval is taken for a normal one.
            df = math.inf if self.n is None else self.n - 1
            return self.interval / float(stats.t.ppf(0.975, df)), df
        return 0.0, math.inf


def read_published(path: Path) -> list[Published]:
    """Read the ledger.

    Args:
        path: The YAML file.

    Returns:
        The numbers, each with its source in words and its protocol's tags under its own.

    Raises:
        InputError: The file cannot be read, or something in it does not fit. The line names the
            entry and key, what was found and what is allowed.
    """
    content = documents.read_yaml(path)
    if not isinstance(content, dict):
        allowed = "a mapping of sources, protocols and numbers"
        raise InputError(f"{path}: found {type(content).__name__}; allowed is {allowed}")
    try:
        ledger = _Ledger.model_validate(content)
    except ValidationError as error:
        place, line = next(problems(error, _Ledger))
        raise InputError(f"{path}: {_with_id(line, place, content)}") from None
    numbers = []
    seen: set[str] = set()
    for entry in ledger.numbers:
        if entry.id in seen:
            raise InputError(f"{path}: {entry.id}: id is used twice")
        seen.add(entry.id)
        numbers.append(_number(entry, ledger, path))
    return numbers


def _with_id(line: str, place: tuple[str, ...], content: Any) -> str:
    """Name an entry in an error line by its id rather than by its place."""
    if place[0] != "numbers" or len(place) < 2:
        return line
    entry = content["numbers"][int(place[1])]
    known = entry.get("id") if isinstance(entry, dict) else None
    return line.replace(f"numbers.{place[1]}", known or f"number {int(place[1]) + 1}", 1)


def _number(entry: _Number, ledger: _Ledger, path: Path) -> Published:
    references = (("source", ledger.sources), ("protocol", ledger.protocols))
    for key, known in cast(Iterable[tuple[str, Mapping[str, Any]]], references):
        found = getattr(entry, key)
        if found not in known:
            raise InputError(f"{path}: {entry.id}: {key}: found {found!r}; {nearest(found, known)}")
    tags = dict(ledger.protocols[entry.protocol])
    for name, value in entry.tags.items():
        base = tags.get(name)
        # An entry changes single keys of its protocol's tag.
        merged = isinstance(base, dict) and isinstance(value, dict)
        tags[name] = base | value if merged else value
    for name in TAGS:
        # A tag left out is an oversight: what is not known must be said by null.
        if name not in tags:
            allowed = "a value, or null where the source does not state it"
            raise InputError(
                f"{path}: {entry.id}: tags.{name}: found nothing; allowed is {allowed}"
            )
    source = ledger.sources[entry.source]
    words = ", ".join(part for part in (source.paper, source.venue) if part) or "not traced"
    given = entry.model_dump(exclude={"protocol", "tags", "source"})
    return Published(**given, source=words, tags=tags)


def tags_of(config: Mapping[str, Any], selection: str = "selected") -> dict[str, Any]:
    """Return the protocol of a cell, from its configuration alone.

    Dropped are the variant's name and its random draw, how sharpness is measured, and what a
    Euclidean or fixed curvature leaves unused. Anything else that a configuration holds, now or
    later, becomes a tag, so that no unforeseen choice passes for agreement.

    Args:
        config: The cell's configuration, as its records hold it.
        selection: The rule that its metric was chosen by.

    Returns:
        The tags: the keys of `TAGS` and any other choice. A loss whose parameters are given is a
        mapping of rule and these. Training without the key ``augment`` augments nothing.
    """
    training = dict(config["training"])
    evaluations = training.pop("evaluations")
    chosen = {"rule": selection}
    # The last epoch is the last however often one looked.
    if selection != "last":
        chosen["evaluations"] = evaluations
    loss = config["loss"]
    variant = config["variant"]
    return {
        "split": {key: variant[key] for key in variant if key not in ("name", "draw")},
        "selection": chosen,
        "backbone": dict(config["model"]),
        "weights": {"rule": config["weights"]["rule"], **config["weights"]["parameters"]},
        "curvature": _curvature_tag(config),
        "loss": {"rule": loss["rule"], **loss["parameters"]}
        if loss["parameters"]
        else loss["rule"],
        # Taken out before the rest of `training` follows.
        "augmentation": training.pop("augment", "none"),
        **training,
        **{key: value for key, value in config.items() if key not in TAGGED},
    }


def _curvature_tag(config: Mapping[str, Any]) -> dict[str, Any]:
    rule = config["rule"]["rule"]
    # Settings that these rules do not use would make equal trainings differ.
    if rule == "euclidean":
        return {"rule": rule}
    if rule == "fixed":
        return {"rule": rule, "c": config["curvature"]["start"]}
    return {"rule": rule, **config["curvature"], **config["rule"]["parameters"]}


def differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that do not agree.

    Args:
        theirs: Tags of a published number.
        ours: Tags of a cell.

    Returns:
        Both sides in words, by tag. What one side leaves out or null does not agree.
    """
    found = {}
    for name in dict.fromkeys([*ours, *theirs]):
        unequal = []
        for key, a, b in _pairs(theirs.get(name), ours.get(name)):
            # Two sides that do not say have not agreed.
            if a is None or b is None or a != b:
                unequal.append(f"{key}{_text(a)}, here {_text(b)}")
        if unequal:
            found[name] = "; ".join(unequal)
    return found


def _pairs(theirs: Any, ours: Any) -> list[tuple[str, Any, Any]]:
    if not (isinstance(theirs, dict) and isinstance(ours, dict)):
        return [("", theirs, ours)]
    return [(f"{key} ", theirs.get(key), ours.get(key)) for key in dict.fromkeys([*ours, *theirs])]


def _text(value: Any) -> str:
    return "not stated" if value is None else str(value)


@dataclass(frozen=True)
class Equivalence:
    """Our value less a published one.

    Attributes:
        difference: Ours less theirs, in the metric's units.
        low: Lower end of the 90 % interval.
        high: Upper end of the 90 % interval.
        p_equivalent: The larger p of the two tests for a difference inside the margin.
        p_beyond: The smaller p of the two tests for a difference outside it.
    """

    difference: float
    low: float
    high: float
    p_equivalent: float
    p_beyond: float


def equivalence(ours: Mean, published: Published) -> Equivalence:
    """Test a mean against a published value by two one-sided t tests (Schuirmann 1987).

    Variances may be unequal (Welch).

    Args:
        ours: Our mean over seeds.
        published: The number, whose margin says what counts as the same.

    Returns:
        The tests, NaN under two runs.
    """
    difference = ours.mean - published.value
    if ours.n < 2:
        return Equivalence(difference, *[math.nan] * 4)
    error, degrees = published.standard_error()
    own = ours.sd**2 / ours.n
    both, margin = math.sqrt(own + error**2), published.margin
    if both == 0:  # every run gave the same number, and a printed one has no spread
        inside = abs(difference) <= margin
        return Equivalence(difference, difference, difference, float(not inside), float(inside))
    # Welch and Satterthwaite's degrees of freedom.
    df = (own + error**2) ** 2 / (own**2 / (ours.n - 1) + (error**4 / degrees if error else 0.0))
    t = stats.t(df)
    up, down = (difference + margin) / both, (difference - margin) / both
    # This 90 % interval is inside the margin just where both tests reject at 5 %.
    half = float(t.ppf(1 - ALPHA)) * both
    # Inside takes both tests, so the larger p counts. Outside takes one.
    inside, outside = max(t.sf(up), t.cdf(down)), min(t.cdf(up), t.sf(down))
    low, high = difference - half, difference + half
    return Equivalence(difference, low, high, float(inside), float(outside))


def verdict(ours: Mean, published: Published, test: Equivalence) -> str:
    """Return the verdict on a published number.

    Args:
        ours: Our mean over seeds.
        published: The number.
        test: What `equivalence` says of the two.

    Returns:
        ``reproduced``, ``drifted``, or ``undecided (…)`` with what would decide it.
    """
    if ours.n < 2:
        runs = "run" if ours.n == 1 else "runs"
        return f"undecided (spread unknown: {ours.n} finished {runs}, at least 2 are needed)"
    if test.p_equivalent < ALPHA:
        return "reproduced"
    if test.p_beyond < ALPHA:
        return "drifted"
    gap = abs(published.margin - abs(test.difference))
    z = float(stats.norm.ppf(1 - ALPHA) + stats.norm.ppf(0.8))
    # What the published spread leaves of the gap to resolve.
    left = gap**2 - (z * published.standard_error()[0]) ** 2
    # Without a spread of ours more seeds change nothing.
    if left <= 0 or ours.sd == 0:
        return "undecided (the published interval is too wide)"
    # `more_seeds` takes the level of a two-sided test.
    more = more_seeds(ours.sd, math.sqrt(left), ours.n, 2 * ALPHA)
    at_least, seeds = "+" if more == 1000 else "", "seed" if more == 1 else "seeds"
    return f"undecided (about {more}{at_least} more {seeds})"


def judge(numbers: Iterable[Published], runs: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Compare published numbers with our cells.

    Args:
        numbers: The ledger.
        runs: The gathered table.
        root: The folder that its records lie under. Configurations are read there.

    Returns:
        One row a number and cell of ours that agrees with it in every tag. A number without such a
        cell has one row, with the cell that differs in the fewest tags. Columns: id, source, table,
        dataset, metric, published, interval, sd, n, over, experiment, method, runs (finished),
        mean, mean_low, mean_high (90 % interval), difference, low, high, margin, p_equivalent,
        p_beyond, verdict, differs. Accuracies are in %, NLL in nats.
    """
    numbers = list(numbers)
    present = runs[runs["dataset"].isin({number.dataset for number in numbers})]
    groups = present.groupby(["experiment", "method"], sort=False)
    cells = [(rows, _config(rows, root)) for _, rows in groups]
    out = []
    for number in numbers:
        wanted = number.tags["selection"]
        chosen = wanted.get("rule") if isinstance(wanted, dict) else wanted
        # A rule that is none of ours differs as a tag. The value shown beside it is the usual one.
        selection = chosen if chosen in SELECTIONS else "selected"
        scored = []
        for rows, config in cells:
            if config["dataset"] == number.dataset:
                scored.append((differing(number.tags, tags_of(config, selection)), rows))
        # Without an agreeing cell, the one that comes closest says what would have to change.
        agreeing = [(differs, rows) for differs, rows in scored if not differs]
        closest = [min(scored, key=_distance)] if scored else []
        for differs, rows in agreeing or closest:
            out.append(_row(number, rows, selection, differs))
        if not scored:
            out.append(_blank(number) | {"verdict": "not run"})
    return pd.DataFrame(out, columns=list(_blank(None)))


def _distance(scored: tuple[dict[str, str], pd.DataFrame]) -> tuple[int, int]:
    """Return how many tags differ, and in how many words."""
    return len(scored[0]), sum(map(len, scored[0].values()))


def _config(rows: pd.DataFrame, root: Path) -> dict[str, Any]:
    """Read the configuration of a cell from its first record."""
    return read_json(Path(root) / rows["record"].iloc[0])["config"]


def _blank(number: Published | None) -> dict[str, Any]:
    """Return the row of a number that nothing is known of; without a number, of its columns."""
    row: dict[str, Any] = {}
    for name in ("id", "source", "table", "dataset", "metric"):
        row[name] = getattr(number, name, None)
    row["published"] = None if number is None else number.value
    for name in ("interval", "sd", "n", "over"):
        row[name] = getattr(number, name, None)
    row |= {"experiment": None, "method": None, "runs": 0}
    row |= dict.fromkeys(("mean", "mean_low", "mean_high", "difference", "low", "high"), np.nan)
    row |= {"margin": getattr(number, "margin", None), "p_equivalent": np.nan, "p_beyond": np.nan}
    return row | {"verdict": None, "differs": None}


def _row(
    number: Published, rows: pd.DataFrame, selection: str, differs: Mapping[str, str]
) -> dict[str, Any]:
    scale = 100 if number.metric.endswith("accuracy") else 1
    experiment, method = rows["experiment"].iloc[0], rows["method"].iloc[0]
    values = Replicates(rows, experiment, method, f"{selection}_{number.metric}", scale)
    ours = mean_interval(values, level=1 - 2 * ALPHA)
    # The cell is shown even where it is not comparable, with its own value beside the published.
    row = _blank(number) | {"experiment": experiment, "method": method}
    row |= {"runs": ours.n, "mean": ours.mean, "mean_low": ours.low, "mean_high": ours.high}
    if differs:
        detail = " | ".join(f"{name}: {words}" for name, words in differs.items())
        return row | {"verdict": f"not comparable ({', '.join(differs)})", "differs": detail}
    test = equivalence(ours, number)
    row |= {"difference": test.difference, "low": test.low, "high": test.high}
    row |= {"p_equivalent": test.p_equivalent, "p_beyond": test.p_beyond}
    return row | {"verdict": _marked(verdict(ours, number, test), ours, rows)}


def _marked(word: str, ours: Mean, rows: pd.DataFrame) -> str:
    """Say in a verdict which runs did not finish, and give none where they are too many."""
    share, lost_runs = lost(rows)
    # Under two runs there is none anyway.
    if share > MOST_LOST and ours.n >= 2:
        return f"undecided ({lost_runs}; at most {100 * MOST_LOST:g} % may be)"
    return f"{word} ({lost_runs})" if lost_runs else word


def displayed(table: pd.DataFrame) -> pd.DataFrame:
    """Turn the comparisons into text to print.

    Args:
        table: What `judge` returns.

    Returns:
        The cells as text, one row saying none for an empty ledger.
    """
    if table.empty:
        return pd.DataFrame([dict.fromkeys(COLUMNS.values(), MISSING) | {COLUMNS["id"]: "none"}])
    shown = []
    for row in table.to_dict("records"):
        texts = _texts(row)
        shown.append({heading: texts[name] for name, heading in COLUMNS.items()})
    return pd.DataFrame(shown)


def _texts(row: Mapping[Any, Any]) -> dict[str, str]:
    place = f", table {row['table']}" if isinstance(row["table"], str) else ""
    has_cell = isinstance(row["experiment"], str)
    count = f" (n = {row['runs']})" if row["runs"] else ""
    return {
        "id": row["id"],
        "source": f"{row['source']}{place}",
        "dataset": row["dataset"],
        "metric": row["metric"].replace("_", " "),
        "published": _printed(row),
        "cell": f"{row['experiment']} {row['method']}" if has_cell else MISSING,
        "mean": _with_interval("{:.2f}", row["mean"], row["mean_low"], row["mean_high"]) + count,
        "difference": _with_interval("{:+.2f}", row["difference"], row["low"], row["high"]),
        "margin": f"{row['margin']:g}",
        "verdict": row["verdict"],
    }


def _printed(row: Mapping[Any, Any]) -> str:
    """Return a published value with the spread that its source states."""
    text = f"{row['published']:g}"
    if not pd.isna(row["interval"]):
        text += f" ± {row['interval']:g}"
    elif not pd.isna(row["sd"]):
        text += f", sd {row['sd']:g}"
    return text if pd.isna(row["n"]) else f"{text} (n = {row['n']:.0f} {row['over']})"


def _with_interval(pattern: str, value: float, low: float, high: float) -> str:
    if pd.isna(value):
        return MISSING
    text = pattern.format(value)
    if not pd.isna(low):
        text += f" [{pattern.format(low)}, {pattern.format(high)}]"
    return text.replace("-", "−")


def write_published(ledger: Path, runs_parquet: Path, out_dir: Path) -> None:
    """Write the table ``published`` as .csv, .md and .tex.

    Args:
        ledger: The YAML file of published numbers.
        runs_parquet: The gathered runs, with the records beside them.
        out_dir: The folder to write into.
    """
    runs = read_gathered(runs_parquet)
    numbers = judge(read_published(ledger), runs, Path(runs_parquet).parent)
    write(Path(out_dir), "published", numbers, displayed(numbers), NOTE + lost_note(numbers, runs))


def lost_note(numbers: pd.DataFrame, runs: pd.DataFrame) -> str:
    """Name the cells beside published numbers of which runs did not finish.

    Args:
        numbers: What `judge` returns.
        runs: The gathered runs.

    Returns:
        A sentence with a space before it, empty where all finished.
    """
    # One merge of two columns, as an experiment has other methods, too.
    cells = numbers[["experiment", "method"]].dropna().drop_duplicates()
    return note(runs.astype({"experiment": object, "method": object}).merge(cells))
