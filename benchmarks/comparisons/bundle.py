"""Seeds of the smoke scale in one process against one process a seed."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.case import Case, Run, at_least
from benchmarks.cells import SEEDS, trained

CELLS = {
    "digits": ("mlp", "sgd+hsac", 6.0),
    "disease": ("hgcn", "adam+hsac", 6.0),
    "glyphs_few_shot": ("conv4_protonet", "adam+hsac", 1.5),
}


def cases(device: torch.device, tiny: bool) -> Iterator[Case]:
    """Yield a dense, a graph and a convolutional model."""
    for experiment, (model, method, target) in CELLS.items():
        if tiny and experiment != "disease":
            continue
        method = "adam+fixed@0.3" if tiny else method
        yield Case(
            f"{experiment}, {model}, {2 if tiny else len(SEEDS)} seeds",
            "one process a seed",
            partial(pair, experiment, method, SEEDS[:2] if tiny else SEEDS, device),
            at_least(target),
            tolerance=None,
            unit="CPU s a seed",
            repeats=1 if tiny else 3,
        )


def pair(
    experiment: str, method: str, seeds: tuple[int, ...], device: torch.device
) -> tuple[Run, Run]:
    """Build the seconds a seed of whole processes, from start to written records."""

    def seconds(some: tuple[int, ...]) -> float:
        return trained("smoke", experiment, method, some, device)["cpu"] / len(some)

    return partial(seconds, seeds), partial(seconds, seeds[:1])
