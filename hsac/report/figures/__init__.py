"""The report's figures.

Each is a module with ``draw(...) -> Figure``. `write_figures` draws them all.
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from matplotlib.figure import Figure

from hsac import parts, plugins
from hsac.errors import InputError
from hsac.report import frozen, theory
from hsac.report.curvature_role import correlations
from hsac.report.figures import (
    accuracy_by_compute,
    accuracy_by_method,
    approximation,
    convergence,
    coverage,
    curvature_trajectories,
    hypergradient_bias,
    inexactness,
    landscape_over_c,
    lipschitz,
    loss_landscape,
    negative_curvature,
    poincare_embedding,
    rank_correlations,
    regret,
    role_of_curvature,
    rule_graph,
    sharpness_trajectories,
)
from hsac.report.figures.style import mark_lost, nothing, save
from hsac.report.gather import read_gathered


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


# A study's module has the name of the CSV file with its rows.
STUDIES = (approximation, inexactness, convergence, negative_curvature, lipschitz, coverage)
# The page shows these apart from the figures of the results.
THEORY = (
    "role_of_curvature",
    "rank_correlations",
    *map(_name, STUDIES),
    "hypergradient_bias",
)
# Their means are over the runs that finished. That of accuracies says so method by method.
OVER_SEEDS = (
    "accuracy_by_compute",
    "curvature_trajectories",
    "sharpness_trajectories",
    "loss_landscape",
)
OVER_SWEEP = ("role_of_curvature", "rank_correlations")
CAPTIONS = {
    "accuracy_by_method": (
        "Validation-selected test accuracy by method. Points are means with 95 % t intervals over "
        "seeds, faint dots are single seeds, the dashed line is the reference method's mean."
    ),
    "accuracy_by_compute": (
        "Validation-selected test accuracy against what one model costs: gradient evaluations, a"
        " Hessian product counted as two, those of the method's search and of every point tried"
        " included, in units of the cheapest method's training. The grey line is the best mean"
        " accuracy at or below a cost."
    ),
    "curvature_trajectories": (
        "Curvature c of each layer during training under the rules that move it: geometric "
        "mean over seeds, band ± 1 standard deviation of log c."
    ),
    "sharpness_trajectories": (
        "Worst-case loss increase in the adaptive scope during training: geometric mean over "
        "the seeds where it is above 0, band ± 1 standard deviation of its log."
    ),
    "role_of_curvature": (
        "Runs with a fixed curvature at the end of training: sharpness in the adaptive scope,"
        " largest eigenvalue and trace of the training loss's Hessian, PAC-Bayes certificate of the"
        " 0–1 risk (prior at the start weights), and generalisation gap. Mean and 95 % t interval"
        " over seeds, the weight rules drawn slightly apart; the dotted line is the Euclidean model"
        " under the plain rule."
    ),
    "rank_correlations": (
        "Spearman's rank correlation across fixed curvatures within a seed, averaged over seeds,"
        " with 95 % percentile bootstrap intervals over seeds. Quantities that both follow c"
        " correlate without one explaining the other; the intervals say nothing about other"
        " curvatures."
    ),
    "loss_landscape": (
        "Training loss at the end of training along a filter-normalised random direction and along"
        " the worst-case direction: mean over the seeds that stored a slice, band ± 1 standard"
        " deviation."
    ),
    "poincare_embedding": (
        "Test points of the models with a two-dimensional ball, scaled by √c to the unit disk, one "
        "seed each. The circle is the boundary at infinity."
    ),
    "approximation": (
        "Error of each solver against the Hessian products it spends (the mixed one included) on"
        " four problems whose hypergradient is known. Above |x − H⁻¹v| with its bound (dashed),"
        " below the hypergradient's relative error against finite differences of the re-solved"
        " problem. Open markers: the solver itself marks the result as failed. Damping 0.1 where a"
        " solver has one. Unrolled lies on neumann with one term less."
    ),
    "inexactness": (
        "Hypergradient error along a gradient descent on the lower level; time runs to the right."
        " With an exact solve it falls in proportion to |w − w*| (dashed) until rounding; a"
        " truncated solver keeps its own error."
    ),
    "convergence": (
        "True |dF/dθ|² along outer descents by Neumann's hypergradient (10 warm-started inner steps"
        " an outer step): at the step (thin) and running mean (thick); below the mean over the last"
        " tenth of the steps against J, and the bound where the descent rests."
    ),
    "negative_curvature": (
        "A quadratic problem with one eigenvalue turned to −m, at its stationary point. Unguarded,"
        " Neumann's |x| grows as theory says (dotted); guarded, its flag leaves the direct term"
        " alone once the last term outgrows v by a factor of 2. Damped cg stops at negative"
        " curvature but can take one long step before it."
    ),
    "lipschitz": (
        "Largest derivative of the ball's maps found by search (markers) and analytic bounds"
        " (lines; solid where attained, dashed where not tight) against curvature, for points"
        " within the tangent radius of the models' clip. Constants of maps between points and"
        " vectors go to 1 as c → 0, the squared distance's and the logit's to their Euclidean"
        " values; those in c hold the points fixed. Scales differ between panels."
    ),
    "coverage": (
        "Top: share of independent samples in which the bound held, with 95 % Clopper–Pearson"
        " intervals; dashed, the share promised. Bottom: bound minus true risk, median and 5–95 %"
        " range. A linear classifier whose true risk is known to quadrature. Without its complexity"
        " term the bound is only the Monte Carlo limit on the training error."
    ),
    "hypergradient_bias": (
        "Estimates of the hypergradient from batches (of rows, or of episodes) against that of the"
        " whole training part, at points along one training. Top and middle: root mean square over"
        " these points of the mean estimate less the truth, in per cent of the truth's; bars are ±"
        " 1 standard error, open markers cannot be told from no bias. Bottom: standard deviation of"
        " a single estimate. Batches of all rows have neither and are left out. The rule draws a"
        " batch for each level and one for the adversary; what follows it in the legend differs"
        " from it in one respect."
    ),
    "rule_graph": (
        "The workflow's rules and what they feed, left to right. Arrows implied by longer ways are"
        " left out."
    ),
}

# Only a study with frozen features has these.
FROZEN = {
    "regret": (
        "Test error and test NLL at the curvature that each chooser picks, less the best over the"
        " grid of c: mean over problems and seeds with the 95 % interval of a bootstrap of"
        " problems, then of seeds within. 0 is the oracle's. Intervals that leave a panel are cut."
    ),
    "landscape_over_c": (
        "The solved head at each curvature: mean over seeds of the test loss and of what choosers"
        " look at, each scaled to run from its least to its most in each problem, then averaged"
        " over problems and scaled again. Markers under the curves stand where each is least;"
        " readings are those of the smallest radius."
    ),
}


def write_figures(
    runs_parquet: Path,
    trajectories_parquet: Path,
    rulegraph: str,
    order: Mapping[str, Sequence[str]],
    references: Mapping[str, str],
    out_dir: Path,
) -> None:
    """Draw every figure as ``<name>.png`` and ``<name>.pdf``, those of plugins included.

    Args:
        runs_parquet: The gathered runs. The records that it names are read for landscapes and
            embeddings. The rows of the studies lie in ``theory`` beside it, landscapes over c in
            ``frozen``.
        trajectories_parquet: The gathered trajectories.
        rulegraph: What ``snakemake --rulegraph`` prints (dot).
        order: Experiments and their methods, as `hsac.report.tables.write_tables` takes them.
        references: The reference method of each experiment.
        out_dir: The folder to write into.

    Raises:
        InputError: A plugin's figure fails, and the line names its file. Or a landscape over c is
            missing or cut short.
    """
    runs = read_gathered(runs_parquet)
    trajectories = read_gathered(trajectories_parquet, "trajectories")
    root = Path(runs_parquet).parent
    rows = root / "theory"
    fixed, euclidean = theory.sweep(theory.landscape(rows, runs, order))
    figures = {
        "accuracy_by_method": accuracy_by_method.draw(runs, order, references),
        "accuracy_by_compute": accuracy_by_compute.draw(runs, order),
        "curvature_trajectories": curvature_trajectories.draw(runs, trajectories, order),
        "sharpness_trajectories": sharpness_trajectories.draw(
            runs, trajectories, order, references
        ),
        "role_of_curvature": role_of_curvature.draw(fixed, euclidean),
        "rank_correlations": rank_correlations.draw(correlations(fixed)),
        "loss_landscape": loss_landscape.draw(runs, trajectories, root, order, references),
        "poincare_embedding": poincare_embedding.draw(runs, trajectories, root, order, references),
        "hypergradient_bias": hypergradient_bias.draw(theory.hypergradients(rows, order)),
        "rule_graph": rule_graph.draw(rulegraph),
    }
    in_order = runs[runs["experiment"].isin(list(order))]
    for name in OVER_SEEDS:
        mark_lost(figures[name], runs)
    for name in OVER_SWEEP:
        mark_lost(figures[name], theory.sweep(in_order)[0])
    figures |= {_name(module): _study(module, rows) for module in STUDIES}
    if (found := frozen.read(root)) is not None:
        figures["regret"] = regret.draw(frozen.table(found))
        figures["landscape_over_c"] = landscape_over_c.draw(found.landscapes)
    # By name, so that a new entry breaks no plugin: `draw` takes those it asks for.
    offered: dict[str, Any] = {"runs": runs, "trajectories": trajectories, "root": root}
    offered |= {"order": order, "references": references}
    figures |= {name: _of_plugin(name, offered) for name in plugins.names("figure")}
    for name, figure in figures.items():
        save(figure, Path(out_dir) / name)


def captions() -> dict[str, str]:
    """Return the captions of all figures.

    Returns:
        Name -> caption, those of the plugin folders in use last. Those of `FROZEN` are apart.
    """
    own = {name: parts.load("figures", name).CAPTION for name in plugins.names("figure")}
    return CAPTIONS | own


def _of_plugin(name: str, offered: Mapping[str, Any]) -> Figure:
    """Draw a plugin's figure from what its `draw` asks for by name."""
    draw = parts.load("figures", name).draw
    root, path = parts.find("figures", name)
    try:
        figure = draw(**{asked: offered[asked] for asked in inspect.signature(draw).parameters})
    # A plugin can raise anything.
    except Exception as error:
        raise InputError(f"{path}: draw raised {parts.exception_line(error, root)}") from error
    if not isinstance(figure, Figure):
        raise InputError(f"{path}: draw returned {type(figure).__name__}; allowed is a Figure")
    return figure


def _study(module: Any, folder: Path) -> Figure:
    """Draw the figure of a study, or one that says that it was not run."""
    rows = theory.study(folder, _name(module))
    if rows.empty:
        return nothing(module.TITLE, "The scale leaves this study out (theory.studies).")
    figure: Figure = module.draw(rows)
    return figure
