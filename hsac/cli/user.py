"""The commands for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsac import __version__
from hsac.cli import inputs
from hsac.cli.command import Group, Several, WholeNumber
from hsac.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hsac.study.models import Study


@click.group("hsac", cls=Group, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="hsac", message="%(prog)s %(version)s")
def hsac() -> None:
    """Plan, check and explain runs of the benchmark suite.

    The runs themselves are Snakemake's: `snakemake --cores 8 --config scale=smoke` makes all that
    is missing of a scale. `hsac COMMAND --help` has examples.
    """


@hsac.command("list")
@click.argument("kind", nargs=-1, metavar="[KIND]")
@inputs.scale
@inputs.plugins
def list_names(kind: tuple[str, ...], scale: str, plugins: tuple[str, ...]) -> None:
    """List the names that a configuration can use.

    These are settings, datasets, models, rules, methods and so on. Parts of plugin folders are
    imported, so faults in them show here, and their files are named.

    Args:
        kind: List names of one kind only, such as losses, weight-rules or datasets.
        scale: The scale whose plugins count and whose experiments are listed.
        plugins: Plugin folders to use instead of those of the scale.

    Raises:
        InputError: There is no such kind, or a plugin cannot be imported.

    Examples:
        hsac list
        hsac list losses
        hsac list experiments --scale paper
        hsac list --plugins my_parts
    """
    from hsac import parts
    from hsac import plugins as known
    from hsac.study.load import load

    inputs.use_plugins(plugins, scale)
    study = load(scale)
    # What cannot be imported must show here, not in the middle of a training.
    known.check_imports()
    titles = {name: name for name in _listed(study)}
    titles["experiments"] = f"experiments and methods of scale {scale}"
    if kind:
        names = [name.replace(" ", "-") for name in titles]
        # `weight rules`, `weight-rules` and `weight_rules` all name the same kind.
        asked = "-".join(kind).replace("_", "-")
        if asked not in names:
            raise InputError(f"kind: found {asked!r}; {parts.nearest(asked, names)}")
        print("\n".join(_listed(study)[asked.replace("-", " ")]()))
        return
    for name, lines in _listed(study).items():
        print(titles[name])
        for line in lines():
            print(f"  {line}")


def _listed(study: "Study") -> "dict[str, Callable[[], list[str]]]":
    """Return what makes the lines of each kind of name."""
    from functools import partial

    from hsac import parts, plugins
    from hsac.data import catalogue
    from hsac.study.load import SCALES
    from hsac.study.models import SETTINGS

    def datasets() -> list[str]:
        about = {name: catalogue.entry(name).about for name in catalogue.names()}
        return [_name_line(catalogue.FOLDER, name, text) for name, text in about.items()]

    def family(name: str) -> list[str]:
        folder, known = parts.FAMILIES[name], parts.names(name)
        return [_name_line(folder, part, parts.summary(name, part)) for part in known]

    def experiments() -> list[str]:
        methods = {name: one.methods for name, one in study.experiments.items()}
        return [f"{name:<32}{' '.join(listed)}" for name, listed in methods.items()]

    def figures() -> list[str]:
        return [
            _name_line("figures", name, parts.load("figures", name).CAPTION)
            for name in plugins.names("figure")
        ]

    families = [name for name in parts.FAMILIES if parts.names(name)]
    # Functions, so that only the kind that is asked for is looked up.
    return {
        "settings": lambda: list(SETTINGS),
        "scales": lambda: list(SCALES),
        "datasets": datasets,
        **{parts.plural(name): partial(family, name) for name in families},
        **({"figures": figures} if plugins.names("figure") else {}),
        "experiments": experiments,
    }


def _name_line(folder: str, name: str, about: str) -> str:
    """Return a name with what it is and, of a plugin's part, its file."""
    from hsac import parts

    origin = f" [{parts.find(folder, name)[1]}]" if parts.from_plugin(folder, name) else ""
    return f"{name:<32}{about}{origin}"


