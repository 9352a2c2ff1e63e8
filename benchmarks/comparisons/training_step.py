"""Training steps with hsac at its default period, of the default scale's bundles of ten seeds."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.case import SLOWER, Case, Run, Target, at_most
from benchmarks.cells import SEEDS, training

CELLS = {"digits": "sgd", "disease": "adam", "glyphs_long_tailed": "sgd"}
PEERS: dict[str, Target] = {
    "{}+fixed@0.3": at_most(1.3),
    "sam+fixed@0.3": at_most(1.0),
    "{}+learned": SLOWER,
}
# Period of the rule hsac: so many steps hold one outer step.
PERIOD = 10


def cases(device: torch.device, tiny: bool) -> Iterator[Case]:
    """Yield each kind of data against plain training, SAM and naive learning of the curvature."""
    scale, seeds = ("smoke", SEEDS[:2]) if tiny else ("default", SEEDS)
    cells = {"disease": "adam"} if tiny else CELLS
    for experiment, optimizer in cells.items():
        for peer, target in PEERS.items():
            methods = (f"{optimizer}+hsac", peer.format(optimizer))
            yield Case(
                f"{experiment}, {PERIOD} steps of {methods[0]}",
                methods[1],
                partial(pair, scale, experiment, methods, seeds, device),
                target,
                tolerance=None,
            )


def pair(
    scale: str,
    experiment: str,
    methods: tuple[str, str],
    seeds: tuple[int, ...],
    device: torch.device,
) -> tuple[Run, Run]:
    """Build a period's steps of each method, again and again from where they are."""
    ours, theirs = (steps(scale, experiment, method, seeds, device) for method in methods)
    return ours, theirs


def steps(
    scale: str, experiment: str, method: str, seeds: tuple[int, ...], device: torch.device
) -> Run:
    """Build the steps of the last whole period, after every warm-up."""
    going = training(scale, experiment, method, seeds, device)
    first = going.total // PERIOD * PERIOD - PERIOD

    def run() -> None:
        for index in range(first, first + PERIOD):
            going.step(index)

    return run
