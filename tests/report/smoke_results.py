"""A results folder of the smoke scale with synthetic records, laid out as the workflow lays it out."""

import shutil
from pathlib import Path
from typing import Any

from synthetic_records import EXPERIMENTS, diverged, synthetic_record

from hsac import cli, config, layout
from hsac.files import digest, read_json, write_json, write_rows
from hsac.study.fingerprint import of_training
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
    """Settings to override the smoke scale's by: two experiments, one of them with three curvatures
    and a grid.
    """
    experiments = config.load("smoke", folder=ROOT / "config")["experiments"]
    digits = experiments["digits"] | {"rules": {"curvature": {"grid": {"curvatures": [0.1, 0.3]}}}}
    digits |= {"hypergradient": {"method": "sgd+fixed@0.3"}}
    digits["methods"] = [
        f"sgd+{c}" for c in ("fixed@0.3", "fixed@1", "fixed@3", "grid", "learned", "hsac")
    ]
    return {
        "experiments": {"digits": digits, "disease": experiments["disease"]},
        "seeds": [0, 1, 2],
    } | more


def smoke_results(folder: Path, override: dict[str, Any], scale: str = "smoke") -> Path:
    """Fill ``folder``, the working directory, with a configuration and results/<scale> up to its
    tables.
    """
    shutil.copytree(ROOT / "config", folder / "config")
    settings, results = config.load(scale, override), layout.results_root(scale)
    write_json(results / "settings.json", settings)
    for experiment in settings["experiments"].values():
        content = {
            "dataset": experiment["dataset"],
            "name": experiment["variant"]["name"],
            "data_sha256": "f" * 64,
        }
        write_json(layout.variant_path(experiment), content | {"hash": digest(content)})
    made = {
        (c["experiment"], c["method"]): c
        for c in config.trained_cells(settings) + config.cells(settings)
    }
    for cell in made.values():
        write_cell(settings, results, cell)
    for name in settings["experiments"]:
        measured(settings, results, name)
        rows = [
            {
                "experiment": name,
                "method": method,
                "seed": seed,
                "posterior": posterior,
                "test_error": 0.1 * seed,
            }
            | CERTIFICATE
            | {"bound": 0.3 + 0.01 * seed}
            for method in settings["experiments"][name].get("informed", [])
            for seed in config.seeds(settings, name)
            for posterior in ("prior", "trained on")
        ]
        if rows:
            write_rows(layout.informed_path(results, name), rows)
    for name in settings["experiments"]:
        if "hypergradient" in settings["experiments"][name]:
            write_rows(layout.hypergradient_path(results, name), hypergradients(settings, name))
    bounds = [
        {"n": 50, "delta": 0.05, "bound": bound} | COVERAGE
        for bound in ("certificate", "without complexity")
    ]
    write_rows(layout.study_path(results, "coverage"), bounds)
    tables(results)
    return results


def hypergradients(settings: dict[str, Any], experiment: str) -> list[dict[str, Any]]:
    """Synthetic rows of an experiment's study of the hypergradient: two points, a bias where levels
    share a batch.
    """
    method = settings["experiments"][experiment]["hypergradient"]["method"]
    return [
        {
            "experiment": experiment,
            "method": method,
            "seed": 0,
            "step": step,
            "share": 0.1,
            "curvature": "head",
        }
        | {"objective": objective, "shared": shared, "size": size, "draws": 10, "truth": 0.1 * sign}
        | {
            "truth_direct": 0.3,
            "truth_implicit": 0.3 - 0.1 * sign,
            "mean": 0.1 * sign + bias,
            "bias": bias,
        }
        | {"bias_se": 0.01, "sd": 0.01 * 10**0.5, "wrong_sign": 0.25, "gradients": 16 * size / 64}
        for step, sign in ((10, 1), (20, -1))
        for objective in ("loss", "worst")
        for shared in ("none", "levels")
        for size in (16, 64)
        for bias in [-3.2 / size if shared == "levels" else 0.005 * sign]
    ]


def tables(results: Path) -> None:
    """Gather and write the tables, as the workflow does."""
    settings = ["--settings", str(results / "settings.json")]
    assert cli.main(["job", "gather", *settings, "--results", str(results)]) == 0
    runs = ["--runs", str(results / "runs.parquet"), "--published", "config/published.yaml"]
    assert cli.main(["job", "tables", *settings, *runs, "--output", str(results / "tables")]) == 0
    measured = ["--measured", str(results / "measured.parquet"), "--output", str(results / "cost")]
    assert cli.main(["job", "cost", *settings, *runs[:2], *measured]) == 0
    assert cli.main(["job", "provenance", *settings, *runs]) == 0


def write_cell(settings: dict[str, Any], results: Path, cell: dict[str, Any]) -> None:
    """Synthetic records, weights and indexes of a cell; seed 1 of digits' sgd+learned did not
    finish.
    """
    experiment, method = cell["experiment"], cell["method"]
    variant = read_json(layout.variant_path(settings["experiments"][experiment]))["hash"]
    config_and_code = {
        "config": cell["config"],
        "config_hash": cell["hash"],
        "variant_hash": variant,
    }
    config_and_code["code"] = "0" * 16 if config.derived(cell) else of_training(cell["config"])
    seeds, setting = config.cell_seeds(settings, cell), cell["config"]["setting"]
    like = (
        experiment
        if experiment in EXPERIMENTS
        else next(e for e in EXPERIMENTS if EXPERIMENTS[e][0] == setting)
    )
    for block, members in layout.blocks(seeds, settings["bundle"]).items():
        index = layout.index_path(results, cell, block)
        paths = {seed: index.parent / f"seed{seed}.json" for seed in members}
        for seed, path in paths.items():
            fails = (experiment, method, seed) == ("digits", "sgd+learned", 1)
            record = (diverged if fails else synthetic_record)(like, method, seed) | config_and_code
            record |= {"experiment": experiment, "variant": cell["config"]["variant"]["name"]}
            record |= {
                "model": cell["config"]["model"]["name"],
                "dataset": cell["config"]["dataset"],
            }
            write_json(path, record)
        write_index(index, cell, paths)


def measured(settings: dict[str, Any], results: Path, experiment: str) -> None:
    """Synthetic measurements of the experiment's networks, and the rows kept beside them."""
    path, rows = layout.landscape_path(results, experiment), []
    for number, cell in enumerate(config.measured_cells(settings, experiment)):
        for seed in config.seeds(settings, experiment):
            row = (
                {"experiment": experiment, "method": cell["method"], "seed": seed}
                | ROW
                | CERTIFICATE
            )
            row |= {
                "held_out_error": 0.1,
                "trace": 9.0 + number + 0.1 * seed,
                "bound": 0.4 + 0.01 * seed,
            }
            rows.append(row)
            write_json(path.with_suffix("") / f"{digest([cell['method'], seed])}.json", row)
            write_json(
                path.with_suffix("") / f"{digest([cell['method'], seed, 'old'])}.json",
                row | {"trace": 1.0},
            )
    write_rows(path, rows)
