"""Timing: warmed up, repeated, in turns."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Seconds per call (or a figure computed from them), one value per round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def map(self, function: Callable[[float], float]) -> "Timings":
        return Timings(tuple(map(function, self.values)))

    def per(self, other: "Timings") -> "Timings":
        """self / other, round by round: what slows both in the same round cancels."""
        return Timings(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def row(self, digits: int = 6) -> dict[str, float]:
        """{median, min, max, n} for a results file."""
        return {"median": round(self.median, digits), "min": round(min(self.values), digits),
                "max": round(max(self.values), digits), "n": len(self.values)}


def in_turns(names: Iterable[str], repeats: int) -> Iterator[str]:
    """Each name once per round; every other round runs backwards, so that heat and load affect all alike."""
    order = list(names)
    for _ in range(repeats):
        yield from order
        order.reverse()


def alternate(calls: Mapping[str, Callable[[], object]], seconds: float, repeats: int) -> dict[str, Timings]:
    """Seconds per call of each of `calls`, timed in turns in `repeats` rounds of about `seconds` each.

    Each is called twice first: once to compile and fill caches, once to learn how many calls fill `seconds`. A call
    that starts work on a device must wait for it.
    """
    counts = {}
    for name, call in calls.items():
        call()
        once_s = time_calls(call, 1)
        counts[name] = max(1, math.ceil(seconds / once_s)) if once_s > 0 else 1
    measured: dict[str, list[float]] = {name: [] for name in calls}
    for name in in_turns(calls, repeats):
        measured[name].append(time_calls(calls[name], counts[name]) / counts[name])
    return {name: Timings(tuple(values)) for name, values in measured.items()}


def time_calls(call: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start
