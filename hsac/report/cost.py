"""The table of what the runs cost the machine: the one table that another execution of the same
runs changes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from hsac.report.gather import KEYS, read_gathered
from hsac.report.tables import mean, number, write

HEADINGS = {
    "experiment": "Experiment",
    "method": "Method",
    "seconds": "Seconds a run",
    "peak_memory_mib": "Peak memory (MiB)",
    "search_seconds": "Search seconds",
    "n_ok": "n ok / n",
}
NOTE = (
    "Means over the finished runs. Seconds are as measured, with the seeds trained together sharing"
    " the time; peak memory is of the process, on a GPU that of the device; a search's seconds are"
    " on top of its runs'. These numbers are of the machine and the moment: no other table changes"
    " when the same runs are computed again."
)


def cost_table(runs: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Full numbers: one row an experiment and method that was run, in ``order``; ``runs``: gathered
    runs with what was measured of each. Search seconds only where a method was searched.
    """
    rows = []
    for experiment, methods in order.items():
        block = runs[runs["experiment"] == experiment]
        for method in [name for name in methods if name in set(block["method"])]:
            cell = block[block["method"] == method]
            ok = cell[cell["status"] == "ok"]
            row: dict[str, object] = {"experiment": experiment, "method": method}
            row |= {name: mean(ok[name]) for name in ("seconds", "peak_memory_mib")}
            rows.append(
                row
                | {
                    "search_seconds": mean(cell["search_seconds"]),
                    "n_ok": len(ok),
                    "n": len(cell),
                }
            )
    table = pd.DataFrame(rows, columns=[*HEADINGS, "n"])
    return table.drop(columns="search_seconds") if table["search_seconds"].isna().all() else table


def displayed(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text to print, under headings that state units."""
    patterns = {"seconds": "{:.3g}", "peak_memory_mib": "{:.0f}", "search_seconds": "{:.3g}"}
    columns: dict[str, list[str]] = {}
    for name in [name for name in HEADINGS if name in table]:
        if name == "n_ok":
            columns[name] = [f"{ok} / {n}" for ok, n in zip(table["n_ok"], table["n"], strict=True)]
        else:
            columns[name] = list(
                map(number(patterns[name]) if name in patterns else str, table[name])
            )
    return pd.DataFrame({HEADINGS[name]: values for name, values in columns.items()})


def write_cost(
    runs_parquet: Path, measured: Path, order: Mapping[str, Sequence[str]], out_dir: Path
) -> None:
    """Write ``cost`` as .csv, .md and .tex under ``out_dir``."""
    runs = read_gathered(runs_parquet)[[*KEYS, "status"]]
    numbers = cost_table(
        runs.merge(read_gathered(measured), on=list(KEYS), validate="one_to_one"), order
    )
    write(Path(out_dir), "cost", numbers, displayed(numbers), NOTE)
