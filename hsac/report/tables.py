"""Tables of an experiment, the overview and the failures: CSV (full numbers), Markdown, LaTeX."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from hsac.files import write_bytes
from hsac.report import columns, unfinished
from hsac.report.columns import MISSING, SELECTIONS, MethodRuns
from hsac.report.gather import read_gathered
from hsac.report.latex import escaped
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
PLAIN = ("sgd", "adam")  # the weight rules without an adversary


def experiment_table(
    runs: pd.DataFrame, experiment: str, order: Sequence[str], reference: str
) -> pd.DataFrame:
    """Compute the full numbers of one experiment.

    Accuracies are percentages, ``*_half_width_percent`` half the width of a 95 % t interval over
    seeds, differences points against `reference`, NLL and sharpness nats. A method without runs has
    n = 0 and NaN elsewhere.

    Args:
        runs: Gathered runs, also of other experiments.
        experiment: Its name.
        order: Methods in the order of the rows. Methods that were run and are not in it follow.
        reference: The method that the others are compared with.

    Returns:
        One row a method, with the columns that `columns.experiment` declares.
    """
    block = runs[runs["experiment"] == experiment]
    statistics = pd.DataFrame()
    if len(block):
        statistics = summarise(block, reference=reference).set_index("method")
    declared = columns.experiment()
    rows = []
    for method in [*order, *sorted(set(block["method"]) - set(order))]:
        cell = MethodRuns(
            experiment,
            method,
            block[block["method"] == method],
            method == reference,
            _accuracies(block, experiment, method),
            statistics.loc[method] if method in statistics.index else {},
        )
        rows.append({c.name: c.value(cell) for c in declared if c.value is not None})
    table = pd.DataFrame(rows)
    # Only here is it known whether any row has an entry.
    return table.drop(
        columns=[c.name for c in declared if c.optional and table[c.name].isna().all()]
    )


def _accuracies(runs: pd.DataFrame, experiment: str, method: str) -> dict[str, tuple[float, float]]:
    """Compute mean and half width of the test accuracy in per cent, by selection."""
    found = {}
    for kind in SELECTIONS:
        m = mean_interval(Replicates(runs, experiment, method, f"{kind}_test_accuracy", scale=100))
        found[kind] = m.mean, (m.high - m.low) / 2
    return found


def displayed(table: pd.DataFrame) -> pd.DataFrame:
    """Print the table of an experiment.

    Args:
        table: As `experiment_table` computes it, or as its CSV file holds it.

    Returns:
        The text of each entry under headings that state units.
    """
    return columns.displayed(table, columns.experiment())


def with_half_width(means: pd.Series, half_widths: pd.Series) -> list[str]:
    """Print means with their intervals, as ``93.1 ± 0.4``.

    Args:
        means: A dash stands for a missing one.
        half_widths: Half the width of each one's interval, left out where it is undefined.

    Returns:
        The texts.
    """
    return [columns.mean_text(*pair) for pair in zip(means, half_widths, strict=True)]


def overview_labels(
    runs: pd.DataFrame, order: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], str]:
    """Name the rows of the overview.

    Experiments differ in their plain weight rule (sgd or adam). Where none uses both, the two share
    one row ``base+…``.

    Args:
        runs: Gathered runs.
        order: The methods of each experiment.

    Returns:
        (experiment, method) -> label of its row.
    """
    pairs = {(experiment, method) for experiment, methods in order.items() for method in methods}
    pairs |= set(zip(runs["experiment"], runs["method"], strict=True))
    used = {(experiment, method.split("+")[0]) for experiment, method in pairs}
    plain = {(experiment, rule) for experiment, rule in used if rule in PLAIN}
    # Otherwise a joint row would hold two methods of an experiment, or rename the only rule.
    one_each = len({e for e, _ in plain}) == len(plain) and len({rule for _, rule in plain}) > 1
    labels = {}
    for experiment, method in pairs:
        weight, curvature = method.split("+", 1)
        labels[experiment, method] = f"base+{curvature}" if one_each and weight in PLAIN else method
    return labels


def overview_table(runs: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Compute the overview: the validation-selected test accuracy of methods in experiments.

    Args:
        runs: Gathered runs.
        order: The methods of each experiment. Its keys order the columns.

    Returns:
        One row a method, with the columns ``<experiment>_percent`` and
        ``<experiment>_half_width_percent`` (of the 95 % interval).
    """
    labels = overview_labels(runs, order)
    sequence = [
        labels[experiment, method] for experiment, methods in order.items() for method in methods
    ]
    # What was run and is in no order comes last.
    rows = list(dict.fromkeys(sequence + [labels[key] for key in sorted(labels)]))
    experiments = [*order, *sorted(set(runs["experiment"]) - set(order))]
    table = pd.DataFrame({"method": rows})
    for experiment in experiments:
        # A row that an experiment lacks gets the method "", which has no runs, and so a dash.
        by_label = {labels[e, m]: m for e, m in labels if e == experiment}
        cells = [Replicates(runs, experiment, by_label.get(row, ""), scale=100) for row in rows]
        means = [mean_interval(cell) for cell in cells]
        table[f"{experiment}_percent"] = [m.mean for m in means]
        table[f"{experiment}_half_width_percent"] = [(m.high - m.low) / 2 for m in means]
    return table


