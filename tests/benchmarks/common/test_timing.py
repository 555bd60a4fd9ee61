"""Timing: seconds per call, warmed up, in turns; and what is computed from them."""

import statistics

import pytest

from benchmarks.common import timing
from benchmarks.common.timing import Timings, alternate, time_calls


class Clock:
    """A clock that only moves when work is done."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def work(self, seconds, log=None, name=""):
        def call():
            self.now += seconds
            if log is not None:
                log.append(name)

        return call


@pytest.fixture
def clock(monkeypatch):
    planted = Clock()
    monkeypatch.setattr(timing, "time", planted)
    return planted


def test_timings_are_seconds_per_call(clock):
    found = alternate({"slow": clock.work(0.5), "fast": clock.work(0.125)}, seconds=1.0, repeats=3)
    assert found == {"slow": Timings((0.5,) * 3), "fast": Timings((0.125,) * 3)}


def test_each_round_fills_the_seconds_asked_for(clock):
    log = []
    alternate({"a": clock.work(0.25, log, "a"), "b": clock.work(4.0, log, "b")}, seconds=1.0, repeats=2)
    # Two calls first, then four quarters of a second, or a single longer one, in each of two rounds.
    assert log.count("a") == 2 + 2 * 4 and log.count("b") == 2 + 2


def test_rounds_run_forwards_and_backwards_in_turns(clock):
    log = []
    alternate({name: clock.work(1.0, log, name) for name in "abc"}, seconds=1.0, repeats=3)
    assert "".join(log) == "aabbcc" + "abc" + "cba" + "abc"


def test_the_first_call_is_not_measured(clock):
    first = [100.0]

    def compiles_first():
        clock.now += first.pop() if first else 1.0

    assert alternate({"a": compiles_first}, 1.0, 2)["a"].values == (1.0, 1.0)


def test_a_call_too_fast_for_the_clock_is_still_called(clock):
    log = []
    found = alternate({"a": clock.work(0.0, log, "a")}, 1.0, 2)
    assert found["a"].values == (0.0, 0.0) and len(log) == 4


def test_statistics_and_row():
    timings = Timings((3.0, 1.0, 2.0, 10.0))
    assert timings.row() == {"median": 2.5, "min": 1.0, "max": 10.0, "n": 4}
    assert timings.median == statistics.median(timings.values)
    assert Timings((1 / 3,)).row(digits=3) == {"median": 0.333, "min": 0.333, "max": 0.333, "n": 1}


def test_ratios_are_taken_round_by_round():
    assert Timings((2.0, 30.0)).per(Timings((1.0, 10.0))).values == (2.0, 3.0)
    with pytest.raises(ValueError, match="longer"):
        Timings((1.0,)).per(Timings((1.0, 2.0)))


def test_time_calls_sums(clock):
    assert time_calls(clock.work(0.5), 4) == 2.0
