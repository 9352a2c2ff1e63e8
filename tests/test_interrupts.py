"""Signals wait in a `Deferred` context, and then come to the handlers that were there before."""

import pickle
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from hsac import interrupts
from hsac.interrupts import Deferred

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[list[int]]:
    """Let the handlers of SIGNALS note what comes, and raise."""
    seen: list[int] = []

    def handler(number: int, _: object) -> None:
        seen.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit

    before = {number: signal.signal(number, handler) for number in SIGNALS}
    yield seen
    assert all(signal.getsignal(number) is handler for number in SIGNALS)
    for number, previous in before.items():
        signal.signal(number, previous)


def test_signals_wait_for_the_end(handlers: list[int]) -> None:
    """A signal that comes twice is told once, as an operating system does."""
    done = []

    def work() -> None:
        with Deferred():
            for number in (*SIGNALS, *SIGNALS):
                signal.raise_signal(number)
            done.extend(handlers)
            done.append("end")

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        work()
    assert done == ["end"]
    assert sorted(handlers) == sorted(SIGNALS)


def test_signals_are_told_where_asked(handlers: list[int]) -> None:
    """They interrupt there, and nothing is told a second time."""
    reached = []

    def work() -> None:
        deferred = Deferred()
        with deferred:
            signal.raise_signal(signal.SIGINT)
            reached.append("before")
            deferred.deliver()
            reached.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["before"]
    assert handlers == [signal.SIGINT]


def test_contexts_nest(handlers: list[int]) -> None:
    done = []

    def work() -> None:
        with Deferred():
            with Deferred():
                signal.raise_signal(signal.SIGINT)
            done.extend(handlers)
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["outer"]


def test_errors_pass_with_signals(handlers: list[int]) -> None:
    def work(interrupted: bool) -> None:
        with Deferred():
            if interrupted:
                signal.raise_signal(signal.SIGINT)
            raise ValueError

    with pytest.raises(KeyboardInterrupt) as caught:
        work(True)
    assert isinstance(caught.value.__context__, ValueError)
    with pytest.raises(ValueError):  # noqa: PT011
        work(False)


def test_context_can_be_entered_again(handlers: list[int]) -> None:
    """With the handlers that are there by then."""
    deferred, other = Deferred(), []
    with deferred:
        pass
    before = signal.signal(signal.SIGTERM, lambda number, _: other.append(number))
    with deferred:
        signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)
    assert other == [signal.SIGTERM]
    assert not handlers


def test_copies_leave_the_handlers() -> None:
    """A handler that cannot be copied, such as the fixture's, is no part of a copy."""
    deferred = Deferred()
    with deferred:
        pass
    with pickle.loads(pickle.dumps(deferred)):
        pass


def test_handlers_set_inside_stay() -> None:
    """A loader of torch sets one of its own when it is first used."""
    seen: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with Deferred():
        signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_other_threads_need_not_wait() -> None:
    """Python calls handlers in the main thread only, and only there they can be set."""
    found = []

    def work() -> None:
        with Deferred():
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Deferred():
        signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_at_every_line(handlers: list[int], number: int) -> None:
    """At whatever line one comes, it comes once, and the handlers are back afterwards."""
    before = [signal.getsignal(each) for each in SIGNALS]

    def interrupted_at(event: int) -> int:
        left = [event]

        def trace(frame, *_):
            if frame.f_code.co_filename != interrupts.__file__:
                return None
            left[0] -= 1
            if left[0] == 0:
                signal.raise_signal(number)
            return trace

        sys.settrace(trace)
        try:
            with Deferred():
                pass
        finally:
            sys.settrace(None)
        return left[0]

    events = 10_000 - interrupted_at(10_000)
    assert events > 20
    for event in range(1, events + 1):
        handlers.clear()
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            interrupted_at(event)
        assert handlers == [number], event
        assert [signal.getsignal(each) for each in SIGNALS] == before, event
