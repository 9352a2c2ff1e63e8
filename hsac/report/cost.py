"""The table of what the runs cost the machine.

It is the one table that another execution of the same runs changes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from hsac.report import columns, unfinished
from hsac.report.columns import COST, MethodRuns
from hsac.report.gather import KEYS, read_gathered
from hsac.report.tables import write

NOTE = (
    "Means over the finished runs. Seconds are as measured, with the seeds trained together sharing"
    " the time; peak memory is of the process, on a GPU that of the device; a search's seconds are"
    " on top of its runs'. These numbers are of the machine and the moment: no other table changes"
    " when the same runs are computed again."
)


def cost_table(runs: pd.DataFrame, order: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Compute the full numbers of the table.

    Args:
        runs: Gathered runs with what was measured of each.
        order: The methods of each experiment, in the order of the rows.

    Returns:
        One row an experiment and method that was run. Search seconds only where a method was
        searched.
    """
    rows = []
    for experiment, methods in order.items():
        block = runs[runs["experiment"] == experiment]
        for method in [name for name in methods if name in set(block["method"])]:
            cell = MethodRuns(experiment, method, block[block["method"] == method])
            rows.append({c.name: c.value(cell) for c in COST if c.value is not None})
    # Named columns keep the headings of a table without rows.
    table = pd.DataFrame(rows, columns=[column.name for column in COST])
    return table.drop(columns=[c.name for c in COST if c.optional and table[c.name].isna().all()])


def displayed(table: pd.DataFrame) -> pd.DataFrame:
    """Print the table.

    Args:
        table: As `cost_table` computes it.

    Returns:
        The text of each entry under headings that state units.
    """
    return columns.displayed(table, COST)


def write_cost(
    runs_parquet: Path, measured: Path, order: Mapping[str, Sequence[str]], out_dir: Path
) -> None:
    """Write ``cost`` as .csv, .md and .tex.

    Args:
        runs_parquet: The gathered runs.
        measured: What was measured of them.
        order: The methods of each experiment, in the order of the rows.
        out_dir: Folder of the three files.
    """
    # Only the status: a run that did not finish counts in no mean.
    runs = read_gathered(runs_parquet)[[*KEYS, "status"]]
    # A second row of a run would weigh it twice.
    measured_runs = runs.merge(
        read_gathered(measured, "measured"), on=list(KEYS), validate="one_to_one"
    )
    numbers = cost_table(measured_runs, order)
    write(Path(out_dir), "cost", numbers, displayed(numbers), NOTE + unfinished.note(runs))
