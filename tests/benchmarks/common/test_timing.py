import json
import statistics

import pytest

from benchmarks.common.timing import Samples, alternate, environment, format_seconds, ratio, time_calls


class Clock:
    """A clock that only moves when work is done."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def work(self, seconds, log=None, name=""):
        def call():
            self.now += seconds
            if log is not None:
                log.append(name)

        return call


def test_samples_are_seconds_a_call():
    clock = Clock()
    found = alternate({"slow": clock.work(0.5), "fast": clock.work(0.125)}, seconds=1.0, repeats=3, clock=clock)
    assert found == {"slow": Samples((0.5,) * 3), "fast": Samples((0.125,) * 3)}


def test_each_sample_fills_the_seconds_asked_for():
    clock, log = Clock(), []
    alternate({"a": clock.work(0.25, log, "a"), "b": clock.work(4.0, log, "b")}, seconds=1.0, repeats=2, clock=clock)
    # Two calls first, then four quarters of a second, or a single longer one, in each of two rounds.
    assert log.count("a") == 2 + 2 * 4 and log.count("b") == 2 + 2


def test_rounds_go_forwards_and_backwards_in_turns():
    clock, log = Clock(), []
    alternate({name: clock.work(1.0, log, name) for name in "abc"}, seconds=1.0, repeats=3, clock=clock)
    assert "".join(log) == "aabbcc" + "abc" + "cba" + "abc"


def test_the_first_call_is_not_measured():
    clock, first = Clock(), [100.0]

    def compiles_first():
        clock.now += first.pop() if first else 1.0

    assert alternate({"a": compiles_first}, 1.0, 2, clock)["a"].values == (1.0, 1.0)


def test_a_call_too_fast_for_the_clock_is_still_called():
    clock, log = Clock(), []
    found = alternate({"a": clock.work(0.0, log, "a")}, 1.0, 2, clock)
    assert found["a"].values == (0.0, 0.0) and len(log) == 4


@pytest.mark.parametrize("calls, repeats", [({}, 1), ({"a": lambda: None}, 0)])
def test_nothing_to_time_is_refused(calls, repeats):
    with pytest.raises(ValueError, match="at least one call and one repeat"):
        alternate(calls, 1.0, repeats)


def test_statistics_and_row():
    samples = Samples((3.0, 1.0, 2.0, 10.0))
    assert (samples.median, samples.min, samples.max, samples.n) == (2.5, 1.0, 10.0, 4)
    assert samples.median == statistics.median(samples.values)
    assert Samples((1 / 3,)).row(digits=3) == {"median": 0.333, "min": 0.333, "max": 0.333, "n": 1}


def test_ratio_is_taken_round_by_round():
    assert ratio(Samples((2.0, 30.0)), Samples((1.0, 10.0))).values == (2.0, 3.0)
    with pytest.raises(ValueError, match="1 and 2"):
        ratio(Samples((1.0,)), Samples((1.0, 2.0)))


def test_time_calls_sums():
    clock = Clock()
    assert time_calls(clock.work(0.5), 4, clock) == 2.0


def test_environment_says_what_it_was_measured_on():
    facts = json.loads(json.dumps(environment()))
    assert facts["versions"]["torch"] and facts["hardware"]["cores"] >= 1 and facts["commit"]


def test_seconds_as_text():
    assert format_seconds(Samples((0.12345, 0.1, 250.4))) == ["0.123", "0.1", "250"]
