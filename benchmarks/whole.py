"""Say how ways to use an objective in whole networks do on validation, from the scale `whole`.

`python -m benchmarks.whole` reads results/whole/runs.parquet and prints a Markdown table for each
experiment: validation accuracy and NLL at the end of training, less those of c = 1, paired by seed
with 95 % intervals, where c ended, and what a run costs in plain trainings.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from hsac.errors import InputError
from hsac.report.gather import read_gathered
from hsac.report.statistics import Replicates, paired_difference
from hsac.report.tables import markdown

RESULTS = Path(__file__).parent.parent / "results" / "whole"
REFERENCE = "fixed"  # c = 1, where every method starts
MEASURES = {
    "last_validation_accuracy": "Validation accuracy (points)",
    "last_validation_nll": "Validation NLL (hundredths of a nat)",
}


def table(runs: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Compare every method of an experiment with c = 1.

    Args:
        runs: The gathered runs.
        experiment: The experiment.

    Returns:
        The text of each entry, one row a method: its difference in each measure, the median final
        c, and its gradients and products in those of the reference.
    """
    block = runs[runs["experiment"] == experiment]
    spent = block["gradients"] + block["products"] + block["search_gradients"].fillna(0)
    cost = spent.groupby(block["method"]).mean()
    (reference,) = (name for name in cost.index if name.partition("+")[2] == REFERENCE)
    rows = []
    for method in block["method"].drop_duplicates():
        row = {"Method": f"`{method}`"}
        for metric, heading in MEASURES.items():
            own, other = (
                Replicates(block, experiment, name, metric, scale=100)
                for name in (method, reference)
            )
            found = paired_difference(own, other)
            row[heading] = f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
        c = block.loc[block["method"] == method, "curvature"]
        row["Median c at the end"] = f"{c.median():.3g}"
        row["Trainings"] = f"{cost[method] / cost[reference]:.1f}"
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> int:
    """Print the tables; exit status 2 without results."""
    about = __doc__.partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole", description=about)
    parser.add_argument("--results", type=Path, default=RESULTS, help="results of the scale")
    try:
        runs = read_gathered(parser.parse_args().results / "runs.parquet")
    except InputError as error:
        print(f"whole: {error}", file=sys.stderr)
        return 2
    for experiment in runs["experiment"].drop_duplicates():
        print(f"`{experiment}`\n\n{markdown(table(runs, experiment), '')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
