"""A results folder of the smoke scale with synthetic records, laid out as the workflow does it."""

import shutil
from itertools import product
from pathlib import Path
from typing import Any

from landscapes import write_landscapes
from studies import smoke_keys
from synthetic_records import EXPERIMENTS, diverged, synthetic_record

from hsac import cli
from hsac.files import digest, read_json, write_json, write_rows
from hsac.study import load, resolve
from hsac.study.fingerprint import of_training
from hsac.study.graph import POINTS, Bundle, Graph, variant_path
from hsac.study.record import write_index

ROOT = Path(__file__).parent.parent.parent
ROW: dict[str, Any] = {
    "top_eigenvalue": 3.0,
    "bottom_eigenvalue": -0.1,
    "trace": 9.0,
    "trace_standard_error": 1.0,
}
CERTIFICATE: dict[str, Any] = {
    "sigma": 0.1,
    "alpha": 1.0,
    "empirical": 0.2,
    "empirical_upper": 0.25,
    "kl": 30.0,
}
CERTIFICATE |= {"slack": 0.1, "bound": 0.4, "chance": 0.9, "vacuous": False, "examples": 500}
COVERAGE = {
    "samples": 40,
    "held": 39,
    "coverage": 0.975,
    "coverage_low": 0.87,
    "coverage_high": 0.999,
}
COVERAGE |= {"mean_bound": 0.7, "mean_risk": 0.4, "margin_q50": 0.3}


def small(**more: Any) -> dict[str, Any]:
    """Return keys to override the smoke scale's by.

    There are two experiments, one of them with three curvatures and a grid.
    """
    experiments = smoke_keys("experiments")
    digits = experiments["digits"] | {"rules": {"curvature": {"grid": {"curvatures": [0.1, 0.3]}}}}
    digits |= {"hypergradient": {"method": "sgd+fixed@0.3"}}
    digits["methods"] = [
        f"sgd+{c}" for c in ("fixed@0.3", "fixed@1", "fixed@3", "grid", "learned", "hsac")
    ]
    kept = {"digits": digits, "disease": experiments["disease"]}
    return {"experiments": kept, "seeds": [0, 1, 2]} | more


def smoke_results(folder: Path, override: dict[str, Any], scale: str = "smoke") -> Path:
    """Fill the working directory, `folder`, up to the tables; return the results folder.

    It gets a configuration and results/<scale>.
    """
    shutil.copytree(ROOT / "config", folder / "config")
    graph = Graph(load.load(scale, override))
    write_json(graph.results / "settings.json", graph.study.dump())
    for experiment in graph.study.experiments.values():
        content = {"dataset": experiment.dataset, "name": experiment.variant.name}
        content |= {"data_sha256": "f" * 64}
        write_json(variant_path(experiment), content | {"hash": digest(content)})
    for bundle in graph.bundles:
        if bundle.rule != POINTS:
            write_runs(graph, bundle)
    for name, experiment in graph.study.experiments.items():
        measured(graph, name)
        if experiment.informed:
            write_rows(graph.theory_file("informed", name), informed(graph, name))
        if experiment.hypergradient:
            rows = hypergradients(name, experiment.hypergradient.method)
            write_rows(graph.theory_file("hypergradient", name), rows)
    bounds = [
        {"n": 50, "delta": 0.05, "bound": bound} | COVERAGE
        for bound in ("certificate", "without complexity")
    ]
    write_rows(graph.theory_file("", "coverage"), bounds)
    write_landscapes(graph.results)
    tables(graph.results)
    return graph.results


def informed(graph: Graph, experiment: str) -> list[dict[str, Any]]:
    """Return synthetic certificates with an informed prior."""
    rows = []
    for cell in resolve.informed(graph.study, experiment):
        for seed in graph.study.seeds_of(experiment):
            row = {"experiment": experiment, "method": cell.method, "seed": seed}
            more = {"test_error": 0.1 * seed} | CERTIFICATE | {"bound": 0.3 + 0.01 * seed}
            rows += [row | {"posterior": name} | more for name in ("prior", "trained on")]
    return rows


