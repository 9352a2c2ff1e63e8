"""The ledger of published numbers: read, checked, and compared with ours where the protocols are
the same.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jsonschema import Draft202012Validator
from scipy import stats

from hsac.errors import InputError
from hsac.files import read_json
from hsac.parts import nearest
from hsac.report.columns import MISSING, SELECTIONS
from hsac.report.gather import read_gathered
from hsac.report.statistics import Mean, Replicates, mean_interval, more_seeds
from hsac.report.tables import write

ALPHA = 0.05
TAGS = (
    "split", "selection", "backbone", "weights", "curvature", "loss", "augmentation", "epochs", "batch",
    "weight_decay", "schedule",
)  # fmt: skip
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


@dataclass(frozen=True)
class Published:
    """A published number in the metric's own units (accuracy in %, NLL in nats), with what is known
    of its spread.

    ``interval`` is half the width of a 95 % interval, ``sd`` the spread of the ``n`` values,
    ``over`` what n counts. ``margin``: a difference up to it counts as the same number. ``tags``:
    the protocol, keys as of ``tags_of``.
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
        """Standard error of ``value`` and its degrees of freedom; (0, inf) where the source states
        no spread.
        """
        if self.sd is not None and self.n is not None and self.n > 1:
            return self.sd / math.sqrt(self.n), self.n - 1
        if self.interval is not None and self.n != 1:
            df = math.inf if self.n is None else self.n - 1
            return self.interval / float(stats.t.ppf(0.975, df)), df
        return 0.0, math.inf


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(
        json.loads(resources.files("hsac.report").joinpath("published.schema.json").read_text())
    )


