"""Signals that wait, so that Ctrl-C does not cut in two what must be done as one."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]
# Ctrl-C first: while the others are made to wait it does already.
_NUMBERS = sorted(signal.valid_signals(), key=lambda number: number != signal.SIGINT)


class Deferred:
    """A context in which Python's signal handlers wait: `with deferred: ...`.

    A handler may raise, as that of Ctrl-C raises KeyboardInterrupt, wherever the main thread then
    is. Within the context no signal's handler runs but in `deliver`. What is left runs at the end,
    in the handlers that were there before. Outside of the main thread no handler ever runs, and
    nothing needs to wait.

    Contexts may be nested, but not one in itself.
    """

    def __init__(self) -> None:
        """Wait for nothing yet."""
        self._handlers: dict[int, Handler] = {}
        self._waiting: dict[int, FrameType | None] = {}
        self._holds = False

    def __enter__(self) -> None:
        """Make all handlers wait."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._holds = True
        try:
            for number in _NUMBERS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        except BaseException:  # of the handler of one that did not wait yet
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        """Put the handlers back, and call those whose signals wait."""
        if not self._holds:
            return
        try:
            try:
                self._put_back()
            finally:
                # The handler of a signal that was back can have cut the first try short.
                self._put_back()
        finally:
            self._holds = False
            self.deliver()

    def __reduce__(self) -> tuple[type["Deferred"], tuple[()]]:
        """Copy it as one that waits for nothing, without the handlers of this process."""
        return Deferred, ()

    def deliver(self) -> None:
        """Call the handlers of the signals that wait, at a point where they do no harm."""
        if self._waiting:
            number, frame = self._waiting.popitem()
            try:
                self._handlers[number](number, frame)
            finally:
                self.deliver()

    def _put_back(self) -> None:
        # Ctrl-C last, as it is the most likely to come.
        for number in reversed(_NUMBERS):
            # One that was set meanwhile stays.
            if signal.getsignal(number) == self._note:
                signal.signal(number, self._handlers[number])

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._holds:
            self._waiting[number] = frame
        else:
            self._handlers[number](number, frame)