@hsac.command("plan")
@inputs.scale
@inputs.override
def show_plan(scale: str, override: Mapping[str, Any]) -> None:
    """Say what a scale comes to before it runs.

    That is runs, jobs, disk, core-hours and GPU-hours, and how much of it is left.

    Args:
        scale: The scale.
        override: Top-level keys of the configuration to replace.

    Examples:
        hsac plan --scale workstation
        hsac plan --override '{"seeds": [0, 1, 2]}'
    """
    from hsac.ops import buildable, plan
    from hsac.ops.timings import FILE, Timings
    from hsac.study.graph import data_root

    graph, mirror = inputs.load(scale, override), inputs.mirror_of(scale, override)
    buildable.check(graph.study)
    # Finished runs of every scale tell how long a cell takes.
    made = plan.plan(graph, Timings(graph.results.parent))
    print("\n".join(plan.lines(made, data_root(), mirror, FILE)))


@hsac.command("stale")
@inputs.scale
@inputs.override
def show_stale(scale: str, override: Mapping[str, Any]) -> None:
    """Say which runs would be computed again.

    That is because of the present code or configuration. Each comes with the reason and about how
    long it takes. Comments and formatting of the code do not count.

    Args:
        scale: The scale.
        override: Top-level keys of the configuration to replace.

    Examples:
        hsac stale
        hsac stale --scale smoke
    """
    from hsac.ops import stale

    for line in stale.report(inputs.load(scale, override)):
        print(line)


@hsac.command("why")
@click.argument("table")
@click.argument("row")
@click.argument("column")
@inputs.scale
def explain_cell(table: str, row: str, column: str, scale: str) -> int:
    """Show what lies behind a cell of a table.

    That includes the commands that compute it again.

    Args:
        table: A table, or an unambiguous part of its name.
        row: A row of it, or an unambiguous part.
        column: A column by its CSV name or printed heading, or an unambiguous part.
        scale: The scale.

    Returns:
        The exit status is 1 when something was changed.

    Examples:
        hsac why digits sgd+hsac test_accuracy_percent
    """
    from hsac.report.why import explain
    from hsac.study.graph import results_root

    text, intact = explain(results_root(scale), table, row, column)
    print(text)
    return int(not intact)


@hsac.command("verify")
@inputs.scale
@inputs.override
@click.option("--sample", default="5%", show_default=True, metavar="SHARE")
@click.option("--seed", type=WholeNumber(), default=0, show_default=True)
def verify_runs(scale: str, override: Mapping[str, Any], sample: str, seed: int) -> int:
    """Train random finished runs again and compare, and compare artefacts with their manifest.

    Args:
        scale: The scale.
        override: Top-level keys of the configuration to replace.
        sample: A share of the finished runs, such as 5%, or their number.
        seed: The seed of the draw.

    Returns:
        The exit status is 1 when a run is outside its learned tolerance, or an artefact is not as
        the last run of the workflow left it.

    Examples:
        hsac verify --scale smoke --sample 2
    """
    from functools import partial

    from tqdm import tqdm

    from hsac.files import workflow_of, write_json
    from hsac.ops import manifest, verify
    from hsac.study.graph import data_root

    graph = inputs.load(scale, override)
    # Before the trainings, which take long.
    damaged = manifest.differing(graph)
    for output, files in damaged.items():
        again = workflow_of(output)
        print(f"{files[0]}: not as the last run left it ({manifest.NAME}); {again} makes it again")
    track = partial(tqdm, unit="group", disable=None)
    certificate = verify.verify(graph, data_root(), sample, seed, track)
    write_json(graph.results / "verification.json", certificate)
    print("\n".join(verify.lines(certificate)))
    return int(certificate["counts"]["outside"] > 0 or bool(damaged))


@hsac.command("compare")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
def compare_results(a: Path, b: Path) -> int:
    """Show two results folders side by side as Markdown.

    Args:
        a: A results folder.
        b: Another one.

    Returns:
        The exit status is 1 when something moved beyond noise.

    Examples:
        hsac compare results/reference results/default
    """
    from hsac.report.compare import compare

    text, moved = compare(a, b)
    print(text)
    return int(moved)


