"""Ctrl-C and SIGTERM: the step is finished first, a second signal leaves at once."""

import os
import signal
import time

# The same wish can come twice: systemd and SLURM signal every process, and torchrun passes its own signal on.
TOGETHER_S = 0.5


class Interrupted(Exception):
    """Raised between two steps after a signal; `status` is the exit status that shells expect (128 + signal)."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Signals:
    """While open, SIGINT and SIGTERM are only noted; `check` raises Interrupted for the first one."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self):
        self.noted = 0
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
