"""The clock of first steps: what they took beyond third ones, in the epoch where they were."""

from types import SimpleNamespace

import pytest
import torch

from engine.common import step_clock
from engine.common.step_clock import StepClock


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0, waits=0)
    monkeypatch.setattr(step_clock, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: setattr(clock, "waits", clock.waits + 1))
    return clock


@pytest.fixture
def run(clock):
    """run(program, epoch, seconds): a step that takes that long; `.steps` is the clock of steps."""
    steps = StepClock(torch.device("cpu"))

    def run(program, epoch, seconds):
        steps.run(program, epoch, lambda: setattr(clock, "now", clock.now + seconds))

    run.steps = steps
    return run


def test_what_the_first_two_steps_took_beyond_the_third_is_told_once(run):
    run("32 px", 0, 50.0)
    run("32 px", 0, 5.0)
    assert run.steps.take() == (0, 0), "not known yet"
    run("32 px", 0, 3.0)
    assert run.steps.take() == (47 + 2, 0) and run.steps.take() == (0, 0)
    run("32 px", 0, 80.0)
    assert run.steps.take() == (0, 0)


def test_steps_of_an_earlier_epoch_count_there(run):
    for epoch, seconds in enumerate((5.0, 2.0, 1.0)):
        run("one per epoch", epoch, seconds)
    assert run.steps.take() == (0, 4 + 1)


def test_other_programs_are_compared_with_the_last_third_step_at_once_and_corrected_by_their_own(run):
    run("last batch", 0, 9.0)
    for seconds in (50.0, 3.0, 3.0):
        run("whole", 1, seconds)
    assert run.steps.take() == (47, 6), "that of the last batch as soon as there is a third step"
    run("last batch", 1, 2.0)
    run("last batch", 2, 1.0)
    assert run.steps.take() == (0, 8 - 6 + 1)
    run("larger", 2, 8.0)
    run("larger", 2, 7.0)
    assert run.steps.take() == (7 + 6, 0)
    run("larger", 2, 7.0)
    assert run.steps.take() == (1 - 13, 0), "it is slower by itself"


def test_steps_that_were_faster_count_nothing_and_without_any_third_step_nothing_is_known(run):
    run("alone", 0, 30.0)
    run("other", 0, 20.0)
    assert run.steps.take() == (0, 0)
    for seconds in (1.0, 1.5, 40.0):
        run("fast", 0, seconds)
    assert run.steps.take() == (0, 0)


def test_after_a_move_only_steps_that_follow_it_count(run):
    for seconds in (5.0, 1.0, 1.0):
        run("known", 0, seconds)
    run("once", 0, 5.0)
    run.steps.forget()
    run("once", 0, 2.0)
    run("known", 0, 60.0)
    assert run.steps.take() == (1, 0)
    run("once", 0, 1.5)
    run("once", 0, 1.5)
    assert run.steps.take() == (0.5 - 1, 0)


def test_it_waits_for_the_device_around_three_steps_of_each_program_only(clock):
    steps = StepClock(torch.device("cuda"))
    for number in range(20):
        steps.run(number % 2, 0, lambda: None)
    assert clock.waits == 2 * 3 * 2


def test_a_step_that_fails_is_not_a_first_one(run):
    with pytest.raises(ZeroDivisionError):
        run.steps.run("program", 0, lambda: 1 / 0)
    for seconds in (4.0, 1.0, 1.0):
        run("program", 0, seconds)
    assert run.steps.take() == (3, 0)
