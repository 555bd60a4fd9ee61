"""Timing in turns, with a clock that the test moves."""

from engine.exporting import latency


class Clock:
    """Time that passes only in calls."""

    now = 0.0

    def __call__(self):
        return self.now

    def taking(self, order, name, *times_s):
        left = list(times_s)

        def call():
            order.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


def test_medians_exclude_the_warm_up_and_calls_take_turns():
    clock, order = Clock(), []
    warm_ups = (9.0,) * latency.WARM_UPS
    calls = {"a": clock.taking(order, "a", *warm_ups, 0.001, 0.002, 0.003, 0.004, 5.0),
             "b": clock.taking(order, "b", *warm_ups, 0.25)}
    found = latency.latencies(calls, most=5, budget_s=100, clock=clock)
    assert abs(found["a"]["median"] - 3) < 1e-6 and abs(found["b"]["median"] - 250) < 1e-6
    assert found["a"]["n"] == found["b"]["n"] == 5
    assert order == ["a", "b"] * (5 + latency.WARM_UPS)


def test_slow_calls_stop_at_the_budget_but_not_before_the_least_count():
    clock = Clock()
    found = latency.latencies({"slow": clock.taking([], "slow", 1.0)}, most=50, budget_s=7.5, clock=clock)
    assert found["slow"]["n"] == 8
    found = latency.latencies({"slow": clock.taking([], "slow", 60.0)}, most=50, budget_s=7.5, clock=clock)
    assert found["slow"]["n"] == latency.LEAST