def overview_displayed(table: pd.DataFrame) -> pd.DataFrame:
    """Print the overview.

    Args:
        table: As `overview_table` computes it.

    Returns:
        The text of each entry under headings.
    """
    shown = {"Method": table["method"]}
    for column in table.columns[1::2]:
        experiment = column.removesuffix("_percent")
        half = table[f"{experiment}_half_width_percent"]
        shown[f"{experiment} (%)"] = pd.Series(with_half_width(table[column], half))
    return pd.DataFrame(shown)


def overview_note(runs: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> str:
    """Compose the note under the overview.

    Args:
        runs: Gathered runs.
        order: The methods of each experiment.

    Returns:
        The note, which says what ``base`` stands for where it is used.
    """
    used: dict[str, list[str]] = {}
    for (experiment, method), label in sorted(overview_labels(runs, order).items()):
        if label.startswith("base+"):
            experiments = used.setdefault(method.split("+")[0], [])
            if experiment not in experiments:
                experiments.append(experiment)
    note = "Test accuracy (%), validation-selected, mean ± 95 % half width over seeds. "
    if used:
        places = [f"{rule} on {', '.join(names)}" for rule, names in used.items()]
        note += f"The weight rule base is {'; '.join(places)}. "
    return note + RECONSTRUCTED + labels_note(runs) + unfinished.note(runs)


def labels_note(runs: pd.DataFrame) -> str:
    """Name the methods that were trained on labels which others are not trained on.

    Args:
        runs: Gathered runs.

    Returns:
        A sentence for validation labels and one for those of a meta set, each with a space before
        it, empty when there is no such method.
    """
    kinds = {
        "held_out_batches": "validation labels too, by which the others are only selected",
        "meta_batches": "the true labels of the meta set too, which the others never see",
    }
    note = ""
    for column, words in kinds.items():
        # Runs gathered before it was recorded have no such column.
        drawn = runs["method"][runs[column].fillna(0) > 0] if column in runs else ()
        if names := ", ".join(sorted(set(drawn))):
            note += f" Trained on {words}: {names}."
    return note


def failures_table(runs: pd.DataFrame) -> pd.DataFrame:
    """List the runs that are not ok.

    Args:
        runs: Gathered runs.

    Returns:
        Experiment, method, seed, status and reason of each, sorted. Empty when there is none.
    """
    failed = runs[runs["status"] != "ok"].sort_values(["experiment", "method", "seed"])
    return failed[[column.name for column in columns.FAILURES]].reset_index(drop=True)


def failures_displayed(table: pd.DataFrame) -> pd.DataFrame:
    """Print the table of failures.

    Args:
        table: As `failures_table` returns it.

    Returns:
        Its text; one row saying none when there is none.
    """
    if table.empty:
        none = dict.fromkeys(columns.headings(columns.FAILURES).values(), MISSING)
        return pd.DataFrame([none | {"Experiment": "none"}])
    return columns.displayed(table, columns.FAILURES)


def markdown(shown: pd.DataFrame, note: str) -> str:
    """Write a printed table as Markdown.

    Args:
        shown: Its text.
        note: Put under it.

    Returns:
        The Markdown.
    """
    # A bar, as in a reason why a run failed, would end the cell.
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
    """Write a printed table as LaTeX, which needs the packages booktabs and graphicx.

    Args:
        shown: Its text.
        note: Put under it.

    Returns:
        The LaTeX, in ASCII.
    """
    texts = shown.map(lambda cell: escaped(str(cell)))
    body = texts.rename(columns=escaped).to_latex(
        index=False, escape=False, column_format="l" + "r" * (len(shown.columns) - 1)
    )
    head = "% needs \\usepackage{booktabs,graphicx}\n\\resizebox{\\linewidth}{!}{%\n"
    return f"{head}{body}}}\n\n{{\\footnotesize {escaped(note)}}}\n"


def write(out_dir: Path, name: str, numbers: pd.DataFrame, shown: pd.DataFrame, note: str) -> None:
    """Write a table: full numbers as .csv, what is printed with its note as .md and .tex.

    Args:
        out_dir: The folder.
        name: Name of the files.
        numbers: Full numbers.
        shown: What is printed.
        note: Put under it.
    """
    # The same line ends, and so the same bytes, on every system.
    write_bytes(out_dir / f"{name}.csv", numbers.to_csv(index=False, lineterminator="\n").encode())
    write_bytes(out_dir / f"{name}.md", markdown(shown, note).encode())
    write_bytes(out_dir / f"{name}.tex", latex(shown, note).encode())


def write_tables(
    runs_parquet: Path,
    order: Mapping[str, Sequence[str]],
    references: Mapping[str, str],
    out_dir: Path,
) -> None:
    """Write ``<experiment>``, ``overview`` and ``failures`` as .csv, .md and .tex.

    Args:
        runs_parquet: The gathered runs.
        order: The methods of each experiment in the order of the rows. Its keys order the
            overview's columns.
        references: The method that each experiment compares with.
        out_dir: The folder.
    """
    runs, out = read_gathered(runs_parquet), Path(out_dir)
    for experiment in [*order, *sorted(set(runs["experiment"]) - set(order))]:
        reference = references.get(experiment, "")
        numbers = experiment_table(runs, experiment, order.get(experiment, ()), reference)
        block = runs[runs["experiment"] == experiment]
        note = RECONSTRUCTED + labels_note(block) + unfinished.note(block)
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
