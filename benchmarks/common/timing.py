"""How things are timed: warmed up, repeated, side by side in turns; and on what they were timed."""

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Samples:
    """Seconds a call (or a ratio), one value a repeat, in the order in which they were measured."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def min(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def max(self) -> float:
        """The largest value."""
        return max(self.values)

    @property
    def n(self) -> int:
        """Repeats."""
        return len(self.values)

    def row(self, digits: int = 6) -> dict[str, float]:
        """{median, min, max, n} for a results file."""
        return {"median": round(self.median, digits), "min": round(self.min, digits), "max": round(self.max, digits),
                "n": self.n}


def alternate(calls: Mapping[str, Callable[[], object]], seconds: float, repeats: int,
              clock: Callable[[], float] = time.perf_counter) -> dict[str, Samples]:
    """Time each of `calls` `repeats` times, for about `seconds` a time, in turns; returns seconds a call.

    Each is called twice first: once unmeasured (compiling, caches), once to learn how many calls fill `seconds`. Every
    other round goes backwards, so that what drifts (heat, other processes) falls on all alike. A call that starts work
    on a device must wait for it itself. Raises ValueError where there is nothing to time.
    """
    if not calls or repeats < 1:
        raise ValueError(f"timing {len(calls)} calls {repeats} times: give at least one call and one repeat")
    counts = {}
    for name, call in calls.items():
        call()
        once_s = time_calls(call, 1, clock)
        counts[name] = max(1, math.ceil(seconds / once_s)) if once_s > 0 else 1
    measured: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for _ in range(repeats):
        for name in order:
            measured[name].append(time_calls(calls[name], counts[name], clock) / counts[name])
        order.reverse()
    return {name: Samples(tuple(values)) for name, values in measured.items()}


def time_calls(call: Callable[[], object], count: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that `count` calls take together."""
    began = clock()
    for _ in range(count):
        call()
    return clock() - began


def ratio(first: Samples, second: Samples) -> Samples:
    """first / second, round by round: what both share of a slow moment cancels."""
    if first.n != second.n:
        raise ValueError(f"a ratio needs as many repeats on both sides: {first.n} and {second.n}")
    return Samples(tuple(a / b for a, b in zip(first.values, second.values, strict=True)))


def environment(device: str = "cpu") -> dict[str, object]:
    """What a timing was taken on: commit, versions, hardware, time (UTC), and how busy the machine was (1 minute)."""
    import torch

    from engine.common.environment import commit, hardware, versions

    return {"commit": commit(), "versions": versions(), "hardware": hardware(torch.device(device)),
            "utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "load_1min": round(os.getloadavg()[0], 2)}


def format_seconds(samples: Samples) -> list[str]:
    """Median, smallest and largest as text with three significant digits."""
    return [f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in (samples.median, samples.min, samples.max)]
