"""A certificate with a prior trained on other examples.

The start weights are a poor prior: training moves so far from them that the bound says little.
Weights trained on one part of the sample are a prior for the other part (Ambroladze,
Parrado-Hernández, Shawe-Taylor, NeurIPS 2006; Dziugaite et al., AISTATS 2021), and a curvature
learned on the first part is no choice made on the second.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from hsac.data import load_variant
from hsac.data.stored_variant import StoredVariant
from hsac.errors import InputError
from hsac.rules.curvature.fixed import Fixed
from hsac.study.cell import Cell
from hsac.study.models import InformedOptions, Study
from hsac.theory.pac_bayes import Certificate, Posteriors, certify
from hsac.train.inputs import load_inputs
from hsac.train.loop import Outcome, Prepared, train
from hsac.train.seeds import generator, normals
from hsac.train.setup import Inputs, prepare

Row = dict[str, Any]
EMPTY = dict.fromkeys([*Certificate.__dataclass_fields__, "vacuous"])


def split(
    variant: StoredVariant, group: np.ndarray, share: float
) -> tuple[StoredVariant, StoredVariant]:
    """Part the training rows of an image variant at random.

    Args:
        variant: The variant.
        group: Of every row of the dataset, which others it is a near copy of. Groups stay whole.
        share: The share of the groups that goes to the first part.

    Returns:
        Two variants: one with this share of the groups, one with the others.
    """
    rows = np.asarray(variant["indices"]["train"])
    groups = np.unique(group[rows])
    # The same split for all runs and methods, so that their certificates are comparable.
    order = torch.randperm(len(groups), generator=generator(0, "prior")).numpy()
    chosen = np.isin(group[rows], groups[order[: round(share * len(groups))]])
    return _cut(variant, chosen), _cut(variant, ~chosen)


def _cut(variant: StoredVariant, keep: np.ndarray) -> StoredVariant:
    """Return the variant with only those training rows that are kept."""
    cut = {}
    for field, parts in (("indices", variant["indices"]), ("labels", variant.get("labels", {}))):
        own = dict(parts)
        if "train" in own:
            own["train"] = np.asarray(own["train"])[keep].tolist()
        cut[field] = own
    return cast(StoredVariant, {**variant, **cut})


@dataclass(frozen=True)
class _Networks:
    """The prior networks and those trained on from them, and what certifies both.

    Attributes:
        whole: Task and ensemble on all examples.
        prior: Outcome of training on the first part.
        trained: Outcome of training on from there.
        certified: The task on the second part.
    """

    whole: Prepared
    prior: Outcome
    trained: Outcome
    certified: Any


def informed(
    study: Study,
    cell: Cell,
    seeds: list[int],
    variant: Path,
    data: Path,
) -> list[Row]:
    """Certify a cell's networks with a prior trained on a part of the examples.

    The prior is the cell's network trained on `share` of the examples, curvature included. From
    there the weights are trained on all examples, at `rate` times the learning rate and with the
    curvature kept. Both are certified on the other examples. For the prior the divergence is 0, and
    its certificate is a held-out bound.

    Args:
        study: The study, with the options `theory.informed`.
        cell: The cell.
        seeds: The seeds of its runs.
        variant: The variant's file.
        data: The data folder.

    Returns:
        Two rows a seed: the certificate of the prior network itself, and that of the network
        trained on from it.

    Raises:
        InputError: The variant is not of images.
    """
    assert study.theory is not None  # only the theory asks for it
    options, chosen = study.theory.informed, load_variant(variant)
    inputs = load_inputs(study.device, cell, chosen, data)
    if "indices" not in chosen or "group" not in inputs.arrays:
        raise InputError(
            f"experiments.{cell.experiment}.informed: found {cell.method!r}; allowed where"
            " images are classified"
        )
    networks = _train(inputs, seeds, options)
    posteriors = Posteriors(
        sigmas=options.sigmas,
        delta=study.theory.certificate.delta,
        draws=options.draws,
        pilot_draws=study.theory.certificate.pilot_draws,
    )
    whole, errors = networks.whole, {}
    outcomes = {"prior": networks.prior, "trained on": networks.trained}
    with torch.no_grad():
        for name, out in outcomes.items():
            metrics = whole.task.evaluate(whole.ensemble, out.w, out.c)
            errors[name] = 1 - metrics["test_accuracy"]
    rows = []
    for i, seed in enumerate(seeds):
        for name, out in outcomes.items():
            row = {"experiment": cell.experiment, "method": cell.method, "seed": seed}
            row |= {"posterior": name}
            stream = generator(seed, f"informed {name}")
            row |= _certificate(networks, out.w[i], i, posteriors, stream)
            row |= {"test_error": float(errors[name][i])}
            rows.append(row | {"examples": networks.certified.examples})
    return rows


def _train(inputs: Inputs, seeds: Sequence[int], options: InformedOptions) -> _Networks:
    first, second = split(inputs.variant, inputs.arrays["group"], options.share)
    made = prepare(replace(inputs, variant=first), seeds)
    prior = train(made, normals(seeds, made.w))
    whole = prepare(inputs, seeds)
    # The rules are those that trained the prior, on the streams of the whole.
    onward = replace(
        whole,
        weight_rule=made.weight_rule,
        # A curvature that went on moving would be chosen on the examples that are certified.
        curvature_rule=made.curvature_rule if made.transform is None else Fixed(),
        schedule=replace(made.schedule, rate=options.rate),
        w=prior.w,
        theta=prior.theta,
    )
    trained = train(onward, normals(seeds, made.w))
    # Only the examples matter here, which no training of the prior has seen.
    certified = prepare(replace(inputs, variant=second), seeds).task
    return _Networks(whole, prior, trained, certified)


def _certificate(
    networks: _Networks, w: Tensor, i: int, posteriors: Posteriors, stream: torch.Generator
) -> Row:
    """Compute the certificate of run i at weights (P,); all None where these are not finite."""
    if not w.isfinite().all():
        return dict(EMPTY)
    # The curvature is kept after the prior, so the prior's is that of both networks.
    c, certified = networks.prior.c[i], networks.certified

    def risk(samples: Tensor) -> Tensor:
        with torch.no_grad():
            return certified.risk(networks.whole.ensemble, samples, c.expand(len(samples), -1))

    found = certify(
        risk, w, networks.prior.w[i], certified.examples, posteriors, stream, certified.chance
    )
    return asdict(found) | {"vacuous": found.vacuous}
