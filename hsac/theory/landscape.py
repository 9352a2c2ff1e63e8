"""Trained networks measured: the Hessian's spectrum, and a certificate of the risk."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hsac.data import load_variant
from hsac.files import digest, read_array, read_json, write_json
from hsac.hypergradient import HessianOperator
from hsac.study.record import read_records
from hsac.theory.pac_bayes import Certificate, certify, round_curvature
from hsac.theory.spectrum import extreme_eigenvalues, trace
from hsac.train.run import Prepared, prepare
from hsac.train.seeds import generator
from hsac.train.tasks import EpisodeTask, plain_loss

Row = dict[str, Any]
TOLERANCE = 1e-3  # of the larger end of the spectrum; the smaller one may take thousands of products to settle further
GIVEN = ("euclidean", "fixed")  # rules that set c before they see an example


def measure(
    settings: dict[str, Any],
    options: dict[str, Any],
    cells: dict[Path, dict[str, Any]],
    variant: Path,
    data: Path,
    kept: Path,
    code: str,
    progress: Callable[[str], None],
) -> list[Row]:
    """One row for each finished run of the bundles `cells`, from index path to cell.

    A row is kept under `kept` and taken from there while its run's weights, the code and the
    `options`, those of `hsac.config.measured_options`, are the same.
    """
    chosen = load_variant(variant)
    rows = []
    for index, given in cells.items():
        cell = dict(given)
        for source, record in read_records(index):
            if record["status"] != "ok":
                continue
            cell |= {
                "config": record["config"],
                "hash": record["config_hash"],
            }  # of a searched one: the chosen point
            key = digest([code, record["weights"], cell["hash"], options, chosen["hash"]])
            path = kept / f"{key}.json"
            if not path.is_file():
                progress(f"{cell['method']} seed {record['seed']}")
                weights = torch.from_numpy(read_array(source.with_suffix(".npy")))
                made = prepare(settings, cell, [record["seed"]], chosen, data)
                write_json(path, _finite(measured(options, cell, made, weights, record)))
            rows.append(read_json(path))
    return rows


def measured(
    options: dict[str, Any], cell: dict[str, Any], made: Prepared, weights: Tensor, record: Row
) -> Row:
    """What one run's final weights (P,) are like.

    Eigenvalues and trace are those of the Hessian of cross-entropy on the probe batch, where
    sharpness was taken.
    """
    w = weights.to(made.w)[None]
    c = torch.tensor([record["curvature"]["final"]]).to(w)
    batch = made.task.probe()

    def loss(w: Tensor, c: Tensor) -> Tensor:
        return plain_loss(made.task, made.bundle, w, c, batch)

    hessian = HessianOperator(loss, w.requires_grad_(), c.clone().requires_grad_())
    largest, smallest = extreme_eigenvalues(hessian, tolerance=TOLERANCE)
    mean, error = trace(hessian, options["probes"], generator(record["seed"], "trace"))
    return {
        **{k: record[k] for k in ("experiment", "method", "seed")},
        "top_eigenvalue": float(largest[0]),
        "bottom_eigenvalue": float(smallest[0]),
        "trace": float(mean[0]),
        "trace_standard_error": float(error[0]),
        **certified(options["certificate"], cell, made, w[0].detach(), c[0], record["seed"]),
    }


def certified(
    options: dict[str, Any], cell: dict[str, Any], made: Prepared, w: Tensor, c: Tensor, seed: int
) -> Row:
    """The certificate's numbers (of the network with noise on its weights), and the error without
    noise on held-out examples of the distribution that the certificate is about.

    Episodes share images and classes, so they are no independent sample: few-shot runs get no
    certificate.
    """
    names = [*Certificate.__dataclass_fields__, "vacuous", "held_out_error", "examples"]
    task = made.task
    if isinstance(task, EpisodeTask):
        return dict.fromkeys(names)
    log_choices = 0.0
    if made.transform is not None and cell["config"]["rule"]["rule"] not in GIVEN:
        columns = made.theta.shape[1]
        rounded, log_choices = round_curvature(
            c[:columns], made.transform.bounds, options["curvature_points"]
        )
        c = rounded.expand(len(c))

    def risk(samples: Tensor) -> Tensor:
        with torch.no_grad():
            return task.risk(made.bundle, samples, c.expand(len(samples), -1))

    found = certify(
        risk,
        w,
        made.w[0],
        task.examples,
        sigmas=options["sigmas"],
        alphas=options["alphas"],
        delta=options["delta"],
        draws=options["draws"],
        pilot_draws=options["pilot_draws"],
        generator=generator(seed, "certificate"),
        chance=task.chance,
        log_choices=log_choices,
    )
    with torch.no_grad():
        held_out = float(task.held_out_risk(made.bundle, w[None], c[None])[0])
    values = [*asdict(found).values(), found.vacuous, held_out, task.examples]
    return dict(zip(names, values, strict=True))


def _finite(row: Row) -> Row:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
