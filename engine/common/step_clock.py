"""What the first two steps of each program took beyond its third: compiling, tuning, recording, warming up.

A program is what is compiled or recorded once for a batch shape, an image size and a set of trained parameters. A run
may have several, and meet a new one at any step. torch.compile may need two steps until all is compiled.
"""

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch

FIRST_STEPS = 2


@dataclass
class FirstStep:
    """A step whose program's third has not come yet; `excess_s` is taken for what it took too much."""

    epoch: int
    took_s: float
    excess_s: float = 0.0


class StepClock:
    """Times the first three steps of each program, and waits for the device before and after these only.

    Until its own third step, a program is compared with the last third step of another.
    """

    def __init__(self, device: torch.device):
        self.device, self.known, self.usual_s = device, set(), math.inf
        self.forget()

    def forget(self) -> None:
        """Drop what was timed but not taken, when a run moves to another position; known programs stay known."""
        self.first: dict[Hashable, list[FirstStep]] = {}
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
        took_s, before = time.perf_counter() - began, self.first.setdefault(program, [])
        if len(before) < FIRST_STEPS:
            before.append(FirstStep(epoch, took_s))
            self._compare(before[-1:], epoch)
            return
        self.known.add(program)
        self.usual_s = took_s
        self._compare(self.first.pop(program), epoch)
        for others in self.first.values():
            self._compare(others, epoch)

    def _compare(self, steps: list[FirstStep], epoch: int) -> None:
        for each in steps:
            excess_s = max(0.0, each.took_s - self.usual_s)
            if each.epoch == epoch:
                self.in_epoch_s += excess_s - each.excess_s
            else:
                self.earlier_s += excess_s - each.excess_s
            each.excess_s = excess_s

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
