"""The device that a training runs on: the CPU, or a GPU with a lease of a share of it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from hsac.ops.gpu_lease import SLOTS, Card, folder, lease, needed, slots
from hsac.study.models import Study
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
        asked = subprocess.run(
            MEMORY, capture_output=True, check=True, encoding="utf-8", errors="replace"
        )
        said = asked.stdout
    except (OSError, subprocess.CalledProcessError):
        said = ""
    free = dict(line.split(", ") for line in said.splitlines() if line.count(", ") == 1)
    found = []
    for number in range(torch.cuda.device_count()):
        of = torch.cuda.get_device_properties(number)
        # nvidia-smi puts `GPU-` before the UUID that torch gives, and a word where it knows no
        # number.
        mebibytes = free.get(f"GPU-{of.uuid}", "")
        left = int(mebibytes) * 2**20 if mebibytes.isdigit() else of.total_memory
        found.append(Card(number, str(of.uuid), of.total_memory, left))
    return found


@contextmanager
def leased(study: Study, method: Path | None = None, together: int = 1) -> Iterator[Study]:
    """Lease a share of a GPU for the block. On a CPU nothing is locked.

    Args:
        study: The study, whose `device` says which GPU: one of all where it is `auto` or `cuda`.
        method: The folder of a method, whose finished runs tell how much memory a run needs. None
            leases the whole GPU.
        together: How many runs are trained at once.

    Yields:
        The study with that GPU as its device.

    Raises:
        InputError: The device is not there.
    """
    device = choose_device(study.device)
    if device.type != "cuda":
        yield study
        return

    any_card = study.device in ("auto", "cuda")

    def wanted() -> list[Card]:
        return [card for card in cards() if any_card or card.number == device.index]

    def share(card: Card) -> int:
        name = torch.cuda.get_device_name(card.number)
        return SLOTS if method is None else slots(needed(method, together, name), card.memory)

    with lease(wanted, share, folder()) as card:
        # What names no GPU would else take memory of the first one.
        torch.cuda.set_device(card.number)
        try:
            yield study.model_copy(update={"device": f"cuda:{card.number}"})
        finally:
            torch.cuda.empty_cache()  # the share is the next one's
