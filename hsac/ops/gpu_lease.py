"""Shares of GPUs, leased among the processes of one user on one machine. No torch here.

A GPU's memory is SLOTS equal shares, each a file that its holder locks. The kernel frees
a lock when its process ends, however that ends, so nothing is left to clean up and no share is
given twice.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from hsac.errors import InputError
from hsac.files import read_json

SLOTS = 16
DEFAULT_SHARE = 4  # slots of a bundle whose memory no finished run tells
MARGIN = 1.25  # what the allocator keeps beyond what is used
CONTEXT = 2**30  # bytes that CUDA takes of a GPU for a process, at most
POLL_S = 1.0
IDLE = 0.8  # of a card's memory free is as good as all of it
SAMPLE = 5  # finished runs that speak for their method


@dataclass(frozen=True)
class Card:
    """A GPU.

    Attributes:
        number: Its number as torch counts.
        uuid: The name that it has in every process.
        memory: Bytes of memory.
        free: Bytes that are free now.
    """

    number: int
    uuid: str
    memory: int
    free: int


def folder() -> Path:
    """Make the folder of the locks.

    It is a folder of this user's own below the machine's temporary one (`TMPDIR`), which is not on
    a shared file system.

    Returns:
        The folder.

    Raises:
        InputError: The folder cannot be made, or somebody else made it.
    """
    path = Path(tempfile.gettempdir()) / f"hsac-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        owner = path.lstat().st_uid
    except OSError as error:
        raise InputError(
            f"cannot make {path}: {error.strerror}; set TMPDIR to a folder of yours"
        ) from error
    if owner != os.getuid() or path.is_symlink():
        raise InputError(f"{path}: found a folder of user {owner}; set TMPDIR to a folder of yours")
    return path


def slots(needed: int | None, memory: int) -> int:
    """Compute how many slots of a card a bundle takes.

    Args:
        needed: Bytes that the bundle needs, None where they are not known.
        memory: Bytes of the card.

    Returns:
        Slots, from 1 to all.
    """
    return DEFAULT_SHARE if needed is None else min(SLOTS, max(1, -(-needed * SLOTS // memory)))


def needed(method: Path, together: int, device: str) -> int | None:
    """Estimate the bytes that runs of a method take on a GPU, by its finished runs.

    Args:
        method: The folder of the method's runs, in whatever configuration.
        together: How many runs are trained at once.
        device: The name of the GPU.

    Returns:
        Bytes by the largest peak of a few finished runs. None when there are none.
    """
    peaks = []
    for path in sorted(method.glob("*/seed*.json"), key=lambda path: path.parent.name):
        try:
            record = read_json(path)
            if record["device"] == device and record["status"] == "ok":
                larger = max(1.0, together / len(record["together"]))
                peaks.append(record["peak_memory_mib"] * 2**20 * larger)
        except (InputError, KeyError, TypeError):
            continue
        if len(peaks) == SAMPLE:
            break
    return int(MARGIN * max(peaks)) + CONTEXT if peaks else None


@contextmanager
def lease(
    cards: Callable[[], Sequence[Card]],
    share: Callable[[Card], int],
    locks: Path,
    poll: float = POLL_S,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> Iterator[Card]:
    """Lease slots of a card for a block of code.

    Waits while no card has so many slots, and the memory that they stand for, free. A card counts
    as wholly free when IDLE of its memory is. Who waits is served before who comes later.

    Args:
        cards: Lists the cards to choose from.
        share: Says how many slots of a card are wanted.
        locks: The folder of the locks.
        poll: Seconds between two looks.
        say: Is told once that there is waiting.

    Yields:
        Of the cards with room the one with the most free slots.
    """
    told = False

    def wait() -> None:
        nonlocal told
        if not told:
            say(
                f"hsac: waiting for a GPU: none of {len(cards())} has room for this bundle now;"
                f" leases are in {locks}"
            )
        told = True

    with ExitStack() as held:
        # One process at a time looks for room, so that small bundles cannot overtake a large one.
        queue = FileLock(locks / "queue.lock")
        try:
            served = queue.acquire(timeout=poll)
        except Timeout:
            wait()
            served = queue.acquire(poll_interval=poll)
        with served:
            while (card := _claim(cards(), share, locks, held)) is None:
                wait()
                time.sleep(poll)
        yield card


def _claim(
    cards: Sequence[Card], share: Callable[[Card], int], locks: Path, held: ExitStack
) -> Card | None:
    """Lock the slots of a card until `held` ends; None when no card has room."""
    found: tuple[int, Card, list[FileLock]] | None = None
    with ExitStack() as others:
        for card in cards:
            wanted = share(card)
            every = [FileLock(locks / f"{card.uuid}-{slot}.lock") for slot in range(SLOTS)]
            free = [lock for lock in every if _lock(lock)]
            for lock in free:
                others.callback(lock.release)
            # Memory is asked for too, since processes without a lease may hold some.
            room = len(free) >= wanted and card.free >= min(wanted / SLOTS, IDLE) * card.memory
            if room and (found is None or len(free) > len(found[2])):
                found = (wanted, card, free)
        if found is None:
            return None
        wanted, card, free = found
        for lock in free[:wanted]:
            lock.acquire()  # once more, so that it outlasts `others`
            held.callback(lock.release)
        return card


def _lock(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def leases(locks: Path) -> dict[str, int]:
    """Count the slots that are taken now.

    Args:
        locks: The folder of the locks.

    Returns:
        Taken slots by the name of their card.
    """
    taken: dict[str, int] = {}
    for path in sorted(locks.glob("*-*.lock")):
        lock = FileLock(path)
        if not _lock(lock):
            card = path.stem.rpartition("-")[0]
            taken[card] = taken.get(card, 0) + 1
        else:
            lock.release()
    return taken
