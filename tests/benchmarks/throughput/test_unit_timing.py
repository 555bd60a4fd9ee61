"""Units of steps on a fake clock: what is measured, what is not, and the seconds per image."""

from contextlib import contextmanager

import pytest
import torch

from benchmarks.common.timing import Timings
from benchmarks.throughput import unit_timing
from benchmarks.throughput.unit_timing import Contender

START_S, BATCH_S, STEP_S = 0.5, 0.125, 0.25


class World:
    """A clock that only moves by work: opening an epoch, making a batch, a step, sleeping."""

    def __init__(self):
        self.now, self.slept, self.opened, self.closed, self.steps = 0.0, [], [], [], []
        self.first_extra_s = 0.0

    def perf_counter(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    @contextmanager
    def epoch(self, batches, number):
        self.now += START_S
        self.opened.append(number)

        def made():
            for batch in range(batches):
                self.now += BATCH_S
                yield batch

        yield made()
        self.closed.append(number)

    def step(self, batch, epoch, index):
        assert batch == index
        self.now += STEP_S + (self.first_extra_s if not self.steps else 0.0)
        self.steps.append((epoch, index))


@pytest.fixture
def world(monkeypatch):
    planted = World()
    monkeypatch.setattr(unit_timing, "time", planted)
    threads, tunes = torch.get_num_threads(), torch.backends.cudnn.benchmark
    yield planted
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = tunes


def contender(world, batches, **options):
    options = {"batch": 10, "images": 10 * batches, "ahead": 2, "device": torch.device("cpu"), "threads": 1,
               "tunes": False, "facts": {}} | options
    return Contender("ours", lambda number: world.epoch(batches, number), world.step, **options)


def test_in_a_long_epoch_a_unit_is_steps_plus_their_share_of_the_start(world):
    way = contender(world, 1000, images=10_004)
    way.prepare(3.0)
    assert way.steps == 8 and way.epochs == 0 and way.start_s == pytest.approx(START_S + BATCH_S)
    done = len(world.steps)
    found = Timings(tuple(way.unit() for _ in range(3)))
    assert found.values == pytest.approx([8 * (BATCH_S + STEP_S)] * 3)
    # In each unit the batches made ahead are used up first.
    assert len(world.steps) - done == 3 * (2 + 8)
    image_s = (BATCH_S + STEP_S) / 10 + (START_S + BATCH_S) / 10_004
    assert way.image_seconds(found).values == pytest.approx([image_s] * 3)
    assert way.timed == "8 steps a time, an epoch's start (0.625 s) added by its share"


def test_after_a_unit_its_loaders_get_time_to_finish(world):
    way = contender(world, 1000)
    way.prepare(3.0)
    world.slept.clear()
    way.unit()
    assert world.slept == pytest.approx([2 * (BATCH_S + STEP_S)])


def test_a_unit_continues_its_epoch_and_never_enters_the_next(world):
    way = contender(world, 40)
    way.prepare(3.0)
    for _ in range(12):
        began, seconds = len(world.steps), way.unit()
        epochs = {epoch for epoch, _ in world.steps[began:]}
        assert len(epochs) == 1 and seconds == pytest.approx(8 * (BATCH_S + STEP_S))
    opened = world.opened
    assert opened == list(range(len(opened))) and world.closed == opened[:-1]
    assert len(opened) < 12, "an epoch of 40 steps holds several units"
    way.close()
    assert world.closed == opened


def test_short_epochs_are_timed_whole_with_their_starts_and_their_last_batch(world):
    way = contender(world, 5, images=43)
    way.prepare(4.0)
    assert way.whole_batches == 4 and way.epochs == 2
    began, opened = len(world.steps), len(world.opened)
    seconds = way.unit()
    assert seconds == pytest.approx(2 * (START_S + 5 * (BATCH_S + STEP_S)))
    assert len(world.steps) - began == 10 and len(world.opened) - opened == 2 and world.opened == world.closed
    assert way.image_seconds(Timings((seconds,))).values == pytest.approx([seconds / (2 * 43)])
    assert way.timed == "2 whole epochs a time"


def test_batches_without_end_have_no_starts(world):
    way = contender(world, 10_000, batch=4, images=None, ahead=0)
    way.prepare(1.5)
    assert way.steps == 4 and world.opened == [0] and way.start_s == 0.0
    assert way.image_seconds(Timings((3.0,))).values == pytest.approx([3.0 / 16])
    assert way.timed == "4 steps a time"


def test_the_first_step_is_charged_with_the_first_steps_extra_time(world):
    world.first_extra_s = 30.0
    way = contender(world, 1000)
    way.prepare(3.0)
    assert way.first_step_s == pytest.approx(30.0 + STEP_S) and way.step_s == pytest.approx(BATCH_S + STEP_S)


def test_each_turn_has_its_own_threads(world):
    seen = []
    ways = [contender(world, 1000, threads=threads, tunes=threads == 2) for threads in (1, 2)]
    for way in ways:
        way.step = lambda *_: seen.append((torch.get_num_threads(), torch.backends.cudnn.benchmark))
        way.steps = 1
        way.unit()
    assert set(seen[:3]) == {(1, False)} and set(seen[3:]) == {(2, True)}
