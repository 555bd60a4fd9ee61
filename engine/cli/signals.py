"""Ctrl-C, SIGTERM and the like: the current step finishes first; a second signal ends the process at once."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# One request can arrive twice: systemd and SLURM signal every process, and torchrun forwards its signal.
ECHO_S = 0.5
# Besides Ctrl-C and a scheduler's SIGTERM: a terminal that is closed, and the notices that SLURM sends before it ends a
# job.
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
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
    taken = former is signal.default_int_handler and in_main_thread()
    if taken:
        signal.signal(signal.SIGINT, note)
    try:
        yield _seen
    finally:
        if taken:
            signal.signal(signal.SIGINT, former)


def in_main_thread() -> bool:
    """Whether this thread may set signal handlers."""
    return threading.current_thread() is threading.main_thread()


class Interrupted(Exception):
    """Raised between two steps after a signal; `status`: the exit status, 128 + signal."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Signals:
    """While open, NUMBERS and a Ctrl-C that a library lost are noted; `check` raises Interrupted.

    A signal that the process ignores (nohup's SIGHUP) stays ignored, and only the main thread can note any.
    """

    def __enter__(self):
        self.noted, self.noted_at = next(iter(_seen), 0), time.monotonic()
        self.former = {number: signal.signal(number, self._note) for number in NUMBERS if in_main_thread()
                       and signal.getsignal(number) is not signal.SIG_IGN}
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
