"""The command `hsac`: one subcommand per stage of the workflow, and `hsac list`."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hsac import config, layout, parts, plugins
from hsac.data import catalogue
from hsac.errors import InputError
from hsac.files import read_json, write_json, write_rows
from hsac.ops.timings import FILE


def settings_stage(args: argparse.Namespace) -> None:
    """Resolve a scale's configuration and write it."""
    write_json(args.output, config.load(args.scale, _json(args.override, "--override")))


def data_list(args: argparse.Namespace) -> None:
    """List the datasets: size, where they are to be had, whether what is here was verified,
    licence.
    """
    from hsac.data import overview

    print("\n".join(overview.table(layout.data_root(), _mirror(args))))


def data_fetch(args: argparse.Namespace) -> None:
    """Put datasets into the data folder and print what was counted there."""
    from hsac.data import fetch

    for name in args.names:
        folder = fetch(name, layout.data_root(), _mirror(args))
        counts = read_json(folder / "manifest.json")["counts"]
        print(f"{folder}: " + ", ".join(f"{key} {value}" for key, value in counts.items()))


def data_verify(args: argparse.Namespace) -> int:
    """Hash files and contents again and compare with the catalogue; exit status 1 when something
    differs.
    """
    from hsac.data.audit import audit

    audits = [
        audit(name, layout.data_root(), _mirror(args)) for name in args.names or catalogue.names()
    ]
    for found in audits:
        if found.looked:
            print(found.line())
        elif args.names:
            raise InputError(
                f"dataset {found.name}: nothing of it is here or in a mirror; `hsac data fetch"
                f" {found.name}`"
            )
    return int(any(found.problems for found in audits))


def data_info(args: argparse.Namespace) -> None:
    """Print everything that is known of a dataset; with --picture also draw it."""
    from hsac.data import overview

    print(overview.info(args.name, layout.data_root(), _mirror(args)))
    if args.picture is not None:
        from hsac.data.pictures import write_picture

        write_picture(args.name, layout.data_root(), args.picture)


def data_mirror(args: argparse.Namespace) -> int:
    """Fill a mirror from the present one, the downloads or the network; exit status 1 when a
    dataset is left out.
    """
    from hsac.data.mirror import fill

    left_out = 0
    for name in args.names or catalogue.names():
        try:
            copied = fill(args.folder, name, layout.data_root(), _mirror(args))
            print(
                f"{name}: made without a mirror"
                if copied is None
                else f"{name}: {copied} files copied"
            )
        except InputError as error:
            if args.names:
                raise
            left_out += 1
            print(f"{name}: left out: {error}")
    return int(left_out > 0)


def _mirror(args: argparse.Namespace) -> Path | None:
    from hsac.data import obtain

    configured = (config.FOLDER / "config.yaml").is_file()
    return obtain.mirror_root(config.mirror(args.scale) if configured else None)


def variant_stage(args: argparse.Namespace) -> None:
    """Build a variant of a dataset: indices, labels or episodes, with their recipe and a hash."""
    from hsac.data import build_variant, write_variant

    recipe = _json(args.recipe, "--recipe")
    if "name" not in recipe:
        raise InputError(
            f"--recipe: found {args.recipe!r}; allowed is a JSON object with name, recipe and"
            " parameters"
        )
    name = recipe.pop("name")
    write_variant(build_variant(args.dataset, name, recipe, layout.data_root()), args.output)


