"""One stream of random numbers a purpose, so that methods share what they must share."""

import hashlib

import torch


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for one run's `purpose` (weights, batches, …): independent of every other
    purpose and seed.

    The method is not part of it: at one seed all methods start from the same weights and see the
    same batches.
    """
    number = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(number[:8], "big") >> 1)