@hsac.command("claims")
@inputs.scale
@click.option("--claims", type=click.Path(path_type=Path), default=Path("config/claims.yaml"))
@inputs.path("--runs", required=False)
@inputs.path("--output", required=False)
@click.option("--strict", is_flag=True)
@inputs.plugins
def judge_claims(
    scale: str,
    claims: Path,
    runs: Path | None,
    output: Path | None,
    strict: bool,
    plugins: tuple[str, ...],
) -> int:
    """Judge the claims and print the verdicts.

    Args:
        scale: The scale.
        claims: The file of claims. By default config/claims.yaml.
        runs: The gathered runs, by default the scale's runs.parquet. Studies lie in theory/ beside
            it.
        output: The file to write, by default the scale's claims.json.
        strict: Make a contradicted claim count for the exit status.
        plugins: Plugin folders to use instead of those of the scale.

    Returns:
        With --strict, the exit status is 1 when a claim is contradicted.

    Examples:
        hsac claims --scale verdict
        hsac claims --strict
    """
    from hsac.report.claims import contradicted, lines, write_claims
    from hsac.study.graph import results_root
    from hsac.study.load import scale_file

    inputs.use_plugins(plugins, scale)
    if runs is None:
        scale_file(scale)  # so that a folder without a project is called that
    results = results_root(scale)
    runs = runs or results / "runs.parquet"
    entries = write_claims(claims, runs, output or results / "claims.json")
    print("\n".join(lines(entries, runs.parent)))
    against = contradicted(entries) if strict else []
    if against:
        click.echo(f"hsac: contradicted: {', '.join(against)}", err=True)
    return int(bool(against))


@hsac.command("doctor")
@inputs.scale
def examine_machine(scale: str) -> int:
    """Say what keeps a workflow from running and how to fix it.

    Args:
        scale: The scale whose results and data count.

    Returns:
        The exit status is 1 when there is something to fix.

    Examples:
        hsac doctor --scale smoke
    """
    from functools import partial

    from tqdm import tqdm

    from hsac.ops import doctor

    faults = 0
    track = partial(tqdm, unit="check", disable=None, leave=False)
    for name, found in doctor.examine(scale, track):
        faults += found.fix is not None
        said = f"FIX {found.text}; run: {found.fix}" if found.fix else f"ok  {found.text}"
        # A plain print would tear the bar.
        tqdm.write(f"{name:<14}{said}")
    return int(faults > 0)


@hsac.command("time")
@inputs.scale
@inputs.override
@click.option("--cells", cls=Several, metavar="CELL...")
@inputs.path("--output", required=False)
def time_steps(
    scale: str, override: Mapping[str, Any], cells: tuple[str, ...], output: Path | None
) -> int:
    """Time a few training steps of each kind of cell, for `hsac plan`.

    Args:
        scale: The scale.
        override: Top-level keys of the configuration to replace.
        cells: Experiments, or cells like 'digits/sgd+hsac' and '*/sam+*'. By default all.
        output: The file of timings that rows are added to, by default config/timings.csv.

    Returns:
        The exit status is 1 when a cell could not be timed.

    Examples:
        hsac time --scale workstation
        hsac time --scale smoke --cells digits 'cora/sam+*'
    """
    from functools import partial

    from tqdm import tqdm

    from hsac.ops.time_cells import chosen, time_cells
    from hsac.ops.timings import FILE
    from hsac.study.graph import data_root

    graph = inputs.load(scale, override)
    mirror = inputs.mirror_of(scale, override)
    track = partial(tqdm, unit="cell", disable=None)
    wanted = chosen(graph, list(cells) or None)
    # On a whole GPU, since whoever shared it would be in the timings.
    failed = time_cells(
        inputs.lease_gpu(graph.study), wanted, data_root(), mirror, output or FILE, track
    )
    for line in failed:
        click.echo(f"hsac: {line}", err=True)
    return int(bool(failed))