def train_stage(args: argparse.Namespace) -> None:
    """Train a bundle: the seeds of one experiment and method, or of some points that its search
    tries.
    """
    from hsac import tuning
    from hsac.ops.runner import run_bundle, run_points

    settings = _settings(args)
    _experiment(settings, args.experiment)
    cell, told = config.cell(settings, args.experiment, args.method), None
    if config.searched(cell):
        count = len(cell["config"]["search"]["points"])
        for number in args.candidate or []:
            if not 0 <= number < count:
                raise InputError(f"--candidate: found {number}; allowed is 0 to {count - 1}")
        if (args.candidate is None) == (args.point is None):
            raise InputError(
                f"--point: {args.method} is searched; allowed is either --candidate or --point"
            )
        if args.point is not None:
            point = tuning.read_point(args.point, cell)
            cell, told = tuning.trained(settings, cell, point), tuning.told(settings, cell, point)
        else:
            points = [
                config.cell(settings, args.experiment, args.method, number)
                for number in args.candidate
            ]
            return run_points(
                settings, points, args.seeds, args.variant, layout.data_root(), args.index
            )
    elif args.candidate is not None or args.point is not None:
        raise InputError(f"--point, --candidate: {args.method} is not searched; allowed is neither")
    run_bundle(settings, cell, args.seeds, args.variant, layout.data_root(), args.index, told)


def tune_stage(args: argparse.Namespace) -> None:
    """Choose the point of a searched method: the best mean on validation over the seeds of the
    search.
    """
    from hsac import tuning

    settings = _settings(args)
    _experiment(settings, args.experiment)
    cell = config.cell(settings, args.experiment, args.method)
    if not config.searched(cell):
        raise InputError(
            f"--method: found {args.method!r}; allowed is a method of an experiment that searches"
        )
    tuning.tune(settings, cell, args.candidates, args.output)


def select_stage(args: argparse.Namespace) -> None:
    """Choose each seed's best run, of a grid or of several rules, on validation."""
    from hsac.ops.runner import select_bundle

    settings = _settings(args)
    cell = config.cell(settings, args.experiment, args.method)
    select_bundle(cell, config.candidates(settings, cell), args.candidates, args.seeds, args.index)


def theory_stage(args: argparse.Namespace) -> None:
    """Run a study of the theory and write its rows as CSV."""
    from tqdm import tqdm

    studies = _settings(args)["theory"]["studies"]
    if args.study not in studies:
        raise InputError(
            f"study: found {args.study!r}; in these settings {parts.nearest(args.study, studies)}"
        )
    study = parts.build("study", args.study, studies[args.study] or {})
    with tqdm(desc=args.study, disable=None, bar_format="{desc}: {elapsed}{postfix}") as bar:
        write_rows(args.output, study.rows(bar.set_postfix_str))


def measure_stage(args: argparse.Namespace) -> None:
    """Measure an experiment's trained networks: Hessian spectrum, certificate of the risk."""
    from tqdm import tqdm

    from hsac.study.fingerprint import of_modules
    from hsac.theory.landscape import Kept, measure

    settings = _settings(args)
    _experiment(settings, args.experiment)
    bundles = {
        i: config.cell(settings, args.experiment, read_json(i)["method"]) for i in args.indexes
    }
    code = of_modules(["hsac.theory.landscape"])
    kept = Kept(args.output.parent / args.experiment, code)
    with tqdm(desc=args.experiment, unit="run", disable=None) as bar:

        def progress(text: str) -> None:
            bar.set_postfix_str(text)
            bar.update()

        settings = _leased(args, settings)
        options = config.measured_options(settings)
        rows = measure(settings, options, bundles, args.variant, layout.data_root(), kept, progress)
    write_rows(args.output, rows)


def _at_chosen_point(
    args: argparse.Namespace, settings: dict[str, Any], method: str
) -> dict[str, Any]:
    """Return the cell of a method. Where it is searched, this is the cell of the point in
    `--points`.
    """
    cell = config.cell(settings, args.experiment, method)
    if not config.searched(cell):
        return cell
    chosen = {point["method"]: point["chosen"] for point in map(read_json, args.points)}
    if method not in chosen:
        raise InputError(
            f"--points: found none of {method}; allowed is what `hsac tune` wrote of it"
        )
    return config.cell(settings, args.experiment, method, chosen[method])


