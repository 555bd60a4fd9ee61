"""Ctrl-C and SIGTERM: the current step finishes first; a second signal ends the process at once."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

# One request can arrive twice: systemd and SLURM signal every process, and torchrun forwards its signal.
ECHO_S = 0.5
# Every Ctrl-C, because a library that runs a callback while it loads can lose the KeyboardInterrupt.
_seen: list[int] = []


@contextmanager
def noting_ctrl_c() -> Iterator[list[int]]:
    """Ctrl-C raises KeyboardInterrupt as usual, and its number is added to the yielded list."""
    def note(number, _frame):
        _seen.append(number)
        raise KeyboardInterrupt

    _seen.clear()
    former = signal.getsignal(signal.SIGINT)
    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    try:
        yield _seen
    finally:
        if former is signal.default_int_handler:
            signal.signal(signal.SIGINT, former)


class Interrupted(Exception):
    """Raised between two steps after a signal; `status`: the exit status, 128 + signal."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Signals:
    """While open, SIGINT, SIGTERM and a Ctrl-C that a library lost are noted; `check` raises Interrupted."""

    def __enter__(self):
        self.noted, self.noted_at = next(iter(_seen), 0), time.monotonic()
        self.former = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self.former.items():
            signal.signal(number, handler)

    def _note(self, number, _frame):
        if not self.noted:
            self.noted, self.noted_at = number, time.monotonic()
        elif time.monotonic() - self.noted_at > ECHO_S:
            os._exit(128 + number)

    def check(self) -> None:
        if self.noted:
            raise Interrupted(self.noted)
