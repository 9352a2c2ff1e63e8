"""The page of a results folder: one HTML file that needs nothing else."""

import base64
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast

import pandas as pd
from jinja2 import Environment, StrictUndefined

from hsac.data import catalogue
from hsac.data.overview import size
from hsac.errors import InputError
from hsac.files import JsonObject, read_json, workflow_of, write_bytes
from hsac.report import (
    columns,
    cost,
    curvature_role,
    frozen,
    frozen_bounds,
    frozen_rules,
    hypergradient_bias,
    provenance,
    published,
    table_sources,
    tables,
    theory,
    unfinished,
)
from hsac.report.claims import SETTINGS, Judged, lost_mark
from hsac.report.figures import FROZEN, THEORY, captions
from hsac.report.figures.style import COLOURS, OTHER
from hsac.report.gather import read_gathered

SETTING_TITLES = {
    "classification": "Classification",
    "long_tailed": "Long-tailed classification",
    "noisy": "Label noise",
    "few_shot": "Few-shot classification",
}
QUANTITIES = {
    "sharpness (nats)": "sharpness",
    "training NLL (nats)": "train_nll",
    "validation accuracy": "validation_accuracy",
    "test accuracy": "test_accuracy",
}
Interval = tuple[float, float, float]
# Counts of these parts of a variant stand first.
COUNT_WORDS = ("train", "validation", "test", "meta")


@dataclass(frozen=True)
class SortableTable:
    """A table of the page.

    Attributes:
        name: Of the table.
        headings: Of its columns.
        rows: For each row its cells, whether it is the reference, and its name in the provenance.
            A cell is (text, sort key, interval). The key is a number where there is one. The
            interval of an accuracy is (low, mean, high), from 0 to 100 over the span of its column,
            and None elsewhere.
    """

    name: str
    headings: list[str]
    rows: list[tuple[list[tuple[str, Any, Interval | None]], bool, str]]


@dataclass(frozen=True)
class Picture:
    """A figure or the picture of a dataset: name, caption, data URI and width of the image."""

    name: str
    caption: str
    image: tuple[str, int]


@dataclass(frozen=True)
class ShownExperiment:
    """An experiment: name, what it ran on, its table, reference, and runs that did not finish."""

    name: str
    cell: dict[str, str]
    table: SortableTable
    reference: str
    lost: str


@dataclass(frozen=True)
class Section:
    """A setting: its experiments and the claims about them."""

    id: str
    title: str
    experiments: list[ShownExperiment]
    claims: list[JsonObject]


@dataclass(frozen=True)
class Regret:
    """The section on frozen features.

    Attributes:
        sentences: The answer.
        figures: Its figures.
        table: Regret of each chooser.
        note: Below it.
        claims: Claims about regret.
        others: Further tables, each with its caption and note: how curvatures are ranked, and
            what rules do on solved heads.
    """

    sentences: list[str]
    figures: list[Picture]
    table: SortableTable
    note: str
    claims: list[JsonObject]
    others: list[tuple[SortableTable, str, str]]


@dataclass(frozen=True)
class ShownVariant:
    """A variant: its recipe in words, how many items its parts have, digest of its data."""

    words: str
    counts: str
    data_sha256: str


@dataclass(frozen=True)
class ShownDataset:
    """A dataset: what the catalogue says of it, with its picture."""

    name: str
    about: str
    facts: dict[str, str]
    picture: Picture


def sortable(numbers: pd.DataFrame, shown: pd.DataFrame, name: str = "") -> SortableTable:
    """Prepare a printed table for the page.

    Args:
        numbers: Its full numbers, which rows are sorted by where there are some.
        shown: What is printed.
        name: Of the table.

    Returns:
        The table.
    """
    headings = list(shown.columns)
    sources = _sources(numbers, headings)
    keys = {heading: numbers[name] for heading, name in sources.items()}
    plots = {heading: _intervals(numbers, name) for heading, name in sources.items()}
    rows = []
    for position, texts in enumerate(shown.itertuples(index=False)):
        row = []
        for heading, text in zip(headings, texts, strict=True):
            # Without numbers there is one row that says none, and nothing to sort or plot.
            key = keys[heading].iloc[position] if heading in keys and len(numbers) else text
            plot = plots[heading][position] if heading in plots and len(numbers) else None
            row.append((text, "" if pd.isna(key) else key, plot))
        rows.append(row)
    reference = [False] * len(rows)
    if "reference" in numbers:
        reference = [bool(r) for r in numbers["reference"]]
    labels = _labels(numbers, name) if len(numbers) else [""] * len(rows)
    return SortableTable(name, headings, list(zip(rows, reference, labels, strict=True)))