def certify_stage(args: argparse.Namespace) -> None:
    """Certify an experiment's methods with a prior trained on a part of the examples."""
    from tqdm import tqdm

    from hsac.theory.informed import informed

    settings = _settings(args)
    methods = _experiment(settings, args.experiment).get("informed", [])
    seeds, rows = config.seeds(settings, args.experiment), []
    settings = _leased(args, settings)
    for method in tqdm(methods, unit="method", disable=None):
        cell = _at_chosen_point(args, settings, method)
        rows += informed(settings, cell, seeds, args.variant, layout.data_root())
    write_rows(args.output, rows)


def hypergradient_stage(args: argparse.Namespace) -> None:
    """Measure bias and noise of the hypergradient along a training of an experiment."""
    from tqdm import tqdm

    from hsac.theory.hypergradient_bias import hypergradient_bias

    settings = _settings(args)
    if "hypergradient" not in _experiment(settings, args.experiment):
        raise InputError(
            f"--experiment: found {args.experiment!r}; allowed is one with the key hypergradient"
        )
    options = config.hypergradient_options(settings, args.experiment)
    cell = _at_chosen_point(
        args, settings, config.hypergradient_cell(settings, args.experiment)["method"]
    )
    settings = _leased(args, settings)
    with tqdm(desc=args.experiment, total=len(options["at"]), unit="point", disable=None) as bar:
        rows = hypergradient_bias(
            settings, cell, options, args.variant, layout.data_root(), lambda text: bar.update()
        )
    write_rows(args.output, rows)


def gather_stage(args: argparse.Namespace) -> None:
    """Gather the run records of a scale into runs.parquet, trajectories.parquet and
    measured.parquet.
    """
    from hsac import tuning
    from hsac.report.gather import gather, read_bundle

    settings = _settings(args)
    tuning.check(settings, args.results, read_bundle)  # reads the points of searches
    shown, trained = (
        config.cells(settings),
        [c for c in config.trained_cells(settings) if c["point"] is None],
    )
    indexes, candidates = (
        layout.indexes(settings, args.results, some) for some in (shown, trained)
    )
    others = [index for index in candidates if index not in set(indexes)]
    gather(indexes, args.results, others, args.processes)


def claims_stage(args: argparse.Namespace) -> None:
    """Judge the claims and print the verdicts; with --strict, end with status 1 when one is
    contradicted.
    """
    from hsac.report.claims import contradicted, lines, write_claims

    results = layout.results_root(args.scale)
    entries = write_claims(
        args.claims, args.runs or results / "runs.parquet", args.output or results / "claims.json"
    )
    print("\n".join(lines(entries)))
    if args.strict and contradicted(entries):
        print(f"hsac: contradicted: {', '.join(contradicted(entries))}", file=sys.stderr)
        sys.exit(1)


def tables_stage(args: argparse.Namespace) -> None:
    """Write the tables as CSV, Markdown and LaTeX."""
    from hsac.report.published import write_published
    from hsac.report.tables import write_tables
    from hsac.report.theory import write_theory_tables

    settings = _settings(args)
    order, references = _order(settings)
    write_tables(args.runs, order, references, args.output)
    write_theory_tables(args.runs, order, args.output)
    write_published(args.published, args.runs, args.output)


def cost_stage(args: argparse.Namespace) -> None:
    """Write the table of what the runs cost the machine as CSV, Markdown and LaTeX."""
    from hsac.report.cost import write_cost

    write_cost(args.runs, args.measured, _order(_settings(args))[0], args.output)


def provenance_stage(args: argparse.Namespace) -> None:
    """Write what lies behind every cell of the tables beside runs.parquet."""
    from hsac.report.provenance import write_provenance

    write_provenance(_settings(args), args.runs, args.published)


def figures_stage(args: argparse.Namespace) -> None:
    """Draw the figures as PNG and PDF."""
    from hsac.report.figures import write_figures

    dot = args.rulegraph.read_text()
    write_figures(args.runs, args.trajectories, dot, *_order(read_json(args.settings)), args.output)


