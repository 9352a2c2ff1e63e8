"""`hsac job`: commands that only the workflow calls.

Each makes the output of one job, but for `progress`, which draws the bar.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsac.cli import inputs
from hsac.cli.command import Group, JsonObject, Several, WholeNumber
from hsac.errors import InputError

if TYPE_CHECKING:
    from tqdm import tqdm

    from hsac.frozen.splits import Splits
    from hsac.study.cell import Cell
    from hsac.study.frozen import Frozen
    from hsac.study.models import Study

seeds = click.option("--seeds", cls=Several, type=WholeNumber(), required=True, metavar="SEED...")


@click.group("job", cls=Group)
def job() -> None:
    """Run one job of the workflow: Snakemake calls these.

    By hand they serve to compute a single result again, as `hsac why` shows.
    """


@job.command("settings")
@inputs.scale
@inputs.override
@inputs.path("--output")
def resolve_settings(scale: str, override: Mapping[str, Any], output: Path) -> None:
    """Resolve a scale's configuration and write it.

    Args:
        scale: The scale.
        override: Top-level keys of the configuration to replace, as a JSON object.
        output: The file to write.
    """
    from hsac.files import write_json
    from hsac.ops import buildable

    study = inputs.load(scale, override).study
    buildable.check(study)
    write_json(output, study.dump())


@job.command("variant")
@click.argument("dataset")
@click.option("--recipe", type=JsonObject(), required=True)
@inputs.path("--output")
@inputs.plugins
def make_variant(
    dataset: str, recipe: Mapping[str, Any], output: Path, plugins: tuple[str, ...]
) -> None:
    """Build a variant of a dataset: indices, labels or episodes, with recipe and hash.

    Args:
        dataset: A dataset of `hsac list`.
        recipe: Name, recipe and parameters, as a JSON object.
        output: The file to write.
        plugins: Plugin folders to use.

    Raises:
        InputError: The recipe has no name, or is faulty.
    """
    from hsac.data import build_variant, write_variant
    from hsac.study.graph import data_root

    inputs.use_plugins(plugins)
    if "name" not in recipe:
        raise InputError(
            f"--recipe: found {recipe}; allowed is a JSON object with name, recipe and parameters"
        )
    # The name is shown, and builds nothing.
    parameters = {key: value for key, value in recipe.items() if key != "name"}
    write_variant(build_variant(dataset, recipe["name"], parameters, data_root()), output)


@job.command("train")
@inputs.settings
@inputs.experiment
@inputs.method
@seeds
@inputs.path("--variant")
@inputs.path("--index")
@inputs.path("--point", required=False)
def train_bundle(
    settings: Path,
    experiment: str,
    method: str,
    seeds: tuple[int, ...],
    variant: Path,
    index: Path,
    point: Path | None,
) -> None:
    """Train a bundle: seeds of one experiment and method.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        experiment: An experiment of the settings.
        method: The method: weight+curvature, or weight+curvature@start.
        seeds: The bundle's seeds.
        variant: The file of the variant.
        index: The bundle's index to write. Its records go beside it.
        point: What `hsac job tune` wrote. A searched method is trained at its choice.

    Raises:
        InputError: A searched method comes without a point, or another one with it.
    """
    from hsac.ops.runner import run_bundle
    from hsac.study import search
    from hsac.study.graph import data_root

    study = inputs.read(settings)
    cell, facts = inputs.cell_of(study, experiment, method), None
    if cell.searched != (point is not None):
        is_searched = "is searched" if cell.searched else "is not searched"
        allowed = "what `hsac job tune` wrote" if cell.searched else "no point"
        raise InputError(f"--point: {method} {is_searched}; allowed is {allowed}")
    if point is not None:
        choice = search.read_point(point, cell)
        facts = search.search_facts(study, cell, choice)
        cell = search.at_point(study, cell, choice)
    run_bundle(study, cell, list(seeds), variant, data_root(), index, facts)


@job.command("points")
@inputs.settings
@inputs.experiment
@inputs.method
@seeds
@click.option("--trial", "numbers", cls=Several, type=WholeNumber(), required=True, metavar="N...")
@inputs.path("--variant")
@inputs.path("--index")
def train_points(
    settings: Path,
    experiment: str,
    method: str,
    seeds: tuple[int, ...],
    numbers: tuple[int, ...],
    variant: Path,
    index: Path,
) -> None:
    """Train points that the search of a method tries.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        experiment: An experiment of the settings.
        method: A searched method of it.
        seeds: The seeds of the search.
        numbers: The numbers of the points.
        variant: The file of the variant.
        index: The index to write. Records of a point go into a folder beside its own.

    Raises:
        InputError: The method is not searched, or its search has no such point.
    """
    from hsac.ops.runner import run_points
    from hsac.study import resolve
    from hsac.study.graph import data_root

    study = inputs.read(settings)
    cell = inputs.cell_of(study, experiment, method)
    _check_searched(cell)
    trials = resolve.trials(study, cell)
    for number in numbers:
        if not 0 <= number < len(trials):
            raise InputError(f"--trial: found {number}; allowed is 0 to {len(trials) - 1}")
    points = [trials[number] for number in numbers]
    run_points(study, points, list(seeds), variant, data_root(), index)


@job.command("tune")
@inputs.settings
@inputs.experiment
@inputs.method
@inputs.paths("--candidates")
@inputs.path("--output")
def choose_point(
    settings: Path, experiment: str, method: str, candidates: tuple[Path, ...], output: Path
) -> None:
    """Choose the point of a searched method on validation.

    It is the one with the best mean over the seeds of the search.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        experiment: An experiment of the settings.
        method: A searched method of it.
        candidates: The indexes of the points.
        output: The file to write.

    Raises:
        InputError: The method is not searched.
    """
    from hsac.study import search

    study = inputs.read(settings)
    cell = inputs.cell_of(study, experiment, method)
    _check_searched(cell)
    search.tune(study, cell, list(candidates), output)


@job.command("select")
@inputs.settings
@inputs.experiment
@inputs.method
@seeds
@inputs.paths("--candidates")
@inputs.path("--index")
def select_runs(
    settings: Path,
    experiment: str,
    method: str,
    seeds: tuple[int, ...],
    candidates: tuple[Path, ...],
    index: Path,
) -> None:
    """Choose each seed's best run, of a grid or of several rules, on validation.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        experiment: An experiment of the settings.
        method: A method of it that chooses among others.
        seeds: The bundle's seeds.
        candidates: The indexes of the methods that it chooses among.
        index: The bundle's index to write.

    Raises:
        InputError: The method does not choose, or among another number of candidates.
    """
    from hsac.ops.runner import select_bundle
    from hsac.study import resolve

    study = inputs.read(settings)
    cell = inputs.cell_of(study, experiment, method)
    # In the order of the indexes, which the workflow also takes from `resolve.candidates`.
    among = [candidate.method for candidate in resolve.candidates(study, cell)]
    if len(candidates) != len(among):
        allowed = f"one of each that {method} chooses among: {', '.join(among) or 'none'}"
        raise InputError(f"--candidates: found {len(candidates)}; allowed is {allowed}")
    select_bundle(cell, among, list(candidates), list(seeds), index)


@job.command("theory")
@click.argument("study")
@inputs.settings
@inputs.path("--output")
def run_study(study: str, settings: Path, output: Path) -> None:
    """Run a study of the theory and write its rows as CSV.

    Args:
        study: A study of `hsac list studies`.
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        output: The CSV file to write.

    Raises:
        InputError: The settings have no such study.
    """
    from tqdm import tqdm

    from hsac import parts
    from hsac.files import write_rows

    theory = inputs.read(settings).theory
    studies = theory.studies if theory else {}
    if study not in studies:
        nearest = parts.nearest(study, studies)
        raise InputError(f"study: found {study!r}; in these settings {nearest}")
    built = parts.build("study", study, studies[study] or {})
    # No bar but the time and a word, as a study does not tell how many rows it will make.
    with tqdm(desc=study, disable=None, bar_format="{desc}: {elapsed}{postfix}") as bar:
        write_rows(output, built.rows(bar.set_postfix_str))


@job.command("measure")
@inputs.settings
@inputs.experiment
@inputs.path("--variant")
@inputs.paths("--indexes")
@inputs.path("--output")
def measure_networks(
    settings: Path, experiment: str, variant: Path, indexes: tuple[Path, ...], output: Path
) -> None:
    """Measure an experiment's trained networks: Hessian spectrum, certificate of the risk.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        experiment: An experiment of the settings.
        variant: The file of the variant.
        indexes: The indexes of the measured bundles.
        output: The CSV file to write. Rows of single runs are kept in a folder beside it.
    """
    from tqdm import tqdm

    from hsac.files import write_rows
    from hsac.study.fingerprint import of_modules
    from hsac.study.graph import data_root
    from hsac.study.record import read_index
    from hsac.theory.landscape import Kept, measure

    study = inputs.read(settings)
    # An index is named by a hash and a number, and only its content tells the method.
    methods = {index: read_index(index)[0][1] for index in indexes}
    bundles = {}
    for index, method in methods.items():
        bundles[index] = inputs.cell_of(study, experiment, method)
    kept = Kept(output.parent / experiment, of_modules(["hsac.theory.landscape"]))
    with tqdm(desc=experiment, unit="run", disable=None) as bar:

        def progress(text: str) -> None:
            bar.set_postfix_str(text)
            bar.update()

        leased = inputs.lease_gpu(study)
        root = data_root()
        rows = measure(leased, bundles, variant, root, kept, progress)
    write_rows(output, rows)


@job.command("certify")
@inputs.settings
@inputs.experiment
@inputs.path("--variant")
@inputs.paths("--points", required=False)
@inputs.path("--output")
def certify_methods(
    settings: Path, experiment: str, variant: Path, points: tuple[Path, ...], output: Path
) -> None:
    """Certify an experiment's methods with a prior trained on a part of the examples.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        experiment: An experiment of the settings.
        variant: The file of the variant.
        points: What `hsac job tune` wrote of the searched methods.
        output: The CSV file to write.
    """
    from tqdm import tqdm

    from hsac.files import write_rows
    from hsac.study import resolve
    from hsac.study.graph import data_root
    from hsac.theory.informed import informed

    study = inputs.read(settings)
    # Only to refuse a name that the study does not know.
    inputs.experiment_of(study, experiment)
    seeds, rows = study.seeds_of(experiment), []
    leased = inputs.lease_gpu(study)
    for cell in tqdm(resolve.informed(study, experiment), unit="method", disable=None):
        chosen = _at_chosen_point(study, cell, points)
        rows += informed(leased, chosen, seeds, variant, data_root())
    write_rows(output, rows)


@job.command("hypergradient")
@inputs.settings
@inputs.experiment
@inputs.path("--variant")
@inputs.paths("--points", required=False)
@inputs.path("--output")
def measure_hypergradient(
    settings: Path, experiment: str, variant: Path, points: tuple[Path, ...], output: Path
) -> None:
    """Measure bias and noise of the hypergradient along a training of an experiment.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        experiment: An experiment of the settings with the key hypergradient.
        variant: The file of the variant.
        points: What `hsac job tune` wrote of the method, where it is searched.
        output: The CSV file to write.

    Raises:
        InputError: The experiment has no key hypergradient.
    """
    from tqdm import tqdm

    from hsac.files import write_rows
    from hsac.study import resolve
    from hsac.study.graph import data_root
    from hsac.theory.hypergradient_bias import hypergradient_bias

    study = inputs.read(settings)
    if inputs.experiment_of(study, experiment).hypergradient is None:
        raise InputError(
            f"--experiment: found {experiment!r}; allowed is one with the key hypergradient"
        )
    options = study.hypergradient_of(experiment)
    cell = _at_chosen_point(study, resolve.studied(study, experiment), points)
    leased, root = inputs.lease_gpu(study), data_root()
    with tqdm(desc=experiment, total=len(options.at), unit="point", disable=None) as bar:
        rows = hypergradient_bias(leased, cell, options, variant, root, lambda text: bar.update())
    write_rows(output, rows)


@job.command("features")
@click.argument("name")
@inputs.settings
@inputs.path("--variant", required=False)
@inputs.paths("--indexes", required=False)
@inputs.path("--output")
def make_features(
    name: str, settings: Path, variant: Path | None, indexes: tuple[Path, ...], output: Path
) -> None:
    """Compute frozen features of a dataset, with recipe and hash in a manifest beside them.

    Args:
        name: A name of the settings' key frozen.features.
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        variant: The variant that the backbones were trained on, where backbones compute them.
        indexes: The indexes of the backbones' bundles.
        output: The .npz file to write. The manifest goes beside it.

    Raises:
        InputError: The settings have no such features, or backbones lack their files.
    """
    from hsac.data.store import load_arrays
    from hsac.frozen import artefact
    from hsac.frozen.features import build
    from hsac.study.frozen import BACKBONE
    from hsac.study.graph import data_root

    study = inputs.read(settings)
    given = inputs.member_of("features", study.frozen.features if study.frozen else {}, name)
    arrays, sha256 = load_arrays(given.dataset, data_root())
    sources: dict[str, str] = {}
    if given.recipe == BACKBONE:
        from hsac.frozen.networks import embedded

        if variant is None or not indexes:
            raise InputError(
                f"--indexes: found none, and {name} is of recipe {BACKBONE}; allowed are the"
                " indexes of its bundles, and --variant"
            )
        more, sources = embedded(inputs.lease_gpu(study), given, variant, indexes, data_root())
        arrays |= more
    made = build(arrays, given, f"frozen.features.{name}")
    artefact.write(artefact.stored(made, given, sha256, sources), output)


@job.command("landscape")
@click.argument("problem")
@click.option("--dim", type=WholeNumber(), required=True)
@inputs.settings
@inputs.path("--features")
@inputs.path("--output")
def solve_landscape(problem: str, dim: int, settings: Path, features: Path, output: Path) -> None:
    """Solve the heads of a problem on frozen features over all curvatures, and take readings.

    Args:
        problem: A name of the settings' key frozen.problems.
        dim: One of its dimensions.
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        features: What `hsac job features` wrote of its features.
        output: The CSV file to write.

    Raises:
        InputError: The settings have no such problem, or it has not this dimension.
    """
    from hsac.files import write_rows
    from hsac.frozen.landscape import LandscapeOptions, landscape

    frozen, (splits, judged) = _drawn(settings, problem, dim, features)
    with _heads_bar(problem) as bar:
        options = LandscapeOptions.of(frozen)
        rows = landscape(splits, judged, dim, options, bar.set_postfix_str)
    write_rows(output, rows)


@job.command("rules")
@click.argument("problem")
@click.option("--dim", type=WholeNumber(), required=True)
@inputs.settings
@inputs.path("--features")
@inputs.path("--output")
@inputs.path("--ends")
def follow_rules(
    problem: str, dim: int, settings: Path, features: Path, output: Path, ends: Path
) -> None:
    """Compare hypergradients with differences on solved heads, and follow rules to their ends.

    Args:
        problem: A name of the settings' key frozen.rules.problems.
        dim: One of its dimensions.
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        features: What `hsac job features` wrote of its features.
        output: The CSV file of the hypergradients to write.
        ends: The CSV file of the rules' ends to write.

    Raises:
        InputError: The settings follow no rules on such a problem, or it has not this dimension.
    """
    from hsac.files import write_rows
    from hsac.frozen.landscape import LandscapeOptions
    from hsac.frozen.rules import RuleOptions, compare, first_seeds

    frozen, (splits, _) = _drawn(settings, problem, dim, features)
    rules = frozen.rules
    if rules is None or problem not in rules.problems:
        named = ", ".join(rules.problems) if rules else "none"
        raise InputError(
            f"problem: found {problem!r}; of frozen.rules.problems allowed are {named}"
        )
    options = RuleOptions(
        radius=rules.radius,
        ascent_steps=frozen.ascent_steps,
        draws=frozen.draws,
        starts=tuple(rules.starts),
        steps=rules.steps,
    )
    with _heads_bar(problem) as bar:
        given = first_seeds(splits, rules.seeds)
        made = compare(given, dim, LandscapeOptions.of(frozen), options, bar.set_postfix_str)
    # The file that the workflow waits for last.
    write_rows(ends, made.ends)
    write_rows(output, made.hypergradients)


def _drawn(
    settings: Path, problem: str, dim: int, features: Path
) -> "tuple[Frozen, tuple[Splits, Splits | None]]":
    """Return the key frozen of settings, and the splits of one of its problems."""
    from hsac.frozen import artefact
    from hsac.frozen.splits import problem_splits

    frozen = inputs.read(settings).frozen
    given = inputs.member_of("problem", frozen.problems if frozen else {}, problem)
    assert frozen is not None  # it has the problem
    if dim not in given.dims:
        allowed = ", ".join(map(str, given.dims))
        raise InputError(f"--dim: found {dim}; of {problem} allowed are {allowed}")
    return frozen, problem_splits(artefact.read(features).arrays, given)


def _heads_bar(problem: str) -> "tqdm[Any]":
    """Return a bar of the time and a word, as work on heads does not tell how much it is."""
    from tqdm import tqdm

    return tqdm(desc=problem, disable=None, bar_format="{desc}: {elapsed}{postfix}")


@job.command("gather")
@inputs.settings
@inputs.path("--results")
@click.option("--processes", type=WholeNumber(), default=1, show_default=True)
def gather_records(settings: Path, results: Path, processes: int) -> None:
    """Gather the run records of a scale into three Parquet files.

    They are runs.parquet, trajectories.parquet and measured.parquet.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        results: The results folder of the scale.
        processes: How many processes read records.
    """
    from hsac.report.gather import gather, read_bundle
    from hsac.study import search
    from hsac.study.graph import POINTS, Graph

    graph = Graph(inputs.read(settings), results)
    search.check(graph, read_bundle)  # reads the points of searches
    shown = graph.indexes(graph.cells)
    # The check has read the points of searches already, the rest still has to be read.
    known = {*shown, *(bundle.index for bundle in graph.bundles if bundle.rule == POINTS)}
    others = [bundle.index for bundle in graph.bundles if bundle.index not in known]
    gather(shown, results, others, processes)


@job.command("tables")
@inputs.settings
@inputs.path("--runs")
@inputs.path("--published")
@inputs.path("--output")
def make_tables(settings: Path, runs: Path, published: Path, output: Path) -> None:
    """Write the tables as CSV, Markdown and LaTeX.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        runs: The file runs.parquet.
        published: The file published.yaml.
        output: The folder to write.
    """
    from hsac.report.frozen import write_regret_tables
    from hsac.report.frozen_bounds import write_bound_table
    from hsac.report.frozen_rules import write_rule_tables
    from hsac.report.published import write_published
    from hsac.report.tables import write_tables
    from hsac.report.theory import write_theory_tables

    order, references = _order(inputs.read(settings))
    write_tables(runs, order, references, output)
    write_theory_tables(runs, order, output)
    write_published(published, runs, output)
    write_regret_tables(runs.parent, output)
    write_bound_table(runs.parent, output)
    write_rule_tables(runs.parent, output)


@job.command("cost")
@inputs.settings
@inputs.path("--runs")
@inputs.path("--measured")
@inputs.path("--output")
def make_cost_table(settings: Path, runs: Path, measured: Path, output: Path) -> None:
    """Write what the runs cost the machine as CSV, Markdown and LaTeX.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        runs: The file runs.parquet.
        measured: The file measured.parquet.
        output: The folder to write.
    """
    from hsac.report.cost import write_cost

    write_cost(runs, measured, _order(inputs.read(settings))[0], output)


@job.command("provenance")
@inputs.settings
@inputs.path("--runs")
@inputs.path("--published")
def make_provenance(settings: Path, runs: Path, published: Path) -> None:
    """Write what lies behind every cell of the tables, beside runs.parquet.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        runs: The file runs.parquet.
        published: The file published.yaml.
    """
    from hsac.report.provenance import write_provenance

    write_provenance(inputs.read(settings), runs, published)


@job.command("figures")
@inputs.settings
@inputs.path("--runs")
@inputs.path("--trajectories")
@inputs.path("--rulegraph")
@inputs.path("--output")
def draw_figures(
    settings: Path, runs: Path, trajectories: Path, rulegraph: Path, output: Path
) -> None:
    """Draw the figures as PNG and PDF.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        runs: The file runs.parquet.
        trajectories: The file trajectories.parquet.
        rulegraph: What `snakemake --rulegraph` prints.
        output: The folder to write.
    """
    from hsac.documents import read_text
    from hsac.report.figures import write_figures

    order, references = _order(inputs.read(settings))
    write_figures(runs, trajectories, read_text(rulegraph), order, references, output)


@job.command("page")
@inputs.settings
@inputs.path("--results")
def make_page(settings: Path, results: Path) -> None:
    """Write the self-contained page index.html.

    Args:
        settings: Resolved settings. HSAC_SETTINGS may name them instead.
        results: The results folder of the scale.
    """
    from hsac.report.page import write_page
    from hsac.report.provenance import page_data
    from hsac.study.graph import Graph

    graph, output = Graph(inputs.read(settings), results), results / "index.html"
    variants = {name: graph.variant(name) for name in graph.study.experiments}
    write_page(results, graph.datasets, variants, page_data(results), output)
    print(f"tables  {results}/tables\nfigures {results}/figures\npage    {output}")


@job.command("progress")
@inputs.scale
@inputs.override
@click.option("--process", type=WholeNumber(), required=True)
def show_progress(scale: str, override: Mapping[str, Any], process: int) -> None:
    """Show runs done of all and the time left while a process lives.

    Args:
        scale: The scale.
        override: Top-level keys of the configuration to replace, as a JSON object.
        process: The number of the process, the workflow's.
    """
    from hsac.ops.progress import watch

    watch(scale, override, process)


def _check_searched(cell: "Cell") -> None:
    if not cell.searched:
        raise InputError(
            f"--method: found {cell.method!r}; allowed is a method of an experiment that searches"
        )


def _at_chosen_point(study: "Study", cell: "Cell", points: tuple[Path, ...]) -> "Cell":
    """Return the cell itself. Where it is searched, return that of its chosen point."""
    from hsac.files import read_json
    from hsac.study import search

    if not cell.searched:
        return cell
    found = {}
    for path in points:
        # Each is called point.json in a folder that is a hash, and its content tells the method.
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("method"), str):
            raise InputError(f"{path}: found no method; allowed is what `hsac job tune` wrote")
        found[content["method"]] = path
    if cell.method not in found:
        raise InputError(
            f"--points: found none of {cell.method}; allowed is what `hsac job tune` wrote of it"
        )
    return search.at_point(study, cell, search.read_point(found[cell.method], cell))


def _order(study: "Study") -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the methods and the reference of each experiment, in the configuration's order."""
    experiments = study.experiments
    methods = {name: one.methods for name, one in experiments.items()}
    return methods, {name: one.reference for name, one in experiments.items()}
