"""The report's figures: one module each with ``draw(...) -> Figure``, and ``write_figures`` for all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hsac.report.figures import (
    accuracy_by_method,
    curvature_sweep,
    curvature_trajectories,
    loss_landscape,
    poincare_embedding,
    rule_graph,
    sharpness_trajectories,
)
from hsac.report.figures.style import save
from hsac.report.gather import read_gathered

CAPTIONS = {
    "accuracy_by_method": "Validation-selected test accuracy by method. Points are means with 95 % t intervals over "
    "seeds, faint dots are single seeds, the dashed line is the reference method's mean.",
    "curvature_trajectories": "Curvature c of each layer during training under the rules that move it: geometric mean "
    "over seeds, band ± 1 standard deviation of log c.",
    "sharpness_trajectories": "Worst-case loss increase in the adaptive scope during training: geometric mean over the "
    "seeds where it is above 0, band ± 1 standard deviation of its log.",
    "curvature_sweep": "Final sharpness and generalisation gap (test NLL − train NLL at the last epoch) of the methods "
    "with a fixed curvature, mean and 95 % t interval over seeds. The dotted line is the Euclidean model.",
    "loss_landscape": "Training loss at the end of training along a filter-normalised random direction and along the "
    "worst-case direction: mean over the seeds that stored a slice, band ± 1 standard deviation.",
    "poincare_embedding": "Test points of the models with a two-dimensional ball, scaled by √c to the unit disk, one "
    "seed each. The circle is the boundary at infinity.",
    "rule_graph": "The workflow's rules and what they feed, left to right. Arrows implied by longer ways are left out.",
}


def write_figures(
    runs_parquet: Path,
    trajectories_parquet: Path,
    rulegraph: str,
    order: Mapping[str, Sequence[str]],
    references: Mapping[str, str],
    out_dir: Path,
) -> None:
    """Draw every figure of ``CAPTIONS`` as ``<name>.png`` and ``<name>.pdf`` under ``out_dir``.

    ``rulegraph``: the text ``snakemake --rulegraph`` prints (dot); ``order`` and ``references`` as in
    ``hsac.report.tables.write_tables``. Records named by ``runs_parquet`` are read for landscapes and embeddings.
    """
    runs, trajectories = read_gathered(runs_parquet), read_gathered(trajectories_parquet)
    root = Path(runs_parquet).parent
    figures = {
        "accuracy_by_method": accuracy_by_method.draw(runs, order, references),
        "curvature_trajectories": curvature_trajectories.draw(runs, trajectories, order),
        "sharpness_trajectories": sharpness_trajectories.draw(runs, trajectories, order, references),
        "curvature_sweep": curvature_sweep.draw(runs, order),
        "loss_landscape": loss_landscape.draw(runs, root, order, references),
        "poincare_embedding": poincare_embedding.draw(runs, root, order, references),
        "rule_graph": rule_graph.draw(rulegraph),
    }
    for name, figure in figures.items():
        save(figure, Path(out_dir) / name)
