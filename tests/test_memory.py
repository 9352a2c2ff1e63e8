"""Freed memory stays with the process, where the C library can keep it."""

import ctypes
import resource
import subprocess
import sys

import pytest

from hsac import memory

# Blocks of 40 MiB, one after another. By itself glibc has the kernel map each of more than 32 MiB.
# The first ones make room. Of the others it is counted which pages the kernel had to map.
FAULTS = """
import resource, sys
import torch
from hsac import memory
if sys.argv[1] == "keep":
    assert memory.keep_freed_memory()
for number in range(24):
    if number == 16:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc's mallopt")
def test_freed_memory_is_not_mapped_again() -> None:
    per_block = 40 * 2**20 // resource.getpagesize()
    assert faults("hand back") >= 8 * per_block
    assert faults("keep") < per_block


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False