def _labels(numbers: pd.DataFrame, name: str) -> list[str]:
    """Return the names that provenance gives the rows; empty for a table without provenance."""
    made = table_sources.table(name, [name])
    if made is None or not set(made.key) <= set(numbers.columns):
        return [""] * len(numbers)
    return [provenance.label(made.key, row) for row in provenance.rows_of(numbers)]


def printed_headings() -> list[Mapping[str, str]]:
    """Return the headings of every kind of table.

    Returns:
        Column -> heading, one mapping a kind.
    """
    declared = (columns.experiment(), columns.FAILURES, columns.COST)
    others = theory.CERTIFICATES, theory.COVERAGE, hypergradient_bias.HEADINGS, frozen.HEADINGS
    of_heads = frozen_bounds.HEADINGS, *frozen_rules.HEADINGS.values()
    return [*map(columns.headings, declared), *others, *of_heads]


def _sources(numbers: pd.DataFrame, headings: Sequence[str]) -> dict[str, str]:
    # tables share names and headings (`p`, `Examples n`), so only what this table has may decide
    known = {
        heading: name
        for one in printed_headings()
        for name, heading in one.items()
        if name in numbers
    }
    # The overview's columns are experiments, whose headings no declaration lists.
    known |= {
        f"{c.removesuffix('_percent')} (%)": str(c)
        for c in numbers.columns
        if str(c).endswith("_percent")
    }
    return {h: known[h] for h in headings if h in known}


def _intervals(numbers: pd.DataFrame, name: str) -> list[Interval | None]:
    """Return (low, mean, high) of a column, in per cent of the span of all its intervals."""
    half = name.replace("_percent", "_half_width_percent")
    if half == name or half not in numbers:
        return [None] * len(numbers)
    means, halves = numbers[name].astype(float), numbers[half].astype(float).fillna(0)
    low, high = (means - halves).min(), (means + halves).max()
    # Not `high <= low`, which is false where both are NaN.
    if not high > low:
        return [None] * len(numbers)
    scaled = [
        100 * (values - low) / (high - low) for values in (means - halves, means, means + halves)
    ]
    return [None if pd.isna(m) else (a, m, b) for a, m, b in zip(*scaled, strict=True)]


def trajectories(rows: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> JsonObject:
    """Prepare what the page draws of ``trajectories.parquet``.

    Args:
        rows: The gathered trajectories.
        order: The methods of each experiment.

    Returns:
        Experiment -> method -> seed -> steps and series, of four digits each. Series are the
        curvature of each layer (``c: <layer>``) and the logged quantities of `QUANTITIES`.
    """
    found: JsonObject = {}
    for name, methods in order.items():
        block = rows[rows["experiment"] == name]
        for method in methods:
            for seed, run in block[block["method"] == method].groupby("seed", sort=True):
                layers = {
                    str(layer): part for layer, part in run.groupby("layer", sort=False)
                }  # "" where the model has no curvature
                # What is logged of the whole model is repeated in every layer's rows.
                first = next(iter(layers.values()))
                series = {
                    f"c: {layer}": _digits(part["curvature"])
                    for layer, part in layers.items()
                    if layer
                }
                series |= {key: _digits(first[column]) for key, column in QUANTITIES.items()}
                one = {"step": first["step"].tolist(), "series": series}
                found.setdefault(name, {}).setdefault(method, {})[str(seed)] = one
    return found


def _digits(values: pd.Series) -> list[float | None]:
    # The page holds every point, and a plot shows no more digits.
    return [None if pd.isna(v) else float(f"{v:.4g}") for v in values]


def image(path: Path) -> tuple[str, int]:
    """Read a PNG file.

    Args:
        path: The file.

    Returns:
        It as a data URI, and the width in CSS pixels to show it at.

    Raises:
        InputError: The file is missing.
    """
    try:
        data = path.read_bytes()
        # bytes 16 to 20 of a PNG are its width; 200 dots an inch shown at 120 pixels an inch read
        # well
        return (
            "data:image/png;base64," + base64.b64encode(data).decode(),
            int.from_bytes(data[16:20], "big") * 3 // 5,
        )
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); run {workflow_of(path)} again to remake it"
        ) from None