def read_published(path: Path) -> list[Published]:
    """The ledger's numbers, each with its source in words and its protocol's tags under its own.

    Raises InputError in one line naming the entry and key that do not fit, what was found and what
    is allowed.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: missing") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    for misfit in sorted(
        _validator().iter_errors(content), key=lambda e: [str(part) for part in e.absolute_path]
    ):
        raise InputError(f"{path}: {_sentence(misfit, content)}")
    numbers = [_number(entry, content, path) for entry in content["numbers"]]
    for position, number in enumerate(numbers):
        if number.id in {earlier.id for earlier in numbers[:position]}:
            raise InputError(f"{path}: {number.id}: id is used twice")
    return numbers


def _sentence(error: Any, content: Any) -> str:
    parts = list(error.absolute_path)
    if parts[:1] == ["numbers"] and len(parts) > 1:
        entry = content["numbers"][parts[1]]
        label = entry.get("id") if isinstance(entry, dict) else None
        parts = [label or f"number {parts[1] + 1}", *parts[2:]]
    key = ".".join(str(part) for part in parts) or "top level"
    if error.validator == "required":
        return f"{key}: {error.message}"
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        extra = next(name for name in error.instance if name not in known)
        return f"{key}: found the unknown key {extra!r}; {nearest(str(extra), known)}"
    allowed = error.schema.get("title") or f"{error.validator} {error.validator_value}"
    return f"{key}: found {str(error.instance)[:80]!r}; allowed is {allowed}"


def _number(entry: Mapping[str, Any], content: Mapping[str, Any], path: Path) -> Published:
    for key, known in (("source", content["sources"]), ("protocol", content["protocols"])):
        if entry[key] not in known:
            raise InputError(
                f"{path}: {entry['id']}: {key}: found {entry[key]!r}; {nearest(entry[key], known)}"
            )
    tags = dict(content["protocols"][entry["protocol"]])
    for name, value in entry.get("tags", {}).items():
        base = tags.get(name)
        tags[name] = (
            {**base, **value} if isinstance(base, dict) and isinstance(value, dict) else value
        )
    for name in TAGS:
        if name not in tags:
            allowed = "a value, or null where the source does not state it"
            raise InputError(
                f"{path}: {entry['id']}: tags.{name}: found nothing; allowed is {allowed}"
            )
    source = content["sources"][entry["source"]]
    words = ", ".join(part for part in (source["paper"], source["venue"]) if part) or "not traced"
    given = {
        key: value for key, value in entry.items() if key not in ("protocol", "tags", "source")
    }
    return Published(**given, source=words, tags=tags)


def tags_of(config: Mapping[str, Any], selection: str = "selected") -> dict[str, Any]:
    """The protocol of a cell, from its configuration alone; ``selection`` is the rule its metric
    was chosen by.

    Keys are those of TAGS. Dropped are the variant's name and its random draw, how sharpness is
    measured, and what a Euclidean or fixed curvature leaves unused. Anything else a configuration
    holds, now or later, becomes a tag, so that no unforeseen choice passes for agreement. A loss
    whose parameters are given is a mapping of rule and these. Training without the key ``augment``
    augments nothing.
    """
    training = dict(config["training"])
    evaluations = training.pop("evaluations")
    loss = config["loss"]
    curvature = {"rule": config["rule"]["rule"]}
    if curvature["rule"] == "fixed":
        curvature["c"] = config["curvature"]["start"]
    elif curvature["rule"] != "euclidean":
        curvature |= {**config["curvature"], **config["rule"]["parameters"]}
    used = {
        "setting",
        "dataset",
        "variant",
        "model",
        "training",
        "weights",
        "curvature",
        "rule",
        "measure",
        "loss",
    }
    return {
        "split": {
            key: value for key, value in config["variant"].items() if key not in ("name", "draw")
        },
        # the last epoch is the last however often one looked
        "selection": (
            {"rule": selection} | ({} if selection == "last" else {"evaluations": evaluations})
        ),
        "backbone": dict(config["model"]),
        "weights": {"rule": config["weights"]["rule"], **config["weights"]["parameters"]},
        "curvature": curvature,
        "loss": (
            {"rule": loss["rule"], **loss["parameters"]} if loss["parameters"] else loss["rule"]
        ),
        "augmentation": training.pop("augment", "none"),
        **training,
        **{key: value for key, value in config.items() if key not in used},
    }


def differing(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, str]:
    """Tags that do not agree, each with both sides in words. What one side leaves out or null does
    not agree.
    """
    found = {}
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        pairs = _pairs(theirs.get(name), ours.get(name))
        unequal = [
            f"{key}{_text(a)}, here {_text(b)}"
            for key, a, b in pairs
            if a is None or b is None or a != b
        ]
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
    """Ours minus a published value: difference, 90 % interval, p of being inside the margin and of
    being outside.
    """

    difference: float
    low: float
    high: float
    p_equivalent: float
    p_beyond: float


def equivalence(ours: Mean, published: Published) -> Equivalence:
    """Two one-sided t tests (Schuirmann 1987) of ``ours`` against the published value and margin,
    variances unequal (Welch); NaN under two runs.

    ``p_equivalent`` is the larger p of the two tests for a difference inside the margin;
    ``p_beyond`` the smaller p of the two for one outside it.
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
    df = (own + error**2) ** 2 / (own**2 / (ours.n - 1) + (error**4 / degrees if error else 0.0))
    t = stats.t(df)
    up, down = (difference + margin) / both, (difference - margin) / both
    half = float(t.ppf(1 - ALPHA)) * both
    inside, outside = max(t.sf(up), t.cdf(down)), min(t.cdf(up), t.sf(down))
    return Equivalence(
        difference, difference - half, difference + half, float(inside), float(outside)
    )


def verdict(ours: Mean, published: Published, test: Equivalence) -> str:
    """``reproduced``, ``drifted`` or ``undecided (…)`` with what would decide it."""
    if ours.n < 2:
        return (
            f"undecided (spread unknown: {ours.n} finished run{'s' * (ours.n != 1)}, at least 2 are"
            " needed)"
        )
    if test.p_equivalent < ALPHA:
        return "reproduced"
    if test.p_beyond < ALPHA:
        return "drifted"
    gap = abs(published.margin - abs(test.difference))
    z = float(stats.norm.ppf(1 - ALPHA) + stats.norm.ppf(0.8))
    left = (
        gap**2 - (z * published.standard_error()[0]) ** 2
    )  # what the published spread leaves of the gap to resolve
    if left <= 0:
        return "undecided (the published interval is too wide)"
    more = more_seeds(ours.sd, math.sqrt(left), ours.n, 2 * ALPHA)
    return f"undecided (about {more}{'+' * (more == 1000)} more seed{'s' * (more != 1)})"


