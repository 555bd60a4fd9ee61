"""How long answers take, measured side by side."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

WARM_UPS, LEAST = 3, 5


@dataclass(frozen=True)
class Latency:
    """Median milliseconds of `count` calls."""

    median_ms: float
    count: int


def latencies(calls: Mapping[str, Callable[[], object]], most: int = 50, budget_s: float = 10.0,
              clock: Callable[[], float] = time.perf_counter) -> dict[str, Latency]:
    """Time the calls in turns, each `most` times, or fewer once `budget_s` seconds are over, but LEAST times at least.

    Taking turns, all see the same machine; WARM_UPS rounds before are not counted.
    """
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    began = 0.0
    for turn in range(-WARM_UPS, most):
        if turn == 0:
            began = clock()
        for name, call in calls.items():
            at = clock()
            call()
            if turn >= 0:
                times_s[name].append(clock() - at)
        if turn + 1 >= LEAST and clock() - began > budget_s:
            break
    return {name: Latency(1000 * median(taken_s), len(taken_s)) for name, taken_s in times_s.items()}