def page_stage(args: argparse.Namespace) -> None:
    """Write the self-contained page index.html."""
    from hsac.report.page import write_page
    from hsac.report.provenance import page_data

    settings = _settings(args)
    variants = {name: layout.variant_path(e) for name, e in settings["experiments"].items()}
    write_page(
        args.results,
        layout.datasets(settings),
        variants,
        page_data(args.results),
        args.results / "index.html",
    )
    print(
        f"tables  {args.results}/tables\nfigures {args.results}/figures\npage   "
        f" {args.results}/index.html"
    )


def compare_stage(args: argparse.Namespace) -> int:
    """Show two results folders side by side as Markdown; exit status 1 when something moved beyond
    noise.
    """
    from hsac.report.compare import compare

    text, moved = compare(args.a, args.b)
    print(text)
    return int(moved)


def progress_stage(args: argparse.Namespace) -> None:
    """Show runs done of all and the time left, until the process that asked for it ends."""
    from hsac.ops.progress import watch

    watch(args.scale, _json(args.override, "--override"), args.process)


def stale_stage(args: argparse.Namespace) -> None:
    """Say which runs the present code or configuration would compute again, why, and about how long
    that takes.
    """
    from hsac.ops import stale

    settings = _load(args)
    for line in stale.report(settings, layout.results_root(args.scale)):
        print(line)


def plan_stage(args: argparse.Namespace) -> None:
    """Say what a scale comes to before it runs: runs, jobs, disk, core- and GPU-hours, and how much
    of it is left.
    """
    from hsac.data import obtain
    from hsac.ops import plan
    from hsac.ops.timings import Timings

    settings, results = _load(args), layout.results_root(args.scale)
    mirror = obtain.mirror_root(config.mirror(args.scale, _json(args.override, "--override")))
    made = plan.plan(settings, results, Timings(results.parent))
    print("\n".join(plan.lines(made, layout.data_root(), mirror, FILE)))


def doctor_stage(args: argparse.Namespace) -> int:
    """Say what could keep a workflow from running here, and how to mend it; exit status 1 when
    something is to mend.
    """
    from functools import partial

    from tqdm import tqdm

    from hsac.ops import doctor

    faults = 0
    track = partial(tqdm, unit="check", disable=None, leave=False)
    for name, found in doctor.examine(args.scale, track):
        faults += found.mend is not None
        tqdm.write(
            f"{name:<14}"
            + (f"MEND {found.text}; mend: {found.mend}" if found.mend else f"ok   {found.text}")
        )
    return int(faults > 0)


def time_stage(args: argparse.Namespace) -> int:
    """Time a few training steps of each kind of cell, for `hsac plan`; exit status 1 when some
    could not be timed.
    """
    from functools import partial

    from tqdm import tqdm

    from hsac.data import obtain
    from hsac.ops.time_cells import chosen, time_cells

    settings = _load(args)
    mirror = obtain.mirror_root(config.mirror(args.scale, _json(args.override, "--override")))
    track = partial(tqdm, unit="cell", disable=None)
    wanted = chosen(settings, args.cells)
    failed = time_cells(
        _leased(args, settings), wanted, layout.data_root(), mirror, args.output, track
    )
    for line in failed:
        print(f"hsac: {line}", file=sys.stderr)
    return int(bool(failed))


def why_stage(args: argparse.Namespace) -> int:
    """Show what lies behind a table's cell and how to compute it again; exit status 1 when
    something was changed.
    """
    from hsac.report.why import explain

    text, sound = explain(layout.results_root(args.scale), args.table, args.row, args.column)
    print(text)
    return int(not sound)


def verify_stage(args: argparse.Namespace) -> int:
    """Train random finished runs again and compare; exit status 1 when one is outside its learned
    tolerance.
    """
    from functools import partial

    from tqdm import tqdm

    from hsac.ops import verify

    settings, results = _load(args), layout.results_root(args.scale)
    track = partial(tqdm, unit="group", disable=None)
    certificate = verify.verify(
        settings, results, layout.data_root(), args.sample, args.seed, track
    )
    verify.write_certificate(results / "verification.json", certificate)
    print("\n".join(verify.lines(certificate)))
    return int(certificate["counts"]["outside"] > 0)


