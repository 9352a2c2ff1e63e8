"""What both fuzz tests share: a limit of time, and how many examples there are."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from hypothesis import HealthCheck, settings

SECONDS = 120  # of one example, on any machine; most take some tenths of one

# The same examples each time, so that whoever changes something else sees no new fault.
quick = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=timedelta(seconds=SECONDS),
    suppress_health_check=list(HealthCheck),
)


@contextmanager
def within(seconds: int = SECONDS) -> Iterator[None]:
    """Fail inside of a block that takes longer: a deadline waits for the end."""

    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"hangs: {seconds} s are over")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