def duration(seconds: float) -> str:
    """Print a duration.

    Args:
        seconds: The duration.

    Returns:
        ``1 h 2 min 3 s``, without leading zero parts.
    """
    whole = round(seconds)
    parts = [(whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    return " ".join(f"{n} {unit}" for n, unit in parts if n) or "under 1 s"


def _read_claims(path: Path) -> list[JsonObject]:
    """Return the claims as the page shows them; another file in their place is an InputError."""
    entries = read_json(path)
    try:
        for entry in entries:
            # what only the template and the sections look up
            _ = entry["kind"], entry["setting"], entry["experiment"], entry["better"], entry["than"]
        return _claims(entries)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: found no judged claims ({type(error).__name__}: {error});"
            f" {workflow_of(path)} makes it again"
        ) from error


def _claims(entries: list[JsonObject]) -> list[JsonObject]:
    shown = []
    for entry in entries:
        text = columns.MISSING
        if entry["difference"] is not None:
            text = f"{entry['difference']:+.2f}"
            if entry["interval"]:
                text += " [{:+.2f}, {:+.2f}]".format(*entry["interval"])
        # which of the two tests decided
        second = entry["verdict"] == "contradicted" or (entry["minimum_effect"] or 0) < 0
        # Theory claims have no second test.
        found = entry.get("p_minimum_holm") if second else entry["p_holm"]
        p = float("nan") if found is None else found
        of = f" of {entry['planned']}" if entry.get("lost") else ""
        # A CSS class: the verdict without its reason.
        style = entry["verdict"].split(" (")[0].replace(" ", "-")
        shown.append(
            entry
            | {
                "style": style,
                "difference_text": text.replace("-", "−"),
                "p_text": columns.p_text(p),
                "p_key": "" if found is None else found,
                # Beside the verdict, unless that says it itself.
                "lost_text": lost_mark(cast(Judged, entry)).strip(),
                "pairs_of": of,
            }
        )
    return shown


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError):
        raise InputError(
            f"{path}: missing or damaged; run {workflow_of(path)} again to remake it"
        ) from None


def _experiment(runs: pd.DataFrame, name: str, numbers: pd.DataFrame) -> ShownExperiment:
    block = runs[runs["experiment"] == name]
    cell = block.iloc[0]
    ran_on = {key: str(cell[key]) for key in ("dataset", "variant", "model", "variant_hash")}
    reference = next(iter(numbers.loc[numbers["reference"], "method"]), "")
    table = sortable(numbers, tables.displayed(numbers), name)
    return ShownExperiment(name, ran_on, table, reference, unfinished.note(block))


def _environment(runs: pd.DataFrame, root: Path) -> dict[str, list[str]]:
    """Collect what the records say they ran with, each entry once."""
    found: dict[str, dict[str, None]] = {}
    for path in runs["record"]:
        record = read_json(root / path)
        for package, version in record["versions"].items():
            found.setdefault(package, {})[version] = None
        for key in ("device", "dtype"):
            found.setdefault(key, {})[record[key]] = None
    return {key: sorted(values) for key, values in sorted(found.items())}


def _variants(paths: Mapping[str, Path]) -> dict[str, ShownVariant]:
    """Read the variants: hash -> what is shown of it."""
    shown = {}
    for path in paths.values():
        variant = read_json(Path(path))
        counts = variant.get("counts", {})
        # Nested counts do not fit in a line.
        plain = [key for key, value in counts.items() if isinstance(value, int | float | str)]
        ordered = [key for key in COUNT_WORDS if key in plain]
        ordered += [key for key in plain if key not in COUNT_WORDS]
        words = variant["words"]
        shown[variant["hash"]] = ShownVariant(
            # `capitalize` would lower the other letters.
            (words[:1].upper() + words[1:]).rstrip(".") + ".",
            ", ".join(f"{key.replace('_', ' ')} {counts[key]}" for key in ordered),
            variant["data_sha256"],
        )
    return shown


