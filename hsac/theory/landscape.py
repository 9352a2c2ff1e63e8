"""Trained networks measured: the Hessian's spectrum, and a certificate of the risk."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hsac.data import load_variant
from hsac.files import digest, read_array, read_json, write_json
from hsac.hypergradient import HessianOperator
from hsac.study import resolve
from hsac.study.cell import Cell
from hsac.study.models import CertificateOptions, Study, Theory
from hsac.study.record import read_records
from hsac.theory.pac_bayes import Certificate, Posteriors, certify, round_curvature
from hsac.theory.spectrum import extreme_eigenvalues, trace
from hsac.train.inputs import load_inputs
from hsac.train.loop import Prepared
from hsac.train.seeds import generator
from hsac.train.setup import prepare
from hsac.train.tasks.episodes import EpisodeTask
from hsac.train.tasks.types import plain_loss

Row = dict[str, Any]
# Of the larger end of the spectrum; the smaller one may take thousands of products to settle
# further.
TOLERANCE = 1e-3
GIVEN = ("euclidean", "fixed")  # rules that set c before they see an example


@dataclass(frozen=True)
class Kept:
    """Rows that were measured before.

    Attributes:
        folder: Where they lie.
        code: Fingerprint of what measures. Rows of another code are measured again.
    """

    folder: Path
    code: str

    def path(self, *identity: Any) -> Path:
        """Return where a row lies.

        Args:
            identity: What the row depends on, beside the code.

        Returns:
            The file, whether it is there or not.
        """
        return self.folder / f"{digest([self.code, *identity])}.json"


def measure(
    study: Study,
    cells: Mapping[Path, Cell],
    variant: Path,
    data: Path,
    kept: Kept,
    progress: Callable[[str], None],
) -> list[Row]:
    """Measure every finished run of some bundles.

    A row is kept, and taken from there while its run's weights, the code and the options are the
    same.

    Args:
        study: The study, whose theory says how to measure.
        cells: From index path of a bundle to its cell.
        variant: The variant's file.
        data: The data folder.
        kept: Rows that were measured before.
        progress: Told about each run before it is measured.

    Returns:
        One row for each run whose status is ok.

    Raises:
        InputError: A record was edited, or the data are missing.
    """
    assert study.theory is not None  # only the theory asks for it
    options = study.theory.measured_options()
    chosen = load_variant(variant)
    rows = []
    for index, given in cells.items():
        # Of a searched method the record has the configuration of the chosen point.
        known = {one.hash: one for one in (*resolve.trials(study, given), given)}
        for source, record in read_records(index):
            if record["status"] != "ok":
                continue
            cell = known[record["config_hash"]]
            path = kept.path(record["weights"], cell.hash, options, chosen["hash"])
            if not path.is_file():
                progress(f"{cell.method} seed {record['seed']}")
                weights = torch.from_numpy(read_array(source.with_suffix(".npy")))
                inputs = load_inputs(study.device, cell, chosen, data)
                made = prepare(inputs, [record["seed"]])
                write_json(path, _finite(measured(study.theory, cell, made, weights, record)))
            # Read back, so that a row just measured equals one that was kept.
            rows.append(read_json(path))
    return rows


def measured(options: Theory, cell: Cell, made: Prepared, weights: Tensor, record: Row) -> Row:
    """Measure one run's final weights.

    Eigenvalues and trace are those of the Hessian of cross-entropy on the probe batch, where
    sharpness was taken.

    Args:
        options: The options of the theory.
        cell: The run's cell.
        made: The run's task and network, prepared for its seed alone.
        weights: The weights (P,).
        record: The run's record.

    Returns:
        The row: experiment, method and seed, the spectrum, and what `certified` gives.
    """
    w = weights.to(made.w)[None]
    c = torch.tensor([record["curvature"]["final"]]).to(w)
    batch = made.task.probe()

    def loss(w: Tensor, c: Tensor) -> Tensor:
        return plain_loss(made.task, made.ensemble, w, c, batch)

    hessian = HessianOperator(loss, w.requires_grad_(), c.clone().requires_grad_())
    largest, smallest = extreme_eigenvalues(hessian, tolerance=TOLERANCE)
    mean, error = trace(hessian, options.probes, generator(record["seed"], "trace"))
    return {
        **{k: record[k] for k in ("experiment", "method", "seed")},
        "top_eigenvalue": float(largest[0]),
        "bottom_eigenvalue": float(smallest[0]),
        "trace": float(mean[0]),
        "trace_standard_error": float(error[0]),
        **certified(options.certificate, cell, made, w[0].detach(), c[0], record["seed"]),
    }


def certified(
    options: CertificateOptions, cell: Cell, made: Prepared, w: Tensor, c: Tensor, seed: int
) -> Row:
    """Certify a network with noise on its weights.

    Args:
        options: Those of the certificate.
        cell: The run's cell.
        made: The run's task and network.
        w: The weights (P,).
        c: The curvatures (C,).
        seed: The run's seed.

    Returns:
        The certificate's numbers, and the error without noise on held-out examples of the
        distribution that the certificate is about. All None for few-shot runs: episodes share
        images and classes, so they are no independent sample.
    """
    names = [*Certificate.__dataclass_fields__, "vacuous", "held_out_error", "examples"]
    task = made.task
    if isinstance(task, EpisodeTask):
        return dict.fromkeys(names)
    log_choices = 0.0
    # A curvature that saw the examples was chosen among many, and the bound pays for that.
    if made.transform is not None and cell.config.curvature_rule.name not in GIVEN:
        # Where all layers share a curvature it was chosen once, and is paid for once.
        free, points = c[: made.theta.shape[1]], options.curvature_points
        rounded, log_choices = round_curvature(free, made.transform.bounds, points)
        c = rounded.expand(len(c))

    def risk(samples: Tensor) -> Tensor:
        with torch.no_grad():
            return task.risk(made.ensemble, samples, c.expand(len(samples), -1))

    posteriors = Posteriors(
        sigmas=options.sigmas,
        alphas=options.alphas,
        delta=options.delta,
        draws=options.draws,
        pilot_draws=options.pilot_draws,
        log_choices=log_choices,
    )
    stream = generator(seed, "certificate")
    # Start weights depend on no example, so they may be the prior's mean.
    found = certify(risk, w, made.w[0], task.examples, posteriors, stream, task.chance)
    with torch.no_grad():
        held_out = float(task.held_out_risk(made.ensemble, w[None], c[None])[0])
    values = [*asdict(found).values(), found.vacuous, held_out, task.examples]
    return dict(zip(names, values, strict=True))


def _finite(row: Row) -> Row:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
