"""The clock of first steps: what they took beyond second ones, in the epoch where they were."""

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


def test_what_a_first_step_took_beyond_its_programs_second_is_told_once(run):
    run("32 px", 0, 50.0)
    assert run.steps.take() == (0, 0), "not known yet"
    run("24 px", 0, 9.0)
    run("32 px", 0, 3.0)
    assert run.steps.take() == (47, 0) and run.steps.take() == (0, 0)
    run("24 px", 0, 2.0)
    run("32 px", 0, 80.0)
    assert run.steps.take() == (7, 0)


def test_a_program_whose_second_step_is_in_a_later_epoch_counts_in_the_earlier_one(run):
    run("last batch", 0, 5.0)
    run("last batch", 1, 1.0)
    assert run.steps.take() == (0, 4)


def test_a_later_program_is_compared_with_the_last_second_step_at_once_and_corrected_by_its_own(run):
    run("whole", 0, 50.0)
    run("whole", 0, 3.0)
    assert run.steps.take() == (47, 0)
    run("last batch", 0, 9.0)
    assert run.steps.take() == (6, 0)
    run("last batch", 1, 2.0)
    assert run.steps.take() == (0, 1)
    run("larger", 1, 8.0)
    assert run.steps.take() == (6, 0)
    run("larger", 1, 7.0)
    assert run.steps.take() == (-5, 0), "it is slower by itself"


def test_a_first_step_that_was_faster_counts_nothing_and_one_that_stays_alone_neither(run):
    run("fast", 0, 1.0)
    run("alone", 0, 30.0)
    run("fast", 0, 2.0)
    assert run.steps.take() == (0, 0)


def test_after_a_move_only_steps_that_follow_it_count(run):
    run("known", 0, 5.0)
    run("known", 0, 1.0)
    run("once", 0, 5.0)
    run.steps.forget()
    run("once", 0, 2.0)
    run("known", 0, 60.0)
    run("known", 0, 1.0)
    run("once", 0, 1.5)
    assert run.steps.take() == (0.5, 0)


def test_it_waits_for_the_device_around_two_steps_of_each_program_only(clock):
    steps = StepClock(torch.device("cuda"))
    for number in range(20):
        steps.run(number % 2, 0, lambda: None)
    assert clock.waits == 8


def test_a_step_that_fails_is_not_a_first_one(run):
    with pytest.raises(ZeroDivisionError):
        run.steps.run("program", 0, lambda: 1 / 0)
    run("program", 0, 4.0)
    run("program", 0, 1.0)
    assert run.steps.take() == (3, 0)