def judge(numbers: Iterable[Published], runs: pd.DataFrame, root: Path) -> pd.DataFrame:
    """One row a published number and cell of ours that agrees with it in every tag, else one row
    for the number.

    ``runs`` is the gathered table, ``root`` the folder its records lie under; configurations are
    read there. Columns: id, source, table, dataset, metric, published, interval, sd, n, over,
    experiment, method, runs (finished), mean, mean_low, mean_high (90 % interval), difference, low,
    high, margin, p_equivalent, p_beyond, verdict, differs. Accuracies in %, NLL in nats. A number
    without an agreeing cell shows the cell that differs in the fewest tags.
    """
    numbers = list(numbers)
    present = runs[runs["dataset"].isin({number.dataset for number in numbers})]
    cells = [
        (rows, _config(rows, root))
        for _, rows in present.groupby(["experiment", "method"], sort=False)
    ]
    out = []
    for number in numbers:
        wanted = number.tags["selection"]
        chosen = wanted.get("rule") if isinstance(wanted, dict) else wanted
        selection = chosen if chosen in SELECTIONS else "selected"
        scored = []
        for rows, config in cells:
            if config["dataset"] == number.dataset:
                scored.append((differing(number.tags, tags_of(config, selection)), rows))
        agreeing = [(differs, rows) for differs, rows in scored if not differs]
        closest = (
            [min(scored, key=lambda pair: (len(pair[0]), sum(map(len, pair[0].values()))))]
            if scored
            else []
        )
        for differs, rows in agreeing or closest:
            out.append(_row(number, rows, selection, differs))
        if not scored:
            out.append(_blank(number) | {"verdict": "not run"})
    return pd.DataFrame(out, columns=list(_blank(None)))


def _config(rows: pd.DataFrame, root: Path) -> dict[str, Any]:
    """The configuration of a cell, from its first record."""
    return read_json(Path(root) / rows["record"].iloc[0])["config"]


def _blank(number: Published | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(("id", "source", "table", "dataset", "metric", "published"))
    if number is not None:
        row = {name: getattr(number, name) for name in row if name != "published"} | {
            "published": number.value
        }
    row |= {name: getattr(number, name, None) for name in ("interval", "sd", "n", "over")}
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
    row = _blank(number) | {"experiment": experiment, "method": method}
    row |= {"runs": ours.n, "mean": ours.mean, "mean_low": ours.low, "mean_high": ours.high}
    if differs:
        detail = " | ".join(f"{name}: {words}" for name, words in differs.items())
        return row | {"verdict": f"not comparable ({', '.join(differs)})", "differs": detail}
    test = equivalence(ours, number)
    row |= {"difference": test.difference, "low": test.low, "high": test.high}
    row |= {"p_equivalent": test.p_equivalent, "p_beyond": test.p_beyond}
    return row | {"verdict": verdict(ours, number, test)}


def displayed(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``judge`` as text to print; one row saying none for an empty ledger."""
    if table.empty:
        return pd.DataFrame([dict.fromkeys(COLUMNS.values(), MISSING) | {COLUMNS["id"]: "none"}])
    shown = []
    for row in table.to_dict("records"):
        table_words = f", table {row['table']}" if isinstance(row["table"], str) else ""
        texts = {
            "id": row["id"],
            "source": f"{row['source']}{table_words}",
            "dataset": row["dataset"],
            "metric": row["metric"].replace("_", " "),
            "published": _printed(row),
            "cell": (
                f"{row['experiment']} {row['method']}"
                if isinstance(row["experiment"], str)
                else MISSING
            ),
            "mean": (
                _with_interval("{:.2f}", row["mean"], row["mean_low"], row["mean_high"])
                + (f" (n = {row['runs']})" if row["runs"] else "")
            ),
            "difference": _with_interval("{:+.2f}", row["difference"], row["low"], row["high"]),
            "margin": f"{row['margin']:g}",
            "verdict": row["verdict"],
        }
        shown.append({COLUMNS[name]: text for name, text in texts.items()})
    return pd.DataFrame(shown)


def _printed(row: Mapping[Any, Any]) -> str:
    """A published value with the spread its source states."""
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
    """Write ``published`` as .csv, .md and .tex under ``out_dir``; the records lie beside
    ``runs_parquet``.
    """
    numbers = judge(read_published(ledger), read_gathered(runs_parquet), Path(runs_parquet).parent)
    write(Path(out_dir), "published", numbers, displayed(numbers), NOTE)