def list_stage(args: argparse.Namespace) -> None:
    """List settings, datasets, models, rules and methods; import the plugins' and name their files."""
    settings = config.load(args.scale)
    plugins.check_imports()

    def lines(folder: str, summaries: dict[str, str]) -> list[str]:
        return [
            f"{name:<32}{text}"
            + (f" [{parts.find(folder, name)[1]}]" if parts.from_plugin(folder, name) else "")
            for name, text in summaries.items()
        ]

    for title, shown in {
        "settings": config.SETTINGS,
        "scales": config.SCALES,
        "datasets": lines(
            catalogue.FOLDER, {name: catalogue.entry(name).about for name in catalogue.names()}
        ),
        **{
            parts.plural(family): lines(
                folder, {name: parts.summary(family, name) for name in parts.names(family)}
            )
            for family, folder in parts.FAMILIES.items()
        },
        f"experiments and methods of scale {args.scale}": [
            f"{name:<32}{' '.join(e['methods'])}" for name, e in settings["experiments"].items()
        ],
    }.items():
        print(title)
        for line in shown:
            print(f"  {line}")


def _use(args: argparse.Namespace, folders: list[str]) -> None:
    """Know the parts of these plugin folders until the stage ends."""
    args.scope.enter_context(plugins.using(folders))


def _plugins(args: argparse.Namespace) -> None:
    """Know the parts of the folders of --plugins, else of HSAC_PLUGINS (set by the workflow for its
    jobs), else of the scale's, until the stage ends.
    """
    folders = args.plugins
    if folders is None and "HSAC_PLUGINS" in os.environ:
        folders = [folder for folder in os.environ["HSAC_PLUGINS"].split(os.pathsep) if folder]
    if folders is None:
        configured = "scale" in args and (config.FOLDER / "config.yaml").is_file()
        folders = config.plugin_folders(args.scale) if configured else []
    _use(args, folders)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The resolved settings of --settings, with their plugins."""
    settings: dict[str, Any] = read_json(args.settings)
    _use(args, plugins.folders(settings))
    return settings


def _load(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of --scale and --override, with their plugins."""
    settings = config.load(args.scale, _json(args.override, "--override"))
    _use(args, plugins.folders(settings))
    return settings


