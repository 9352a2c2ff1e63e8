"""Freed memory stays with the process."""

import ctypes

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Bytes: freed memory up to so much is kept, and larger blocks go back at once.
KEPT = 1 << 30


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory instead of handing it back to the kernel.

    A training step allocates the same tensors as the one before. Where each is handed back when it
    is freed, the kernel zeroes and maps its pages anew in every step. `python -m benchmarks memory`
    measures what that costs. No number changes. A process may keep up to 1 GiB more than it uses.

    Returns:
        Whether the C library can (glibc). Elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(bool(mallopt(option, KEPT)) for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
