"""Training steps with the readings at their default periods, of the default scale's bundles."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.case import Case, Run, at_most
from benchmarks.cells import SEEDS, training

CELLS = {"digits": "sgd", "disease": "adam", "glyphs_long_tailed": "sgd"}
# `hsac_meta` costs what `hsac_range` without its descent does, on variants that have a meta set.
# `hsac_head` solves a lower level at each outer step, and is not among them: its period is to be
# chosen by the length of training.
READINGS = ("literal", "range", "replay", "mixed", "curvature_scope", "joint_scope", "mean")
# A multiple of every period.
STEPS = 100


def cases(device: torch.device, tiny: bool) -> Iterator[Case]:
    """Yield each kind of data and reading against plain training of as many steps."""
    scale, seeds = ("smoke", SEEDS[:2]) if tiny else ("default", SEEDS)
    cells = {"disease": "adam"} if tiny else CELLS
    for experiment, optimizer in cells.items():
        some = READINGS[:1] if tiny else READINGS
        pairs = [(f"{optimizer}+hsac_{one}", f"{optimizer}+fixed@0.3") for one in some]
        # Beside plain training under the weight rule that it is for.
        pairs.append(("sam+hsac_sam", "sam+fixed@0.3"))
        for methods in pairs:
            yield Case(
                f"{experiment}, {STEPS} steps of {methods[0]}",
                methods[1],
                partial(pair, scale, experiment, methods, seeds, device),
                at_most(1.3),
                tolerance=None,
            )


def pair(
    scale: str,
    experiment: str,
    methods: tuple[str, str],
    seeds: tuple[int, ...],
    device: torch.device,
) -> tuple[Run, Run]:
    """Build so many steps of each method, again and again from where they are."""
    ours, theirs = (steps(scale, experiment, method, seeds, device) for method in methods)
    return ours, theirs


def steps(
    scale: str, experiment: str, method: str, seeds: tuple[int, ...], device: torch.device
) -> Run:
    """Build the last steps of a training, after every warm-up."""
    going = training(scale, experiment, method, seeds, device)
    # A shorter training goes round, as only the number of outer steps counts.
    first = max(0, going.total // STEPS * STEPS - STEPS)

    def run() -> None:
        for index in range(first, first + STEPS):
            going.step(index % going.total)

    return run