def _leased(args: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with a GPU of one's own until the stage ends, where there are GPUs."""
    from hsac.ops.device import leased

    found: dict[str, Any] = args.scope.enter_context(leased(settings))
    return found


def _json(text: str, option: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{option}: found {text!r}; allowed is a JSON object")
    return value


def _experiment(settings: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in settings["experiments"]:
        raise InputError(
            f"--experiment: found {name!r}; {parts.nearest(name, settings['experiments'])}"
        )
    return settings["experiments"][name]


def _order(settings: dict[str, Any]) -> tuple[dict[str, list[str]], dict[str, str]]:
    experiments = settings["experiments"]
    return {n: e["methods"] for n, e in experiments.items()}, {
        n: e["reference"] for n, e in experiments.items()
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="hsac", description=__doc__)
    stages = top.add_subparsers(dest="stage", required=True, metavar="STAGE")

    def stage(
        name: str,
        run: Callable[[argparse.Namespace], int | None],
        *options: tuple[str, dict[str, Any]],
    ) -> None:
        sub = stages.add_parser(name, help=run.__doc__, description=run.__doc__)
        sub.set_defaults(run=run)
        for flag, keywords in options:
            sub.add_argument(flag, **keywords)

    def path(flag: str, text: str) -> tuple[str, dict[str, Any]]:
        return flag, {"type": Path, "required": True, "help": text}

    given = os.environ.get("HSAC_SETTINGS")
    text = (
        "resolved settings, as `hsac settings` writes them; by default those that HSAC_SETTINGS"
        " names"
    )
    settings = ("--settings", {"type": Path, "default": given, "required": not given, "help": text})
    scale = ("--scale", {"default": "default", "help": ", ".join(config.SCALES)})
    override = (
        "--override",
        {"default": "{}", "help": "top-level keys to replace, as a JSON object"},
    )
    experiment = ("--experiment", {"required": True, "help": "an experiment of the settings"})
    method = ("--method", {"required": True, "help": "weight+curvature, or weight+curvature@start"})
    seeds = ("--seeds", {"type": int, "nargs": "+", "required": True, "help": "the bundle's seeds"})
    index = path(
        "--index",
        "the bundle's index to write; records go beside it, those of a point into a folder"
        " beside its",
    )
    runs = path("--runs", "runs.parquet")
    results = path("--results", "the results folder of the scale")
    plugged = (
        "--plugins",
        {
            "nargs": "*",
            "metavar": "FOLDER",
            "help": "plugin folders to use, by default those of the scale",
        },
    )

    stage("list", list_stage, scale, plugged)
    stage("settings", settings_stage, scale, override, path("--output", "file to write"))
    text = "List, fetch, verify, describe and mirror datasets."
    counted = (scale[0], {**scale[1], "help": "the scale whose `mirror` and `plugins` count"})
    _data_actions(stages.add_parser("data", help=text, description=text), counted, plugged)
    dataset = ("dataset", {"help": "a dataset of `hsac list`"})
    recipe = (
        "--recipe",
        {"required": True, "help": "name, recipe and parameters, as a JSON object"},
    )
    stage("variant", variant_stage, dataset, recipe, path("--output", "file to write"), plugged)
    point = (
        (
            "--point",
            {
                "type": Path,
                "help": "of a searched method: what `hsac tune` wrote, to train at its choice",
            },
        ),
        (
            "--candidate",
            {
                "type": int,
                "nargs": "+",
                "help": "of a searched method: the numbers of the points to train",
            },
        ),
    )
    stage(
        "train",
        train_stage,
        settings,
        experiment,
        method,
        seeds,
        path("--variant", "variant file"),
        index,
        *point,
    )
    candidates = (
        "--candidates",
        {"type": Path, "nargs": "+", "required": True, "help": "the candidates' indexes"},
    )
    stage("select", select_stage, settings, experiment, method, seeds, candidates, index)
    stage(
        "tune",
        tune_stage,
        settings,
        experiment,
        method,
        candidates,
        path("--output", "file to write"),
    )
    stage(
        "theory",
        theory_stage,
        ("study", {"help": "a study of `hsac list`"}),
        settings,
        path("--output", "CSV file"),
    )
    variant = path("--variant", "variant file")
    indexes = (
        "--indexes",
        {"type": Path, "nargs": "+", "required": True, "help": "the measured bundles' indexes"},
    )
    stage(
        "measure",
        measure_stage,
        settings,
        experiment,
        variant,
        indexes,
        path("--output", "CSV file"),
    )
    points = (
        "--points",
        {
            "type": Path,
            "nargs": "*",
            "default": [],
            "help": "what `hsac tune` wrote of the methods",
        },
    )
    stage(
        "certify",
        certify_stage,
        settings,
        experiment,
        variant,
        points,
        path("--output", "CSV file"),
    )
    stage(
        "hypergradient",
        hypergradient_stage,
        settings,
        experiment,
        variant,
        points,
        path("--output", "CSV file"),
    )
    processes = (
        "--processes",
        {"type": int, "default": 1, "help": "how many read records at a time"},
    )
    stage("gather", gather_stage, settings, results, processes)
    claimed = (
        "--claims",
        {"type": Path, "default": Path("config/claims.yaml"), "help": "claims.yaml"},
    )
    judged = (
        (
            "--runs",
            {
                "type": Path,
                "help": "runs.parquet, by default the scale's; studies lie in theory beside it",
            },
        ),
        ("--output", {"type": Path, "help": "file to write, by default the scale's claims.json"}),
        (
            "--strict",
            {"action": "store_true", "help": "exit status 1 when a claim is contradicted"},
        ),
    )
    stage("claims", claims_stage, scale, claimed, *judged, plugged)
    published = path("--published", "published.yaml")
    stage("tables", tables_stage, settings, runs, published, path("--output", "folder to write"))
    timed = path("--measured", "measured.parquet")
    stage("cost", cost_stage, settings, runs, timed, path("--output", "folder to write"))
    stage("provenance", provenance_stage, settings, runs, published)
    graph = path("--rulegraph", "what `snakemake --rulegraph` prints")
    trajectories = path("--trajectories", "trajectories.parquet")
    stage(
        "figures",
        figures_stage,
        settings,
        runs,
        trajectories,
        graph,
        path("--output", "folder to write"),
    )
    stage("page", page_stage, settings, results)
    folders = [
        (name, {"type": Path, "metavar": name.upper(), "help": "a results folder"})
        for name in ("a", "b")
    ]
    stage("compare", compare_stage, *folders)
    process = ("--process", {"type": int, "required": True, "help": "the process to follow"})
    stage("progress", progress_stage, scale, override, process)
    stage("stale", stale_stage, scale, override)
    planned = ("scale", {"help": scale[1]["help"]})
    stage("plan", plan_stage, planned, override)
    stage(
        "doctor",
        doctor_stage,
        ("--scale", {"default": "default", "help": "the scale whose results and data count"}),
    )
    some = (
        "--cells",
        {
            "nargs": "+",
            "metavar": "CELL",
            "help": "experiments, or cells like 'digits/sgd+hsac', '*/sam+*'",
        },
    )
    timed = (
        "--output",
        {"type": Path, "default": FILE, "help": "the file of timings that rows are added to"},
    )
    stage("time", time_stage, planned, override, some, timed)
    sample = (
        "--sample",
        {"default": "5%", "help": "a share of the finished runs like 5%%, or their number"},
    )
    draw = ("--seed", {"type": int, "default": 0, "help": "of the draw"})
    stage("verify", verify_stage, scale, override, sample, draw)
    names = [
        ("table", "a table"),
        ("row", "a row of it"),
        ("column", "a column, by its CSV name or printed heading"),
    ]
    cell = [
        (name, {"metavar": name.upper(), "help": f"{text}, or an unambiguous part"})
        for name, text in names
    ]
    stage("why", why_stage, *cell, scale)
    return top


def _data_actions(data: argparse.ArgumentParser, *common: tuple[str, dict[str, Any]]) -> None:
    """The actions of `hsac data`."""
    actions = data.add_subparsers(dest="what", required=True, metavar="ACTION")
    some, one = (
        {"metavar": "NAME", "help": "a dataset of `hsac data list`"},
        {
            "metavar": "NAME",
            "help": "a dataset",
        },
    )
    drawn = {
        "type": Path,
        "metavar": "FILE.png",
        "help": "draw it there; beside it as .pdf, caption and numbers as .json",
    }
    options: dict[
        str, tuple[Callable[[argparse.Namespace], int | None], list[tuple[str, dict[str, Any]]]]
    ] = {
        "list": (data_list, []),
        "fetch": (data_fetch, [("names", {**some, "nargs": "+"})]),
        "verify": (data_verify, [("names", {**some, "nargs": "*"})]),
        "info": (data_info, [("name", one), ("--picture", drawn)]),
        "mirror": (
            data_mirror,
            [
                ("folder", {"type": Path, "metavar": "DIR", "help": "the mirror to fill"}),
                ("names", {**some, "nargs": "*", "help": "a dataset; by default all"}),
            ],
        ),
    }
    for name, (run, taken) in options.items():
        action = actions.add_parser(name, help=run.__doc__, description=run.__doc__)
        action.set_defaults(run=run)
        for flag, keywords in (*taken, *common):
            action.add_argument(flag, **keywords)


def main(argv: list[str] | None = None) -> int:
    """Run a stage; exit status 0 or what the stage says, or 2 with one line on standard error for
    anything the user can mend.
    """
    args = parser().parse_args(argv)
    try:
        with ExitStack() as args.scope:
            if "plugins" in args:
                _plugins(args)
            status: int | None = args.run(args)
    except InputError as error:
        print(f"hsac: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"hsac: {error.filename or args.stage}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return status or 0
