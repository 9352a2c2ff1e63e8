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
    """List the GPUs that this process may use (`CUDA_VISIBLE_DEVICES`).

    Returns:
        The cards, with their free memory. Where the driver's program is missing, all of it counts
        as free.
    """
    # The driver's own program is asked, as asking CUDA takes memory of every card.
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
    """Lease a share of a GPU for a block of code.

    Args:
        settings: The resolved settings. Where `device` says `auto` or `cuda`, any GPU will do.
        method: The folder of a method, whose finished runs say how much memory one takes. Without
            it the whole card is leased.
        together: How many runs are trained at once.

    Yields:
        The settings with the leased GPU for `device`. On a CPU they are as given, and nothing is
        locked.

    Raises:
        InputError: The device is not there.
    """
    device = choose_device(settings["device"])
    if device.type != "cuda":
        yield settings
        return

    any_card = settings["device"] in ("auto", "cuda")

    def wanted() -> list[Card]:
        return [card for card in cards() if any_card or card.number == device.index]

    def share(card: Card) -> int:
        name = torch.cuda.get_device_name(card.number)
        return SLOTS if method is None else slots(needed(method, together, name), card.memory)

    with lease(wanted, share, folder()) as card:
        torch.cuda.set_device(card.number)
        try:
            yield settings | {"device": f"cuda:{card.number}"}
        finally:
            torch.cuda.empty_cache()  # the share is the next one's
