"""One stream of random numbers a purpose, so that methods share what they must share."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def generator(seed: int, purpose: str) -> torch.Generator:
    """Make a run's CPU generator for a purpose, independent of every other purpose and seed.

    The method is not part of it. So at one seed all methods start from the same weights and see the
    same batches.

    Args:
        seed: The run's seed.
        purpose: What is drawn: weights, batches, ….

    Returns:
        A generator in its initial state.
    """
    # A hash, so that neighbouring seeds have streams as unlike as any others.
    number = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(number[:8], "big") >> 1)


def normals(seeds: Sequence[int], w: Tensor) -> Callable[[str], Tensor]:
    """Make a source of standard normals by purpose, one stream a run.

    Args:
        seeds: The seeds of the R runs.
        w: Weights (R, P), which give shape, dtype and device.

    Returns:
        A function from a purpose to the next (R, P) normals of its streams.
    """
    streams: dict[str, list[torch.Generator]] = {}

    def normal(purpose: str) -> Tensor:
        # A stream goes on from call to call, so that no two draws of a training are alike.
        streams.setdefault(purpose, [generator(seed, f"normal {purpose}") for seed in seeds])
        # Drawn in float64 on the CPU, so that every device and dtype sees the same numbers.
        drawn = [
            torch.randn(w.shape[1], generator=g, dtype=torch.float64) for g in streams[purpose]
        ]
        return torch.stack(drawn).to(w)

    return normal
