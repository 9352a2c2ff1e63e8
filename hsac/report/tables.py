"""Tables of an experiment, the overview and the failures, as CSV (full numbers), Markdown and LaTeX
(booktabs).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hsac.files import write_bytes
from hsac.report.gather import read_gathered
from hsac.report.statistics import Replicates, mean_interval, summarise

RECONSTRUCTED = (
    "Curvature rules implement the method as reconstructed in this project, not the paper's code."
    " Selection was on validation only; the oracle column (best test epoch) is not a fair result."
    " Means and 95 % t intervals are over seeds, differences are paired by seed, p is the paired t"
    " test's or, from 12 pairs on, the sign-flip test's, Holm's correction is over the table;"
    " accuracy in %, differences in points, NLL and sharpness in nats; the calibration error is"
    " over 15 bins; NLL and sharpness are of cross-entropy, whatever loss a method trains. The CSV"
    " file also has the interquartile mean, intervals of the hierarchical bootstrap over seeds and"
    " test items, the probability of improvement, Hedges' g and the seeds that would decide. A run"
    " that did not finish counts in n and in no mean. Gradients and products are of a run; a"
    " search's are on top."
)
EXTRAS = {
    "selected_test_balanced_accuracy": ("balanced_accuracy_percent", "Balanced accuracy (%)"),
    "selected_test_ece": ("calibration_error_percent", "Calibration error (%)"),
    "selected_head_accuracy": ("head_accuracy_percent", "Head accuracy (%)"),
    "selected_middle_accuracy": ("middle_accuracy_percent", "Middle accuracy (%)"),
    "selected_tail_accuracy": ("tail_accuracy_percent", "Tail accuracy (%)"),
    "selected_many_accuracy": ("many_accuracy_percent", "Many-shot accuracy (%)"),
    "selected_medium_accuracy": ("medium_accuracy_percent", "Medium-shot accuracy (%)"),
    "selected_few_accuracy": ("few_accuracy_percent", "Few-shot accuracy (%)"),
    "selected_memorisation": ("memorisation_percent", "Memorised flipped labels (%)"),
    "dropped_solves": ("dropped_solves_percent", "Outer steps without implicit term (%)"),
}
HEADINGS = {
    "method": "Method",
    "test_accuracy_percent": "Test accuracy (%), validation-selected",
    "last_test_accuracy_percent": "Test accuracy (%), last epoch",
    "oracle_test_accuracy_percent": "Test accuracy (%), best test epoch (oracle)",
    "test_nll_nats": "Test NLL (nats)",
    "difference_points": "Δ to reference (points) [95 % interval]",
    "p": "p",
    "p_holm": "p Holm",
    **dict(EXTRAS.values()),
    "sharpness_nats": "Sharpness (nats)",
    "curvature": "Final curvature c (median)",
    "gradients": "Gradient evaluations",
    "products": "Hessian products",
    "points_tried": "Points tried",
    "chosen": "Chosen",
    "search_gradients": "Search gradients",
    "n_ok": "n ok / n",
}
IN_PERCENT = {  # columns of full numbers -> of hsac.report.statistics.summarise, as shares
    "test_accuracy_iqm_percent": "iqm",
    "test_accuracy_hierarchical_low_percent": "hierarchical_low",
    "test_accuracy_hierarchical_high_percent": "hierarchical_high",
    "difference_points": "difference",
    "difference_low_points": "difference_low",
    "difference_high_points": "difference_high",
    "difference_hierarchical_low_points": "difference_hierarchical_low",
    "difference_hierarchical_high_points": "difference_hierarchical_high",
}
COMPARED = (
    "p",
    "p_holm",
    "test",
    "p_permutation",
    "improvement",
    "effect",
    "effect_low",
    "effect_high",
    "more_seeds",
)
FAILURE_HEADINGS = {
    "experiment": "Experiment",
    "method": "Method",
    "seed": "Seed",
    "status": "Status",
    "reason": "Reason",
}
SEARCH = ("different", "gradients", "products")  # of a method's search, on top of its runs
THIRDS = tuple(f"{part}_accuracy_percent" for part in ("head", "middle", "tail"))
SHOTS = tuple(f"{part}_accuracy_percent" for part in ("many", "medium", "few"))
MISSING = "–"
PLAIN = ("sgd", "adam")  # the weight rules without an adversary


def experiment_table(
    runs: pd.DataFrame, experiment: str, order: Sequence[str], reference: str
) -> pd.DataFrame:
    """Full numbers of one experiment: one row a method in ``order`` (methods that are run but not
    in it follow).

    Accuracies are percentages, ``*_half_width_percent`` half the width of a 95 % t interval over
    seeds, differences points against ``reference``, NLL and sharpness nats. A method without runs
    has n = 0 and NaN elsewhere.
    """
    block = runs[runs["experiment"] == experiment]
    statistics = (
        summarise(block, reference=reference).set_index("method") if len(block) else pd.DataFrame()
    )
    methods = [*order, *sorted(set(block["method"]) - set(order))]
    rows = [_row(block, experiment, method, method == reference, statistics) for method in methods]
    table = pd.DataFrame(rows)
    extras = [
        *(name for name, _ in EXTRAS.values()),
        "chosen",
        *(f"search_{name}" for name in SEARCH),
    ]
    absent = [name for name in extras if table[name].isna().all()]
    return table.drop(columns=absent)


def _row(
    block: pd.DataFrame, experiment: str, method: str, is_reference: bool, statistics: pd.DataFrame
) -> dict[str, object]:
    cell = block[block["method"] == method]
    ok = cell[cell["status"] == "ok"]
    row: dict[str, object] = {"method": method, "reference": is_reference}
    for kind in ("selected", "last", "oracle"):
        m = mean_interval(Replicates(cell, experiment, method, f"{kind}_test_accuracy", scale=100))
        name = "test_accuracy" if kind == "selected" else f"{kind}_test_accuracy"
        row |= {f"{name}_percent": m.mean, f"{name}_half_width_percent": (m.high - m.low) / 2}
    row["test_nll_nats"] = mean(ok["selected_test_nll"])
    found = statistics.loc[method] if method in statistics.index else pd.Series(dtype=float)
    for name, column in IN_PERCENT.items():
        row[name] = 100 * found.get(column, np.nan)
    row |= {name: found.get(name, np.nan) for name in COMPARED}
    row |= {name: 100 * mean(ok[column]) for column, (name, _) in EXTRAS.items()}
    row |= {"sharpness_nats": mean(ok["sharpness"]), "curvature": _median(ok["curvature"])}
    row |= {
        "gradients": mean(ok["gradients"]),
        "products": mean(ok["products"]),
        "points_tried": _median(cell["tried"]),
        "chosen": _chosen(cell),
    }
    row |= {f"search_{name}": mean(cell[f"search_{name}"]) for name in SEARCH}
    return row | {"n_ok": len(ok), "n": len(cell)}


def _chosen(cell: pd.DataFrame) -> str | None:
    """What was chosen for a method: its search's point, or the method whose run each seed took,
    most frequent first.
    """
    counts = cell["chosen"].dropna().value_counts()
    if len(counts) <= 1:
        return str(counts.index[0]) if len(counts) else None
    ordered = sorted(counts.items(), key=lambda one: (-one[1], str(one[0])))
    return "; ".join(f"{name} ({count} of {len(cell)})" for name, count in ordered)


def mean(values: pd.Series) -> float:
    """Mean of the known values, NaN without any."""
    known = values.dropna()
    return float(known.mean()) if len(known) else np.nan


def _median(values: pd.Series) -> float:
    known = values.dropna()
    return float(known.median()) if len(known) else np.nan


def number(pattern: str) -> Callable[[float], str]:
    """How a number is printed: by the pattern, a dash where it is missing."""
    return lambda value: MISSING if pd.isna(value) else pattern.format(value).replace("-", "−")


def p_text(p: float) -> str:
    """A p value to print: three decimals, or < 0.001."""
    return MISSING if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def displayed(table: pd.DataFrame) -> pd.DataFrame:
    """The cells of ``experiment_table`` as text to print, under headings that state units."""
    simple: dict[str, Callable[[Any], str]] = {
        "test_nll_nats": number("{:.3f}"),
        "p": p_text,
        "p_holm": p_text,
        **{name: number("{:.1f}") for name, _ in EXTRAS.values()},
        "sharpness_nats": number("{:.3g}"),
        "curvature": number("{:.3g}"),
        "gradients": number("{:.0f}"),
        "products": number("{:.0f}"),
        "points_tried": number("{:.0f}"),
        "chosen": lambda value: MISSING if pd.isna(value) else str(value),
        "search_gradients": number("{:.0f}"),
    }
    columns: dict[str, list[str]] = {}
    hidden = _hidden(table)
    for name in HEADINGS:
        if name == "method":
            columns[name] = [
                f"{method} (reference)" if reference else str(method)
                for method, reference in zip(table["method"], table["reference"], strict=True)
            ]
        elif name.endswith("test_accuracy_percent"):
            columns[name] = with_half_width(
                table[name], table[name.replace("_percent", "_half_width_percent")]
            )
        elif name == "difference_points":
            columns[name] = _differences(table)
        elif name == "n_ok":
            columns[name] = [f"{ok} / {n}" for ok, n in zip(table["n_ok"], table["n"], strict=True)]
        elif name in table and name not in hidden:
            columns[name] = [simple[name](value) for value in table[name]]
    return pd.DataFrame({HEADINGS[name]: values for name, values in columns.items()})


def _hidden(table: pd.DataFrame) -> set[str]:
    """Columns that the printed table leaves to the CSV file: balanced accuracy where it is the
    accuracy, and of the two ways to group the classes of a long tail the thirds, or the shots where
    one of their three groups has no class.
    """
    hidden = set(THIRDS if set(SHOTS) <= set(table.columns) else SHOTS)
    balanced = "balanced_accuracy_percent"
    if balanced in table and np.allclose(
        table[balanced], table["test_accuracy_percent"], atol=1e-9, equal_nan=True
    ):
        hidden.add(balanced)
    return hidden


def with_half_width(means: pd.Series, half_widths: pd.Series) -> list[str]:
    """``93.1 ± 0.4`` for each mean; the interval is left out where it is undefined, a dash stands
    for no mean.
    """
    texts = []
    for mean, half in zip(means, half_widths, strict=True):
        texts.append(
            MISSING
            if pd.isna(mean)
            else f"{mean:.2f}" + ("" if pd.isna(half) else f" ± {half:.2f}")
        )
    return texts


def _differences(table: pd.DataFrame) -> list[str]:
    signed = number("{:+.2f}")
    texts = []
    numbers = table[
        ["difference_points", "difference_low_points", "difference_high_points"]
    ].to_numpy(dtype=float)
    for difference, low, high in numbers:
        text = signed(difference) + ("" if np.isnan(low) else f" [{signed(low)}, {signed(high)}]")
        texts.append(text)
    return texts


def overview_labels(
    runs: pd.DataFrame, order: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], str]:
    """Row label in the overview for each (experiment, method).

    Experiments differ in their plain weight rule (sgd or adam); where none uses both, the two share
    one row ``base+…``.
    """
    pairs = {(experiment, method) for experiment, methods in order.items() for method in methods}
    pairs |= set(zip(runs["experiment"], runs["method"], strict=True))
    plain = {(experiment, method.split("+")[0]) for experiment, method in pairs} & {
        (experiment, rule) for experiment, _ in pairs for rule in PLAIN
    }
    one_each = len({e for e, _ in plain}) == len(plain) and len({rule for _, rule in plain}) > 1
    labels = {}
    for experiment, method in pairs:
        weight, curvature = method.split("+", 1)
        labels[experiment, method] = f"base+{curvature}" if one_each and weight in PLAIN else method
    return labels


def overview_table(runs: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Method × experiment: validation-selected test accuracy (%) and 95 % half width, columns
    ``<experiment>_percent`` and ``<experiment>_half_width_percent``.
    """
    labels = overview_labels(runs, order)
    sequence = [
        labels[experiment, method] for experiment, methods in order.items() for method in methods
    ]
    rows = list(dict.fromkeys(sequence + [labels[key] for key in sorted(labels)]))
    experiments = [*order, *sorted(set(runs["experiment"]) - set(order))]
    table = pd.DataFrame({"method": rows})
    for experiment in experiments:
        by_label = {labels[e, m]: m for e, m in labels if e == experiment}
        cells = [Replicates(runs, experiment, by_label.get(row, ""), scale=100) for row in rows]
        means = [mean_interval(cell) for cell in cells]
        table[f"{experiment}_percent"] = [m.mean for m in means]
        table[f"{experiment}_half_width_percent"] = [(m.high - m.low) / 2 for m in means]
    return table


