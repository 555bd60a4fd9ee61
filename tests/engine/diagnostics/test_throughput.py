"""Timing of the parts, with feeds and steps that only move a clock."""

from contextlib import contextmanager

import pytest
import torch

from engine.diagnostics import throughput
from engine.diagnostics.throughput import endless, hold_and_warm_up, issue_seconds, measure_rates, stepper, timed
from loaders.feeds.stream import Batch

COUNTS = (4, 4, 2)


class Clock:
    """A clock that only moves when work is done."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(throughput.time, "perf_counter", made)
    return made


class Feed:
    """Batches of `counts` images, each takes `seconds`; records them."""

    def __init__(self, clock, seconds, counts=COUNTS):
        self.clock, self.seconds, self.counts, self.given, self.open = clock, seconds, counts, [], 0

    def __len__(self):
        return len(self.counts)

    @contextmanager
    def epoch(self, epoch=0, start=0):
        self.open += 1
        try:
            yield (self._batch(epoch, number) for number in range(start, len(self.counts)))
        finally:
            self.open -= 1

    def _batch(self, epoch, number):
        self.clock.now += self.seconds
        self.given.append((epoch, number))
        images = torch.zeros(self.counts[number], 1, 1, 3)
        return Batch(images, torch.zeros(len(images)), torch.zeros(len(images)))


class Step:
    """A step of `seconds`, in epochs of three; refuses more updates than its schedule has."""

    steps_per_epoch = len(COUNTS)

    def __init__(self, clock, seconds):
        self.clock, self.seconds, self.updates, self.calls = clock, seconds, 0, []

    def __call__(self, images_bhwc, labels, epoch, step):
        assert self.updates < self.steps_per_epoch, "the schedule has ended"
        self.clock.now += self.seconds
        self.updates += 1
        self.calls.append((len(images_bhwc), epoch, step))


def wait():
    """Nothing runs on a device."""


@pytest.mark.parametrize("seconds, used", [(1.0, 4), (0.01, 1)])
def test_timed_counts_the_images_of_at_least_one_batch_after_a_warm_up(clock, seconds, used):
    sizes = []

    def use(batch):
        clock.now += 0.25
        sizes.append(len(batch.labels))

    assert timed(endless(Feed(clock, 0.0, counts=(5,)).epoch), use, seconds, wait) == (20.0, 0.0)
    assert sizes == [5] * (1 + used)


def test_the_time_includes_work_queued_during_it_but_not_before(clock):
    left = [3.0]

    def drain():
        while left:
            clock.now += left.pop()

    def use(batch):
        clock.now += 1.0
        left.append(1.0)

    assert timed(endless(Feed(clock, 0.0, counts=(8,)).epoch), use, 1.0, drain) == (4.0, 0.0)


def test_epochs_follow_each_other_and_are_closed(clock):
    feed = Feed(clock, 0.0)
    batches = endless(feed.epoch)
    assert [len(next(batches).labels) for _ in range(4)] == [4, 4, 2, 4]
    assert feed.given == [(0, 0), (0, 1), (0, 2), (1, 0)] and feed.open == 1
    batches.close()
    assert feed.open == 0


def test_a_stepper_never_runs_past_the_schedule(clock):
    step = Step(clock, 1.0)
    step.updates = 2
    train, feed = stepper(step), Feed(clock, 0.0)
    batches = endless(feed.epoch)
    for _ in range(7):
        train(next(batches))
    assert [call[0] for call in step.calls] == [4, 4, 2, 4, 4, 2, 4]
    assert [call[2] for call in step.calls] == [0, 1, 2, 0, 1, 2, 0] and {call[1] for call in step.calls} == {0}


def test_the_step_sees_every_shape_before_it_is_timed_and_holds_whole_batches_only(clock):
    feed, step = Feed(clock, 1.0), Step(clock, 1.0)
    held = hold_and_warm_up(feed, step, wait)
    assert [len(batch.labels) for batch in held] == [4, 4] and {count for count, *_ in step.calls} == {4, 2}
    assert feed.open == 0


def test_a_feed_of_one_batch_an_epoch_can_be_held(clock):
    held = hold_and_warm_up(Feed(clock, 1.0, counts=(3,)), Step(clock, 1.0), wait)
    assert [len(batch.labels) for batch in held] == [3]


def test_each_part_is_timed_alone_and_the_waiting_of_all_together(clock):
    feed, step, sent = Feed(clock, 2.0), Step(clock, 1.0), []

    def transfer(batch):
        clock.now += 0.5
        sent.append(len(batch.labels))

    held = hold_and_warm_up(feed, step, wait)
    found = measure_rates(feed, step, held, 300.0, transfer, wait)
    # Ten images in three batches: two seconds a batch from the feed, one in the step, one after the other together.
    assert found.feed == pytest.approx(10 / 6, rel=0.05) and found.step == 4.0 and found.transfer == 8.0
    assert found.together == pytest.approx(10 / 9, rel=0.05) and found.waited == pytest.approx(2 / 3)
    assert set(sent) == {4} and feed.open == 0
    assert measure_rates(feed, step, held, 3.0, None, wait).transfer is None


def test_the_best_round_of_each_part_counts(clock):
    class Disturbed(Step):
        """Every step before the clock reaches 100 takes ten times as long."""

        def __call__(self, *arguments):
            clock.now += 9.0 if clock.now < 100 else 0.0
            super().__call__(*arguments)

    feed, step = Feed(clock, 1.0), Disturbed(clock, 1.0)
    held = hold_and_warm_up(feed, step, wait)
    assert measure_rates(feed, step, held, 90.0, None, wait).step == 4.0


def test_issuing_is_timed_one_step_at_a_time_on_an_idle_device(clock):
    waited = []

    def drain():
        waited.append(clock.now)
        clock.now += 5.0

    step, feed = Step(clock, 0.125), Feed(clock, 0.0)
    assert issue_seconds(step, next(endless(feed.epoch)), drain) == 0.125
    assert len(waited) == throughput.ISSUED_STEPS + 1
