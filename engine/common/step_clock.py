"""What the first step of each program took beyond its second: compiling, tuning, recording, warming up.

A program is what is compiled or recorded once for a batch shape, an image size and a set of trained parameters. A run
may have several, and meet a new one at any step.
"""

import math
import time
from collections.abc import Callable, Hashable

import torch


class StepClock:
    """Times the first two steps of each program, and waits for the device before and after these only.

    Until a program's second step its first one is compared with the last second step of another.
    """

    def __init__(self, device: torch.device):
        self.device, self.known, self.usual_s = device, set(), math.inf
        self.forget()

    def forget(self) -> None:
        """Drop what was timed but not taken, when a run moves to another position; known programs stay known."""
        # Program -> epoch and seconds of its first step, and what of these was found to be too much.
        self.first: dict[Hashable, tuple[int, float, float]] = {}
        self.in_epoch_s = self.earlier_s = 0.0

    def run(self, program: Hashable, epoch: int, step: Callable[[], None]) -> None:
        """Call `step`, of a program, in an epoch."""
        if program in self.known:
            step()
            return
        self._wait()
        began = time.perf_counter()
        step()
        self._wait()
        took_s = time.perf_counter() - began
        if program not in self.first:
            excess_s = max(0.0, took_s - self.usual_s)
            self.first[program] = epoch, took_s, excess_s
            self.in_epoch_s += excess_s
            return
        self.known.add(program)
        self.usual_s = took_s
        first_epoch, first_s, found_s = self.first.pop(program)
        correction_s = max(0.0, first_s - took_s) - found_s
        if first_epoch == epoch:
            self.in_epoch_s += correction_s
        else:
            self.earlier_s += correction_s

    def take(self) -> tuple[float, float]:
        """The seconds found since the last call, of first steps in this epoch and in earlier ones; corrections may be
        negative.
        """
        found = self.in_epoch_s, self.earlier_s
        self.in_epoch_s = self.earlier_s = 0.0
        return found

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
