"""A certificate with a prior trained on other examples.

The start weights are a poor prior: training moves so far from them that the bound says little.
Weights trained on one part of the sample are a prior for the other part (Ambroladze,
Parrado-Hernández, Shawe-Taylor, NeurIPS 2006; Dziugaite et al., AISTATS 2021), and a curvature
learned on the first part is no choice made on the second.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hsac.data import catalogue, load_images, load_variant
from hsac.errors import InputError
from hsac.rules.curvature.fixed import Fixed
from hsac.theory.pac_bayes import Certificate, certify
from hsac.train.loop import train
from hsac.train.run import normals, prepare
from hsac.train.seeds import generator

Row = dict[str, Any]


def split(
    variant: dict[str, Any], group: np.ndarray, share: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two variants that part the training rows of an image variant: `share` of its groups of near
    copies, drawn at random, and the others.
    """
    rows = np.asarray(variant["indices"]["train"])
    groups = np.unique(group[rows])
    first = groups[
        torch.randperm(len(groups), generator=generator(0, "prior"))[
            : round(share * len(groups))
        ].numpy()
    ]
    chosen = np.isin(group[rows], first)
    return tuple(_cut(variant, keep) for keep in (chosen, ~chosen))  # type: ignore[return-value]


def _cut(variant: dict[str, Any], keep: np.ndarray) -> dict[str, Any]:
    def kept(parts: dict[str, list]) -> dict[str, list]:
        return (
            {**parts, "train": np.asarray(parts["train"])[keep].tolist()}
            if "train" in parts
            else parts
        )

    return variant | {
        "indices": kept(variant["indices"]),
        "labels": kept(variant.get("labels", {})),
    }


def informed(
    settings: dict[str, Any],
    cell: dict[str, Any],
    seeds: list[int],
    variant: Path,
    data: Path,
) -> list[Row]:
    """Two rows a seed: the certificate of the prior network itself and that of the network trained
    on from it.

    The prior is the cell's network trained on `share` of the examples, curvature included. From
    there the weights are trained on all examples, at `rate` times the learning rate and with the
    curvature kept. Both are certified on the other examples; for the prior the divergence is 0, and
    its certificate is a held-out bound. Raises InputError for a variant that is not of images.
    """
    options, chosen = settings["theory"]["informed"], load_variant(variant)
    found, dataset = cell["experiment"], cell["config"]["dataset"]
    if "indices" not in chosen or catalogue.entry(dataset).kind == "graph":
        raise InputError(
            f"experiments.{found}.informed: found {cell['method']!r}; allowed where images are"
            " classified"
        )
    group = load_images(dataset, data).group
    first, second = split(chosen, group, options["share"])
    made = prepare(settings, cell, seeds, first, data)
    rules = made.weight_rule, made.curvature_rule
    prior = train(
        made.task,
        made.bundle,
        made.w,
        made.theta,
        *rules,
        made.transform,
        made.plan,
        normals(seeds, made.w),
    )
    whole, gentle = (
        prepare(settings, cell, seeds, chosen, data),
        replace(made.plan, rate=options["rate"]),
    )
    kept = made.curvature_rule if made.transform is None else Fixed()
    trained = train(
        whole.task, whole.bundle, prior.w, prior.theta, made.weight_rule, kept, made.transform, gentle,
        normals(seeds, made.w),
    )  # fmt: skip
    certified = prepare(settings, cell, seeds, second, data).task
    with torch.no_grad():
        errors = {
            name: 1 - whole.task.evaluate(whole.bundle, out.w, out.c)["test_accuracy"]
            for name, out in (("prior", prior), ("trained on", trained))
        }
    rows = []
    for i, seed in enumerate(seeds):
        c = prior.c[i]

        def risk(samples: Tensor, c: Tensor = c) -> Tensor:
            with torch.no_grad():
                return certified.risk(whole.bundle, samples, c.expand(len(samples), -1))

        for name, out in (("prior", prior), ("trained on", trained)):
            usable = bool(out.w[i].isfinite().all())
            found = dict.fromkeys([*Certificate.__dataclass_fields__, "vacuous"])
            if usable:
                certificate = certify(
                    risk,
                    out.w[i],
                    prior.w[i],
                    certified.examples,
                    sigmas=options["sigmas"],
                    delta=settings["theory"]["certificate"]["delta"],
                    draws=options["draws"],
                    pilot_draws=settings["theory"]["certificate"]["pilot_draws"],
                    generator=generator(seed, f"informed {name}"),
                    chance=certified.chance,
                )
                found = asdict(certificate) | {"vacuous": certificate.vacuous}
            rows.append(
                {
                    "experiment": cell["experiment"],
                    "method": cell["method"],
                    "seed": seed,
                    "posterior": name,
                }
                | found
                | {"test_error": float(errors[name][i]), "examples": certified.examples}
            )
    return rows
