"""Jobs that keep freed memory against jobs that hand it back."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.case import FASTER, Case, Run
from benchmarks.cells import MODULE, SEEDS, trained

JOBS = {"digits": "sgd+hsac", "disease": "adam+hsac", "glyphs_few_shot": "adam+hsac"}
# The same command line, but for what it does first.
WITHOUT = (
    "-c",
    "import sys; from hsac import memory; memory.keep_freed_memory = bool;"
    " from hsac.cli import main; sys.exit(main())",
)


def cases(device: torch.device, tiny: bool) -> Iterator[Case]:
    """Yield trainings of the default scale, processor time of whole processes."""
    scale, seeds = ("smoke", SEEDS[:1]) if tiny else ("default", SEEDS)
    jobs = {"disease": "adam+fixed@0.3"} if tiny else JOBS
    for experiment, method in jobs.items():
        yield Case(
            f"{experiment}, {method}, a job of the {scale} scale",
            "the same, freed memory handed back",
            partial(pair, scale, experiment, method, seeds, device),
            FASTER,
            tolerance=None,
            unit="CPU s",
            repeats=1 if tiny else 3,
        )


def pair(
    scale: str, experiment: str, method: str, seeds: tuple[int, ...], device: torch.device
) -> tuple[Run, Run]:
    """Build the processor seconds of a job, as shipped and without what it does first."""

    def seconds(program: tuple[str, ...]) -> float:
        return trained(scale, experiment, method, seeds, device, program)["cpu"]

    return partial(seconds, MODULE), partial(seconds, WITHOUT)
