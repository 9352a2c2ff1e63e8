"""The device that a training runs on: the CPU, or a GPU with a lease of a share of it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from hsac.ops.gpu_lease import SLOTS, Card, folder, lease, needed, slots
from hsac.train.inputs import choose_device

MEMORY = ("nvidia-smi", "--query-gpu=uuid,memory.free", "--format=csv,noheader,nounits")


def cards() -> list[Card]:
    """The GPUs that this process may use (`CUDA_VISIBLE_DEVICES`). Their free memory is asked of
    the driver's own program: asking CUDA takes memory of every card. Where there is no such
    program, all of it counts as free.
    """
    try:
        said = subprocess.run(MEMORY, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        said = ""
    free = dict(line.split(", ") for line in said.splitlines() if line.count(", ") == 1)
    found = []
    for number in range(torch.cuda.device_count()):
        of = torch.cuda.get_device_properties(number)
        mebibytes = free.get(f"GPU-{of.uuid}", "")
        left = int(mebibytes) * 2**20 if mebibytes.isdigit() else of.total_memory
        found.append(Card(number, str(of.uuid), of.total_memory, left))
    return found


@contextmanager
def leased(
    settings: dict[str, Any], method: Path | None = None, together: int = 1
) -> Iterator[dict[str, Any]]:
    """The settings with a GPU that the block has a share of for `device`: one of all where this
    says `auto` or `cuda`. On a CPU they are as given, and nothing is locked.

    The share is what `together` runs at once need by the finished runs in the folder of their
    `method`; the whole card without one. Raises InputError as `choose_device` does.
    """
    device = choose_device(settings["device"])
    if device.type != "cuda":
        yield settings
        return

    def wanted() -> list[Card]:
        return [
            card
            for card in cards()
            if settings["device"] in ("auto", "cuda") or card.number == device.index
        ]

    def share(card: Card) -> int:
        name = torch.cuda.get_device_name(card.number)
        return SLOTS if method is None else slots(needed(method, together, name), card.memory)

    with lease(wanted, share, folder()) as card:
        torch.cuda.set_device(card.number)
        try:
            yield settings | {"device": f"cuda:{card.number}"}
        finally:
            torch.cuda.empty_cache()  # the share is the next one's