def _figure(root: Path, name: str) -> Picture:
    caption = (captions() | FROZEN)[name]
    return Picture(name, caption, image(root / "figures" / f"{name}.png"))


def _regret(root: Path, claims: list[JsonObject]) -> Regret | None:
    """Make the section on frozen features, None where the study has none."""
    found = frozen.read(root)
    if found is None:
        return None
    numbers, compared = (
        _read_table(root / "tables" / f"{name}.csv") for name in ("regret", "regret_comparisons")
    )
    table = sortable(numbers, frozen.displayed(numbers), "regret")
    sentences, figures = frozen.answer(numbers, compared), [_figure(root, name) for name in FROZEN]
    others = _others_on_heads(root, frozen_bounds.NOTE + frozen_bounds.size_note(found))
    return Regret(sentences, figures, table, frozen.NOTE + found.note, claims, others)


def _others_on_heads(root: Path, of_bounds: str) -> list[tuple[SortableTable, str, str]]:
    """Return the tables of ranks, and of rules that are followed on solved heads if any are."""
    made = []
    captions = {frozen_bounds.NAME: frozen_bounds.CAPTION, **frozen_rules.CAPTIONS}
    notes = {frozen_bounds.NAME: of_bounds, **frozen_rules.NOTES}
    for name, caption in captions.items():
        path = root / "tables" / f"{name}.csv"
        if path.is_file():
            numbers = _read_table(path)
            if name == frozen_bounds.NAME:
                # By setting it is long; the file has it.
                numbers = numbers[numbers["group"] == frozen.ALL].reset_index(drop=True)
            displayed = table_sources.TABLES[name].shown(numbers)
            made.append((sortable(numbers, displayed, name), caption, notes[name]))
    return made


def _dataset(root: Path, name: str) -> ShownDataset:
    """Return what the catalogue says of a dataset, with its picture."""
    entry, drawn = catalogue.entry(name), read_json(root / "data" / f"{name}.json")
    facts = {
        "size": size(entry),
        "source": entry.source,
        "licence": entry.licence,
        "citation": entry.citation,
        "content": f"SHA-256 {drawn['sha256']}; as the catalogue says: {drawn['verified']}",
    }
    picture = Picture(f"data-{name}", drawn["caption"], image(root / "data" / f"{name}.png"))
    return ShownDataset(name, entry.about, facts, picture)


def _verification(path: Path) -> str:
    """Say what `hsac verify` found; empty when it was not asked."""
    if not path.is_file():
        return ""
    certificate = read_json(path)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in certificate["counts"].items())
    return f"{certificate['checked']} finished runs, drawn at random, were trained again: {counts}."


