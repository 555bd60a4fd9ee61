"""Ctrl-C and SIGTERM: the step is finished first, a second signal leaves at once."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# The same wish can come twice: systemd and SLURM signal every process, and torchrun passes its own signal on.
TOGETHER_S = 0.5


# Ctrl-C as it came; a KeyboardInterrupt can be lost in a library that is called back while it loads.
_seen: list[int] = []


@contextmanager
def noticing() -> Iterator[list[int]]:
    """What Ctrl-C raises is raised as ever, and noted besides: the list of those that came, for the main thread."""
    def note(number, _frame):
        _seen.append(number)
        raise KeyboardInterrupt

    _seen.clear()
    default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    taken = default and threading.current_thread() is threading.main_thread()
    if taken:
        signal.signal(signal.SIGINT, note)
    try:
        yield _seen
    finally:
        if taken:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class Interrupted(Exception):
    """Raised between two steps after a signal; `status` is the exit status that shells expect (128 + signal)."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Signals:
    """While open, SIGINT and SIGTERM are only noted; `check` raises Interrupted for the first one.

    A Ctrl-C that came before and was lost counts.
    """

    NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self):
        self.noted, self.noted_at = next(iter(_seen), 0), time.monotonic()
        self.former = {number: signal.signal(number, self._note) for number in self.NUMBERS}
        return self

    def __exit__(self, *_):
        for number, handler in self.former.items():
            signal.signal(number, handler)

    def _note(self, number, _frame):
        if not self.noted:
            self.noted, self.noted_at = number, time.monotonic()
        elif time.monotonic() - self.noted_at > TOGETHER_S:
            os._exit(128 + number)

    def check(self) -> None:
        """Raise Interrupted where a signal has come."""
        if self.noted:
            raise Interrupted(self.noted)
