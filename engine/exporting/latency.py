"""Latencies of functions that take turns."""

import time
from collections.abc import Callable, Mapping
from statistics import median

WARM_UPS, LEAST = 3, 5


def latencies(calls: Mapping[str, Callable[[], object]], most: int = 50, budget_s: float = 10.0,
              clock: Callable[[], float] = time.perf_counter) -> dict[str, dict[str, float]]:
    """Name -> {"median": milliseconds, "n": how often it was called}.

    The calls take turns, so that all see the same machine: `most` times, or fewer once `budget_s` is over, but at least
    LEAST times. WARM_UPS rounds before are not counted.
    """
    times_s: dict[str, list[float]] = {name: [] for name in calls}
    start_s = 0.0
    for turn in range(-WARM_UPS, most):
        if turn == 0:
            start_s = clock()
        for name, call in calls.items():
            call_start_s = clock()
            call()
            if turn >= 0:
                times_s[name].append(clock() - call_start_s)
        if turn + 1 >= LEAST and clock() - start_s > budget_s:
            break
    return {name: {"median": 1000 * median(taken_s), "n": len(taken_s)} for name, taken_s in times_s.items()}
