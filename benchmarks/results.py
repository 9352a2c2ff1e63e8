"""Measure the rows of the results, and write them as CSV and Markdown."""

import os
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.case import Case
from benchmarks.measure import disagreement, samples
from hsac.files import atomic

ABOUT = (
    "Medians of samples taken by turns in one process, ± their interquartile range. The ratio is"
    " peer/ours where the target is ≥ (how many times faster or smaller), ours/peer where it is ≤. "
)
ABOUT_BEFORE = "*Before* is the ratio in `before.csv`, from one run as well."
PACKAGES = ("torch", "geoopt", "hypll", "torchopt", "higher", "numpy")
COLUMNS = [
    *("comparison", "case", "against", "ours", "peer", "unit", "ratio", "target", "met"),
    *("ours_iqr", "peer_iqr", "samples", "disagreement", "tolerance"),
    *("device", "threads", "cores", "versions"),
]


def machine(device: torch.device) -> dict[str, object]:
    """Describe the machine that a number depends on beside the code.

    Args:
        device: where it was computed.

    Returns:
        Columns of the results.
    """
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "versions": " ".join(f"{name} {installed(name)}" for name in PACKAGES),
    }


def installed(name: str) -> str:
    """Find the version of a package.

    Args:
        name: name of the package.

    Returns:
        The version, or a dash where it is not installed.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return "–"


def measured(comparison: str, case: Case, device: torch.device) -> dict[str, object]:
    """Measure a case.

    Args:
        comparison: name of the comparison.
        case: what is compared.
        device: where it is computed.

    Returns:
        A row of the results. Its `met` is yes, no, nothing where there is no target, or the reason
        why nothing was measured.
    """
    row: dict[str, object] = {"comparison": comparison, "case": case.name}
    row |= {"against": case.against, "unit": case.unit}
    row |= {"target": str(case.target), "tolerance": case.tolerance} | machine(device)
    if case.needs and find_spec(case.needs) is None:
        return row | {"met": f"{case.needs} is not installed"}
    ours, theirs = case.build()
    if case.tolerance is not None:
        row["disagreement"] = disagreement(ours(), theirs())
        if not row["disagreement"] <= case.tolerance:
            return row | {"met": "results disagree"}
    mine, peer = samples(case, ours, theirs, device)
    a, b = float(np.median(mine)), float(np.median(peer))
    ratio = case.target.ratio(a, b)
    return row | {
        "ours": a,
        "peer": b,
        "ratio": ratio,
        "met": case.target.met(ratio),
        "ours_iqr": spread(mine),
        "peer_iqr": spread(peer),
        "samples": len(mine),
    }


def spread(values: Sequence[float]) -> float:
    """Compute the interquartile range.

    Args:
        values: samples.

    Returns:
        The range, in their unit.
    """
    low, high = np.percentile(values, (25, 75))
    return float(high - low)


def read(path: Path) -> list[dict[str, object]]:
    """Read the rows of a CSV file that `write` wrote.

    Args:
        path: the file.

    Returns:
        Rows; none where there is no file.
    """
    if not path.exists():
        return []
    table = pd.read_csv(path)
    texts = ["target", "met", "versions", "device"]
    return table.fillna(dict.fromkeys(texts, "")).to_dict("records")


def write(rows: Iterable[dict[str, object]], titles: dict[str, str], folder: Path) -> pd.DataFrame:
    """Write results.csv and results.md.

    Args:
        rows: rows of the results.
        titles: heading of each comparison by its name.
        folder: where both files go. Ratios of a before.csv there stand beside the new ones.

    Returns:
        The rows as a table.
    """
    table = pd.DataFrame(rows, columns=COLUMNS)
    with atomic(folder / "results.csv") as part:
        table.to_csv(part, index=False, float_format="%.6g")
    earlier = {key(row): float(str(row["ratio"])) for row in read(folder / "before.csv")}
    with atomic(folder / "results.md") as part:
        part.write_text(markdown(table, titles, earlier), encoding="utf-8")
    return table


def key(row: dict) -> tuple[str, ...]:
    """Return what a row is about, to find it again in other results.

    Args:
        row: a row of the results.

    Returns:
        Comparison, case, peer, unit and device.
    """
    return tuple(str(row[name]) for name in ("comparison", "case", "against", "unit", "device"))


def markdown(
    table: pd.DataFrame, titles: dict[str, str], earlier: dict[tuple[str, ...], float]
) -> str:
    """Write the results as Markdown, one section a comparison.

    Args:
        table: rows of the results.
        titles: heading of each comparison by its name.
        earlier: ratios of earlier results by `key`. Without any there is no such column.

    Returns:
        The text.
    """
    where = table[["device", "threads", "cores", "versions"]].drop_duplicates().to_dict("records")
    lines = ["# Results", ""]
    for m in where:
        on = f"{m['device']}: {m['threads']} thread(s) of {m['cores']} cores"
        lines.append(f"{on}; {m['versions']}.")
    lines += ["", ABOUT + (ABOUT_BEFORE if earlier else "")]
    before = ["before"] if earlier else []
    head = ["case", "against", "ours", "peer", *before, "ratio", "target", "met"]
    for name, title in titles.items():
        part = table[table["comparison"] == name]
        if part.empty:
            continue
        lines += ["", f"## {title}", "", f"![{title}](figures/{name}.png)", ""]
        lines += [_markdown_row(head), "|" + " --- |" * len(head)]
        for row in part.to_dict("records"):
            cells = [row["case"], row["against"], shown(row, "ours"), shown(row, "peer")]
            cells += [number(earlier.get(key(row)))] if earlier else []
            cells += [number(row["ratio"]), row["target"], row["met"]]
            lines.append(_markdown_row(cells))
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def line(row: dict) -> str:
    """Write a row for the terminal.

    Args:
        row: a row of the results.

    Returns:
        One line.
    """
    result = f"{number(row.get('ratio'))} {row['target']} {row['met']}".rstrip()
    return f"{row['case']} against {row['against']}, {row['unit']}: {result}"


def number(value: float | None) -> str:
    """Write a ratio.

    Args:
        value: None or not a number where there is none.

    Returns:
        Two digits after the point, or a dash.
    """
    return "–" if value is None or value != value else f"{value:.2f}"


def shown(row: dict, column: str) -> str:
    """Write a measurement in a readable unit.

    Args:
        row: a row of the results.
        column: ours or peer.

    Returns:
        Median ± interquartile range, or a dash.
    """
    value, iqr, unit = row[column], row[f"{column}_iqr"], row["unit"]
    if value != value:
        return "–"
    factor, unit = (1e3, "ms") if unit == "s" and value < 1 else (1.0, unit)
    around = "" if row["samples"] == 1 else f" ± {iqr * factor:.2g}"
    return f"{value * factor:.3g}{around} {unit}"