def write_page(
    results_dir: Path,
    datasets: Sequence[str],
    variants: Mapping[str, Path],
    behind: Mapping[str, Any],
    out: Path,
) -> None:
    """Write the page of a results folder: everything inlined, nothing fetched when it is opened.

    It shows ``runs.parquet``, ``trajectories.parquet``, ``measured.parquet``, ``claims.json``,
    ``tables/*.csv``, ``cost/cost.csv``, ``figures/*.png``, the records, ``settings.json`` for the
    problems on frozen features, the pictures of the datasets (``data/<name>.png`` and ``.json``),
    and ``verification.json`` where it is there.

    Args:
        results_dir: The results folder.
        datasets: Names of the datasets whose pictures are shown.
        variants: The variant file of each experiment, for the words of its recipe.
        behind: What a click on a cell opens, as of `hsac.report.provenance.page_data`.
        out: The file to write.

    Raises:
        InputError: A file is missing.
    """
    root = Path(results_dir)
    runs = read_gathered(root / "runs.parquet")
    overview = _read_table(root / "tables" / "overview.csv")
    # After the method, each experiment has a mean and a half width.
    listed = [str(column).removesuffix("_percent") for column in overview.columns[1::2]]
    present = [name for name in listed if name in set(runs["experiment"])]
    numbers = {name: _read_table(root / "tables" / f"{name}.csv") for name in present}
    order = {name: list(table["method"]) for name, table in numbers.items()}
    setting_of = dict(zip(runs["experiment"], runs["setting"], strict=True))
    judged = _read_claims(root / "claims.json")
    about_regret = [claim for claim in judged if claim["kind"] == "regret"]
    judged = [claim for claim in judged if claim["kind"] != "regret"]
    # One list of claims serves all scales. The page only counts those of others.
    claims = [
        claim
        for claim in judged
        if claim["kind"] == "theory"
        or {claim["better"], claim["than"]} <= {*order.get(claim["experiment"], ())}
    ]
    sections = []
    for setting in SETTINGS:
        members = [e for e in present if setting_of[e] == setting]
        if members:
            shown = [_experiment(runs, name, numbers[name]) for name in members]
            about = [claim for claim in claims if claim["setting"] == setting]
            sections.append(Section(setting, SETTING_TITLES[setting], shown, about))
    failures = _read_table(root / "tables" / "failures.csv")
    measured = read_gathered(root / "measured.parquet", "measured")
    costs = _read_table(root / "cost" / "cost.csv")
    certificates, coverage, ranks, biases, ledger = (
        _read_table(root / "tables" / f"{name}.csv")
        for name in (
            "certificates",
            "coverage",
            "rank_correlations",
            "hypergradient_bias",
            "published",
        )
    )
    # A name that the template misspells is an error, not an empty place.
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        resources.files("hsac.report").joinpath("page.html.j2").read_text("utf-8")
    )
    statuses, lost = runs["status"].value_counts(), unfinished.note(runs)
    scale = root.resolve().name  # the folder may be given as `.`
    html = template.render(
        scale=scale,
        scale_word=shlex.quote(scale),
        runs=len(runs),
        ok=int(statuses.get("ok", 0)),
        claims=claims,
        elsewhere=len(judged) - len(claims),
        sections=sections,
        overview=sortable(overview, tables.overview_displayed(overview), "overview"),
        overview_note=tables.overview_note(runs, order),
        table_note=tables.RECONSTRUCTED + tables.labels_note(runs),
        lost=lost,
        certificates=sortable(
            certificates, theory.certificates_displayed(certificates), "certificates"
        ),
        certificate_note=theory.CERTIFICATE_NOTE + theory.lost_certificates(certificates, runs),
        coverage=sortable(coverage, theory.coverage_displayed(coverage), "coverage"),
        coverage_note=theory.COVERAGE_NOTE,
        ranks=sortable(ranks, curvature_role.displayed(ranks), "rank_correlations"),
        rank_note=curvature_role.NOTE + theory.lost_in_sweep(runs, order),
        biases=sortable(biases, hypergradient_bias.displayed(biases), "hypergradient_bias"),
        bias_note=hypergradient_bias.NOTE,
        regret=_regret(root, [c for c in about_regret if c["verdict"] != "not run"]),
        published=sortable(ledger, published.displayed(ledger), "published"),
        published_note=published.NOTE + published.lost_note(ledger, runs),
        behind=behind,
        verification=_verification(root / "verification.json"),
        failures=sortable(failures, tables.failures_displayed(failures), "failures"),
        figures=[_figure(root, name) for name in captions() if name not in THEORY],
        theory_figures=[_figure(root, name) for name in captions() if name in THEORY],
        trajectories=trajectories(
            read_gathered(root / "trajectories.parquet", "trajectories"), order
        ),
        colours=COLOURS | {"": OTHER},
        references={
            name: str(t.loc[t["reference"], "method"].iloc[0]) for name, t in numbers.items()
        },
        datasets=[_dataset(root, name) for name in datasets],
        variants=_variants(variants),
        data=runs.drop_duplicates(["dataset", "variant", "variant_hash"]).to_dict("records"),
        environment=_environment(runs, root),
        cost=sortable(costs, cost.displayed(costs), "cost"),
        cost_note=cost.NOTE + lost,
        total=duration(float(measured["seconds"].sum())),
        longest=duration(float(measured["seconds"].max())) if len(runs) else columns.MISSING,
        memory=f"{measured['peak_memory_mib'].max():.0f} MiB" if len(runs) else columns.MISSING,
    )
    write_bytes(Path(out), html.encode())