def overview_displayed(table: pd.DataFrame) -> pd.DataFrame:
    """The overview as text to print."""
    shown = {"Method": table["method"]}
    for column in table.columns[1::2]:
        experiment = column.removesuffix("_percent")
        half = table[f"{experiment}_half_width_percent"]
        shown[f"{experiment} (%)"] = pd.Series(with_half_width(table[column], half))
    return pd.DataFrame(shown)


def overview_note(runs: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> str:
    """The line under the overview, which says what ``base`` stands for where it is used."""
    used: dict[str, list[str]] = {}
    for (experiment, method), label in sorted(overview_labels(runs, order).items()):
        if label.startswith("base+") and experiment not in used.setdefault(
            method.split("+")[0], []
        ):
            used[method.split("+")[0]].append(experiment)
    base = "; ".join(f"{rule} on {', '.join(experiments)}" for rule, experiments in used.items())
    return "Test accuracy (%), validation-selected, mean ± 95 % half width over seeds. " + (
        f"The weight rule base is {base}. " * bool(base) + RECONSTRUCTED + held_out_note(runs)
    )


def held_out_note(runs: pd.DataFrame) -> str:
    """A sentence naming the methods whose curvature was trained on batches of the validation part,
    with a space before it; empty when none was.
    """
    if "held_out_batches" not in runs:  # gathered before it was recorded
        return ""
    names = ", ".join(sorted(set(runs["method"][runs["held_out_batches"].fillna(0) > 0])))
    return (
        f" Trained on validation labels too, by which the others are only selected: {names}."
        if names
        else ""
    )


def failures_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that are not ok, with experiment, method, seed, status and reason; empty when there
    is none.
    """
    failed = runs[runs["status"] != "ok"].sort_values(["experiment", "method", "seed"])
    return failed[list(FAILURE_HEADINGS)].reset_index(drop=True)


def failures_displayed(table: pd.DataFrame) -> pd.DataFrame:
    """The failures as text to print; one row saying none when there is none."""
    if table.empty:
        return pd.DataFrame(
            [{heading: MISSING for heading in FAILURE_HEADINGS.values()} | {"Experiment": "none"}]
        )
    return table.rename(columns=FAILURE_HEADINGS).fillna(MISSING).astype(str)


def markdown(shown: pd.DataFrame, note: str) -> str:
    """A printed table as Markdown with a note under it."""
    lines = [
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
        for row in shown.to_numpy()
    ]
    head = [
        "| " + " | ".join(shown.columns) + " |",
        "|" + "|".join([" --- "] * len(shown.columns)) + "|",
    ]
    return "\n".join(head + lines) + f"\n\n{note}\n"


def latex(shown: pd.DataFrame, note: str) -> str:
    """A printed table as LaTeX (packages booktabs and graphicx) with a note under it."""
    body = shown.to_latex(
        index=False, escape=True, column_format="l" + "r" * (len(shown.columns) - 1)
    )
    text = (
        "% needs"
        f" \\usepackage{{booktabs,graphicx}}\n\\resizebox{{\\linewidth}}{{!}}{{%\n{body}}}\n\n"
    )
    text += "{\\footnotesize " + note.replace("%", "\\%").replace("_", "\\_") + "}\n"
    for sign, command in (
        ("±", "$\\pm$"),
        ("−", "$-$"),
        ("Δ", "$\\Delta$"),
        ("–", "--"),
        ("< 0.001", "$<$ 0.001"),
    ):
        text = text.replace(sign, command)
    return text


def write(out_dir: Path, name: str, numbers: pd.DataFrame, shown: pd.DataFrame, note: str) -> None:
    """Write a table under ``out_dir``: full numbers as .csv, what is printed with its note as .md
    and .tex.
    """
    write_bytes(out_dir / f"{name}.csv", numbers.to_csv(index=False, lineterminator="\n").encode())
    write_bytes(out_dir / f"{name}.md", markdown(shown, note).encode())
    write_bytes(out_dir / f"{name}.tex", latex(shown, note).encode())


def write_tables(
    runs_parquet: Path,
    order: Mapping[str, Sequence[str]],
    references: Mapping[str, str],
    out_dir: Path,
) -> None:
    """Write ``<experiment>``, ``overview`` and ``failures`` as .csv, .md and .tex under
    ``out_dir``.

    ``order``: the methods of each experiment in the order of the rows (its keys order the
    overview's columns); ``references``: the method each experiment compares with.
    """
    runs, out = read_gathered(runs_parquet), Path(out_dir)
    for experiment in [*order, *sorted(set(runs["experiment"]) - set(order))]:
        reference = references.get(experiment, "")
        numbers = experiment_table(runs, experiment, order.get(experiment, ()), reference)
        note = RECONSTRUCTED + held_out_note(runs[runs["experiment"] == experiment])
        write(
            out,
            experiment,
            numbers,
            displayed(numbers),
            f"Reference: {reference or 'none'}. {note}",
        )
    numbers = overview_table(runs, order)
    write(out, "overview", numbers, overview_displayed(numbers), overview_note(runs, order))
    numbers = failures_table(runs)
    write(
        out,
        "failures",
        numbers,
        failures_displayed(numbers),
        "Runs that did not finish; tables count them in n.",
    )