def hypergradients(experiment: str, method: str) -> list[dict[str, Any]]:
    """Return synthetic rows of an experiment's study of the hypergradient.

    There are two points, and a bias where levels share a batch.
    """
    rows = []
    places = product(((10, 1), (20, -1)), ("loss", "worst"), ("none", "levels"), (16, 64))
    for (step, sign), objective, shared, size in places:
        bias = -3.2 / size if shared == "levels" else 0.005 * sign
        row = {"experiment": experiment, "method": method, "seed": 0, "step": step, "share": 0.1}
        row |= {"curvature": "head", "objective": objective, "shared": shared, "size": size}
        row |= {"draws": 10, "truth": 0.1 * sign, "truth_direct": 0.3}
        row |= {"truth_implicit": 0.3 - 0.1 * sign, "mean": 0.1 * sign + bias, "bias": bias}
        row |= {"bias_se": 0.01, "sd": 0.01 * 10**0.5, "wrong_sign": 0.25}
        rows.append(row | {"gradients": 16 * size / 64})
    return rows


def tables(results: Path) -> None:
    """Gather and write the tables, as the workflow does."""
    settings = ["--settings", str(results / "settings.json")]
    assert cli.main(["job", "gather", *settings, "--results", str(results)]) == 0
    runs = ["--runs", str(results / "runs.parquet"), "--published", "config/published.yaml"]
    assert cli.main(["job", "tables", *settings, *runs, "--output", str(results / "tables")]) == 0
    measured = ["--measured", str(results / "measured.parquet"), "--output", str(results / "cost")]
    assert cli.main(["job", "cost", *settings, *runs[:2], *measured]) == 0
    assert cli.main(["job", "provenance", *settings, *runs]) == 0


def write_runs(graph: Graph, bundle: Bundle) -> None:
    """Write synthetic records, weights and the index of a bundle.

    Seed 1 of digits' sgd+learned did not finish.
    """
    cell, config = bundle.of, bundle.of.config
    like = cell.experiment
    if like not in EXPERIMENTS:
        like = next(name for name in EXPERIMENTS if EXPERIMENTS[name][0] == config.setting)
    same = {"config": config.dump(), "config_hash": cell.hash}
    same["variant_hash"] = read_json(graph.variant(cell.experiment))["hash"]
    same["code"] = "0" * 16 if cell.derived else of_training(config)
    same |= {"experiment": cell.experiment, "variant": config.variant.name}
    same |= {"model": config.model.name, "dataset": config.dataset}
    for run in bundle.runs():
        fails = (cell.experiment, cell.method, run.seed) == ("digits", "sgd+learned", 1)
        made = diverged if fails else synthetic_record
        write_json(run.record, made(like, cell.method, run.seed) | same)
    write_index(bundle.index, cell, {run.seed: run.record for run in bundle.runs()})


def measured(graph: Graph, experiment: str) -> None:
    """Write synthetic measurements of an experiment's networks, and the rows kept beside them."""
    path, rows = graph.theory_file("landscape", experiment), []
    for number, cell in enumerate(resolve.measured(graph.study, experiment)):
        for seed in graph.study.seeds_of(experiment):
            row = {"experiment": experiment, "method": cell.method, "seed": seed}
            row |= ROW | CERTIFICATE | {"held_out_error": 0.1}
            row |= {"trace": 9.0 + number + 0.1 * seed, "bound": 0.4 + 0.01 * seed}
            rows.append(row)
            kept, old = digest([cell.method, seed]), digest([cell.method, seed, "old"])
            write_json(path.with_suffix("") / f"{kept}.json", row)
            write_json(path.with_suffix("") / f"{old}.json", row | {"trace": 1.0})
    write_rows(path, rows)
