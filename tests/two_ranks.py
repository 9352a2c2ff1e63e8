"""Two processes of torch.distributed, for tests of what several ranks do together."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# A test in which one rank waits for the other in vain is to fail, not to hang.
PATIENCE = timedelta(seconds=60)


def on_two_ranks(work: Callable[[int], Any], folder: Path) -> list[Any]:
    """Return what `work` returns on each rank. It must be a function of a module."""
    mp.spawn(_rank, (work, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def _rank(rank: int, work: Callable[[int], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder / 'meet'}"
    dist.init_process_group("gloo", meet, PATIENCE, rank=rank, world_size=2)
    torch.save(work(rank), folder / f"{rank}.pt")
    dist.destroy_process_group()
