"""Print what the hypergradient's bias did to the results, from committed records.

`python -m benchmarks.bias` makes the tables of docs/verdict.md from results/reference (scales
default, robustness, bias and guard).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from hsac.report.statistics import METRIC, Paired, Replicates, mean_interval, paired_difference

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "results" / "reference"
FIRST, MENDED = "sgd+hsac_shared", "sgd+hsac"
DEFAULT = ("digits", "digits_plane", "glyphs_long_tailed", "glyphs_noisy")
ROBUSTNESS = (
    "fashion_mnist_dim4",
    "fashion_mnist_long_tailed_dim4",
    "fashion_mnist_noisy_dim4",
    "fashion_mnist_noisy_dim8",
)
SAMPLES = {
    FIRST: "one batch (first)",
    "sgd+hsac_two": "two batches",
    MENDED: "three batches (now)",
    "sgd+hsac_many": "3 × 8 batches",
    "sgd+hsac_full": "all of training",
    "sgd+fixed@0.3": "fixed 0.3",
    "sgd+learned": "learned",
    "sgd+drift_slow": "slow drift",
}
GUARDS = {
    MENDED: "as it is",
    "sgd+hsac_sure": "c moves beyond two standard errors",
    "sgd+hsac_likely": "beyond one",
    "sgd+hsac_proportional": "steps shrink with the hypergradient",
    "sgd+hsac_slow": "smaller steps throughout",
    "sgd+learned": "the training loss's own gradient",
    "sgd+fixed@0.3": "c stays",
}
RIVALS = {
    FIRST: "one batch (first)",
    "sgd+learned": "learned",
    "sgd+grid": "grid of four",
    "sgd+fixed@1": "c = 1",
}


def records(reference: Path = REFERENCE) -> pd.DataFrame:
    """Read the runs of the scales default, robustness and bias.

    Args:
        reference: folder of the reference results.

    Returns:
        One row a run. A run that two scales share stands once, that of `bias` left out.

    Raises:
        FileNotFoundError: A scale has no records there.
    """
    tables = [
        pd.read_parquet(reference / scale / "runs.parquet") for scale in ("", "robustness", "bias")
    ]
    return pd.concat(tables).drop_duplicates(["experiment", "method", "seed"])


def replicates(runs: pd.DataFrame, experiment: str, method: str) -> Replicates:
    """Select the test accuracies (%) of the finished seeds of a method.

    Args:
        runs: one row a run.
        experiment: name of the experiment.
        method: name of the method.

    Returns:
        Accuracies by seed.
    """
    return Replicates(runs, experiment, method, METRIC, scale=100)


def samples(runs: pd.DataFrame) -> str:
    """Tabulate the test accuracy (%) by how large a sample each level takes.

    Args:
        runs: one row a run.

    Returns:
        Markdown: the first table, with the controls beside.
    """
    lines = []
    for experiment in DEFAULT:
        cells = [experiment]
        for method in SAMPLES:
            found = mean_interval(replicates(runs, experiment, method))
            cell = f"{found.mean:.2f} ± {(found.high - found.low) / 2:.2f}"
            if method != "sgd+fixed@0.3":
                cell += f", c {curvatures(runs, experiment, method)}"
            cells.append(cell)
        lines.append(cells)
    return _table(["default scale, 10 seeds", *SAMPLES.values()], lines)


def rivals(runs: pd.DataFrame) -> str:
    """Tabulate the paired differences (points, 95 %) of the unbiased rule to its rivals.

    Args:
        runs: one row a run.

    Returns:
        Markdown: the second table.
    """
    lines = []
    for experiment in ROBUSTNESS:
        mended = replicates(runs, experiment, MENDED)
        cells = [experiment, f"{mean_interval(mended).mean:.2f}"]
        for method in RIVALS:
            found = paired_difference(mended, replicates(runs, experiment, method))
            cells.append(_interval(found))
        means = {}
        for c in ("0.1", "0.3", "1", "3"):
            means[c] = mean_interval(replicates(runs, experiment, f"sgd+fixed@{c}")).mean
        best = max(means, key=lambda c: means[c])
        lines.append([*cells, curvatures(runs, experiment, MENDED), best])
    differences = [f"− {name}" for name in RIVALS.values()]
    heads = ["robustness, 10 seeds", "three batches", *differences, "c at the end", "best fixed c"]
    return _table(heads, lines)


def guards(reference: Path = REFERENCE) -> str:
    """Tabulate what a guard of the scale changes in validation accuracy (%).

    Args:
        reference: folder of the reference results.

    Returns:
        Markdown. Differences (points) are of the mean over the experiments, paired by seed, with
        95 % t intervals. The scatter is the standard deviation over seeds of ln c at the end,
        averaged over the experiments.
    """
    runs = pd.read_parquet(reference / "guard" / "runs.parquet")
    runs["accuracy"] = 100 * runs["selected_validation_accuracy"]
    runs["scatter"] = np.log(runs["curvature"])
    cells = runs.groupby(["method", "experiment"])
    accuracy = cells["accuracy"].mean().unstack()
    scatter = cells["scatter"].std().unstack().mean(axis=1)
    overall = runs.groupby(["method", "seed"], as_index=False)["accuracy"].mean()
    overall["experiment"] = "all"
    as_it_is = Replicates(overall, "all", MENDED, "accuracy")
    lines = []
    for method, text in GUARDS.items():
        found = paired_difference(Replicates(overall, "all", method, "accuracy"), as_it_is)
        difference = "0" if method == MENDED else _interval(found)
        means = [f"{value:.2f}" for value in accuracy.loc[method]]
        lines.append([f"`{method}`", text, *means, difference, f"{scatter[method]:.2f}"])
    heads = ["method", "what differs", *accuracy.columns, "Δ mean [95 %]", "scatter of ln c"]
    return _table(heads, lines)


def cost(runs: pd.DataFrame) -> str:
    """Tabulate what methods cost, in trainings.

    Args:
        runs: one row a run.

    Returns:
        Markdown: the third table. A Hessian-vector product counts as two gradients.
    """
    lines = []
    finished = runs[runs["experiment"].isin(DEFAULT) & (runs["status"] == "ok")]
    for method in (*list(SAMPLES)[:5], "sgd+learned", "sgd+grid"):
        rows = finished[finished["method"] == method]
        # the steps of a run that was chosen among several are the sum of theirs
        steps = rows["steps"] / rows["tried"]
        gradients = rows["gradients"] + 2 * rows["products"]
        lines.append([method, f"{(gradients / steps).mean():.2f}"])
    return _table(["method", "trainings"], lines)


def curvatures(runs: pd.DataFrame, experiment: str, method: str) -> str:
    """Format the range of the curvature at the end of training.

    Args:
        runs: one row a run.
        experiment: name of the experiment.
        method: name of the method.

    Returns:
        Least and largest of the finished seeds; a seed's curvature is the geometric mean of its
        layers.
    """
    of_method = (runs["experiment"] == experiment) & (runs["method"] == method)
    rows = runs[of_method & (runs["status"] == "ok")]
    return f"{rows['curvature'].min():.2g}–{rows['curvature'].max():.2g}"


def _interval(found: Paired) -> str:
    text = f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    return text.replace("-", "−")


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def main() -> None:
    """Print the tables as Markdown."""
    about = __doc__.partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bias", description=about)
    words = "folder of the reference results"
    parser.add_argument("--reference", type=Path, default=REFERENCE, help=words)
    reference = parser.parse_args().reference
    runs = records(reference)
    print(samples(runs), rivals(runs), cost(runs), guards(reference), sep="\n\n")


if __name__ == "__main__":
    main()
