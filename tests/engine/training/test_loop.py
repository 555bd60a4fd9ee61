"""The loop against feeds and steps that only count: order of epochs, stops, best epoch, and resuming anywhere."""

import itertools
import random
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from engine.cli.signals import Interrupted
from engine.common.step_clock import StepClock
from engine.training import loop as loop_module
from engine.training.criterion import CRITERIA
from engine.training.loop import Loop, Progress, Stops
from engine.training.stages import in_order


class CountingFeed:
    """Two batches an epoch; remembers which it handed out."""

    def __init__(self, batches=2):
        self.batches, self.given, self.open = batches, [], 0

    def __len__(self):
        return self.batches

    @contextmanager
    def epoch(self, epoch, start=0):
        self.open += 1
        try:
            yield (self._batch(epoch, step) for step in range(start, self.batches))
        finally:
            self.open -= 1

    def _batch(self, epoch, step):
        self.given.append((epoch, step))
        return SimpleNamespace(images_bhwc=torch.zeros(4, 1, 1, 3), labels=torch.zeros(4))


class CountingStep:
    """Counts four images a call, all correct, with loss 1."""

    next_rate = 0.1

    def __init__(self, accumulate=1):
        self.accumulate = accumulate
        self.model, self.calls, self.clock = torch.nn.Linear(1, 1), [], StepClock(torch.device("cpu"))
        self.reset_counts()

    def reset_counts(self):
        self.tally = torch.zeros(3, dtype=torch.float64)

    def __call__(self, images, labels, epoch, step):
        self.calls.append((epoch, step))
        self.tally += torch.tensor([4.0, 4.0, 4.0])

    def totals(self):
        loss, correct, count = self.tally.tolist()
        return loss / count, correct / count, int(count)


def make(step, feed, epochs, *, entered=None, modes=None, **options):
    """A loop over stages of the given epochs (a number: one stage), named a, b, c in order."""
    lengths = [epochs] if isinstance(epochs, int) else epochs
    stages = in_order({"name": name, "epochs": length, "lrs": {"*": 0.1}}
                      for name, length in zip("abc", lengths, strict=False))
    return Loop(step, feed, stages, start_stage=(entered if entered is not None else []).append,
                set_modes=(modes if modes is not None else []).append, **options)


def watched(values):
    """A watch that answers with (loss, top1) pairs in turn."""
    turn = iter(values)
    return lambda: SimpleNamespace(**dict(zip(("loss", "top1"), next(turn), strict=True)))


def test_every_batch_of_every_epoch_is_trained_on_once_in_order():
    feed, step = CountingFeed(), CountingStep()
    records = list(make(step, feed, 3).run())
    assert step.calls == feed.given == [(e, s) for e in range(3) for s in range(2)]
    assert [(r.epoch, r.train_loss, r.train_top1) for r in records] == [(0, 1, 1), (1, 1, 1), (2, 1, 1)]
    assert feed.open == 0


def test_seconds_add_up_over_epochs_and_rates_are_the_steps(monkeypatch):
    """A clock that goes on by one at each look: what is between two looks is one second."""
    ticks = itertools.count()
    monkeypatch.setattr("engine.training.loop.time.perf_counter", lambda: float(next(ticks)))
    loop = make(CountingStep(), CountingFeed(), 3)
    records = list(loop.run())
    # Looks: begin, asked, then for each batch one before the step and one after it, then the end.
    assert [record.train_s for record in records] == [6.0] * 3 and loop.progress.train_seconds == 18.0
    # The first batch is waited for between two looks, and so is the second.
    assert [record.feed_wait_s for record in records] == [2.0] * 3
    assert [record.images_per_s for record in records] == [8 / 6] * 3 and records[0].lr == 0.1


def test_an_epoch_left_in_the_middle_keeps_its_seconds(monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("engine.training.loop.time.perf_counter", lambda: float(next(ticks)))

    def leave(loop):
        if loop.progress.steps_done == 1:
            raise Interrupted(15)

    first = make(CountingStep(), CountingFeed(), 1, between_steps=leave)
    with pytest.raises(Interrupted):
        list(first.run())
    # Begin, asked, the batch's arrival, the look before leaving: three seconds.
    assert first.progress.epoch_seconds == 3.0 and first.progress.train_seconds == 0.0
    rest = make(CountingStep(), CountingFeed(), 1)
    rest.seek(Progress(**first.state()))
    [record] = rest.run()
    assert record.train_s == rest.progress.train_seconds == 3.0 + 4.0 and rest.progress.epoch_seconds == 0.0


@pytest.mark.parametrize(("epochs", "accumulate", "last"), [
    (2.5, 1, 2), (2.25, 1, 1), (2.6, 1, 3), (2.99, 1, 4), (2.5, 2, 2), (2.4, 2, 2), (2.4, 3, 3), (2.5, 4, 4),
    (0.25, 1, 1)])
def test_the_last_epoch_ends_with_the_update_that_its_fraction_needs(epochs, accumulate, last):
    feed, step = CountingFeed(4), CountingStep(accumulate)
    loop = make(step, feed, [epochs])
    records = list(loop.run())
    whole = int(epochs)
    assert step.calls == [(e, s) for e in range(whole) for s in range(4)] + [(whole, s) for s in range(last)]
    assert [record.epoch for record in records] == list(range(whole + 1)) and loop.epochs == whole + 1
    assert records[-1].train_loss == 1 and feed.open == 0 and feed.given == step.calls
    assert [loop.steps_in(epoch) for epoch in range(whole + 1)] == [4] * whole + [last]


@pytest.mark.parametrize("left_after", [1, 4, 5, 8, 9])
def test_a_run_that_ends_within_an_epoch_is_left_and_goes_on(left_after):
    whole = CountingStep()
    list(make(whole, CountingFeed(4), [2.5]).run())
    step, saved = CountingStep(), []

    def leave(loop):
        if loop.progress.steps_done == left_after:
            saved.append(loop.state())
            raise Interrupted(15)

    first = make(step, CountingFeed(4), [2.5], between_steps=leave)
    with pytest.raises(Interrupted):
        list(first.run())
    second = make(step, CountingFeed(4), [2.5])
    second.seek(Progress(**saved[0]))
    assert list(second.run())[-1].epoch == 2 and step.calls == whole.calls


def test_the_best_epoch_is_the_highest_top1_and_ties_keep_the_first():
    loop = make(CountingStep(), CountingFeed(), 4, select=True, watch=watched([(2, .5), (3, .7), (4, .7), (5, .6)]))
    assert [(record.is_best, record.watched_loss, record.watched_top1) for record in loop.run()] == [
        (True, 2, .5), (True, 3, .7), (False, 4, .7), (False, 5, .6)]
    assert (loop.progress.best_epoch, loop.progress.best_value) == (1, .7)


def test_nothing_is_best_where_nothing_may_be_chosen():
    loop = make(CountingStep(), CountingFeed(), 2, watch=watched([(1, .5), (1, .7)]))
    assert not any(record.is_best for record in loop.run())


def test_nothing_stops_a_run_that_is_not_asked_to_and_nothing_is_known_of_what_is_not_watched():
    perfect = make(CountingStep(), CountingFeed(), 5, watch=watched([(0, 1.0)] * 5))
    assert len(list(perfect.run())) == 5 and perfect.progress.stopped == ""
    assert perfect.progress.epochs_without_gain == 4
    alone = make(CountingStep(), CountingFeed(), 1)
    assert [(record.watched_loss, record.watched_top1, record.is_best) for record in alone.run()] == [
        (None, None, False)]
    assert alone.last_watched is None
    perfect.seek(Progress())
    assert perfect.last_watched is None


def test_it_stops_at_the_accuracy_asked_for():
    loop = make(CountingStep(), CountingFeed(), 9, watch=watched([(1, .5), (1, .75), (1, .9)]), stops=Stops(top1=.75))
    assert len(list(loop.run())) == 2
    assert "75.00%" in loop.progress.stopped


def test_patience_counts_epochs_without_a_loss_better_by_min_delta():
    losses = [1.0, 0.8, 0.79, 0.78, 0.5]
    stops = Stops(patience=2, min_delta=0.05)
    loop = make(CountingStep(), CountingFeed(), 9, watch=watched([(loss, 0) for loss in losses]), stops=stops,
                select=True, criterion=CRITERIA["loss"])
    assert len(list(loop.run())) == 4
    assert loop.progress.patience_value == 0.8
    # The best epoch is the best, by however little.
    assert (loop.progress.best_epoch, loop.progress.best_value) == (3, 0.78)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_never_better(bad):
    loop = make(CountingStep(), CountingFeed(), 9, watch=watched([(bad, 0)] * 9), stops=Stops(patience=3),
                select=True, criterion=CRITERIA["loss"])
    assert not any(record.is_best for record in loop.run())
    assert loop.progress.epoch == 3 and loop.progress.best_epoch == -1


# Loss rises from the first epoch on while top-1 rises too, as where a network grows too sure of itself.
OVERCONFIDENT = [(1.0, 0.50), (1.1, 0.55), (1.2, 0.60), (1.3, 0.65), (1.4, 0.70), (1.5, 0.71)]


@pytest.mark.parametrize(("name", "best_epoch", "epochs"), [("loss", 0, 4), ("top1", 5, 6)])
def test_one_criterion_chooses_the_best_epoch_and_runs_out_of_patience(name, best_epoch, epochs):
    loop = make(CountingStep(), CountingFeed(), 6, watch=watched(OVERCONFIDENT), select=True, stops=Stops(patience=3),
                criterion=CRITERIA[name])
    assert len(list(loop.run())) == epochs and loop.progress.best_epoch == best_epoch
    assert loop.progress.stopped == ("no better loss for 3 epochs" if name == "loss" else "")


@pytest.mark.parametrize("name", sorted(CRITERIA))
@pytest.mark.parametrize("seed", range(20))
def test_best_epoch_and_patience_are_those_of_a_plain_search(name, seed):
    generator, patience = random.Random(seed), 4
    values = [generator.choice([0.2, 0.4, 0.6, generator.random(), float("nan")]) for _ in range(30)]
    # Plainly: the first of the best values up to the end, which is `patience` epochs after the first best so far.
    sign, best, end = 1 if name in ("top1", "top5") else -1, None, 30
    for epoch, value in enumerate(values):
        if value == value and (best is None or sign * value > sign * values[best]):
            best = epoch
        if epoch - (-1 if best is None else best) >= patience:
            end = epoch + 1
            break
    results = iter([SimpleNamespace(**{"loss": 1.0, "top1": 0.0, name: value}) for value in values])
    loop = make(CountingStep(), CountingFeed(), 30, watch=lambda: next(results), select=True, criterion=CRITERIA[name],
                stops=Stops(patience=patience))
    marks = [record.epoch for record in loop.run() if record.is_best]
    assert loop.progress.epoch == end and loop.progress.best_epoch == (-1 if best is None else best)
    assert marks[-1:] == ([] if best is None else [best]) and bool(loop.progress.stopped) == (end < 30)


@pytest.mark.parametrize("stop_after", range(1, 7))
def test_a_run_left_after_any_step_goes_on_to_the_same_records(stop_after):
    whole = list(make(CountingStep(), CountingFeed(), 3).run())

    def leave(loop):
        if loop.progress.steps_done == stop_after:
            raise Interrupted(15)

    first, records = CountingStep(), []
    loop = make(first, CountingFeed(), 3, between_steps=leave)
    with pytest.raises(Interrupted):
        records += list_into(records, loop)
    assert loop.feed.open == 0
    second = CountingStep()
    rest = make(second, CountingFeed(), 3)
    rest.seek(Progress(**loop.state()))
    records += list(rest.run())
    assert first.calls + second.calls == [(e, s) for e in range(3) for s in range(2)]
    assert [(r.epoch, r.train_loss, r.train_top1) for r in records] == \
        [(r.epoch, r.train_loss, r.train_top1) for r in whole]


@pytest.mark.parametrize("stop_after", range(1, 7))
def test_the_seconds_of_a_run_left_after_any_step_are_those_of_one_that_is_not(stop_after, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop_module, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    class SlowFeed(CountingFeed):
        """A batch takes 2 s more than the one before it."""

        def _batch(self, epoch, step):
            clock.now += 2 * (2 * epoch + step + 1)
            return super()._batch(epoch, step)

    class SlowStep(CountingStep):
        """A batch takes 0.5 s."""

        def __call__(self, *batch):
            clock.now += 0.5
            super().__call__(*batch)

    def leave(loop):
        if loop.progress.steps_done == stop_after:
            raise Interrupted(15)

    loop, records = make(SlowStep(), SlowFeed(), 3, between_steps=leave), []
    with pytest.raises(Interrupted):
        list_into(records, loop)
    clock.now += 1_000
    rest = make(SlowStep(), SlowFeed(), 3)
    rest.seek(Progress(**loop.state()))
    records += list(rest.run())
    assert [(record.feed_wait_s, record.train_s) for record in records] == [(6, 7), (14, 15), (22, 23)]
    assert rest.progress.train_seconds == 45


def test_compiling_is_counted_apart_in_the_epoch_where_it_was_and_in_the_total(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("engine.training.loop.time.perf_counter", lambda: clock.now)

    class CompiledStep(CountingStep):
        """A batch takes 1 s, and 30 s more the first time; the last batch has a program of its own, as of epoch 1."""

        def __call__(self, images, labels, epoch, step):
            program, began = ("last" if step == 2 and epoch else "whole"), len(self.calls)
            seconds = 1 + 30 * (program not in {name for name, _ in self.calls})
            self.clock.run(program, epoch, lambda: setattr(clock, "now", clock.now + seconds))
            super().__call__(images, labels, epoch, step)
            self.calls[began:] = [(program, epoch)]

    loop = make(CompiledStep(), CountingFeed(3), 3)
    records = list(loop.run())
    assert [record.train_s for record in records] == [3, 3, 3]
    assert (loop.progress.train_seconds, loop.progress.compile_seconds) == (9, 60)


def test_stages_are_entered_in_order_once_each_and_modes_are_set_before_each_epoch():
    step, entered, modes = CountingStep(), [], []
    records = list(make(step, CountingFeed(), [2, 1, 3], entered=entered, modes=modes).run())
    assert [record.epoch for record in records] == list(range(6))
    assert step.calls == [(e, s) for e in range(6) for s in range(2)]
    assert [stage.name for stage in entered] == ["a", "b", "c"]
    assert [stage.name for stage in modes] == ["a", "a", "b", "c", "c", "c"]


def test_patience_starts_anew_with_each_stage_and_the_best_loss_stays():
    losses = [1.0, 2.0, 2.0, 2.0, 2.0, 0.5, 0.6, 0.6, 0.6]
    by_loss = {"stops": Stops(patience=3), "criterion": CRITERIA["loss"]}
    by_stage = make(CountingStep(), CountingFeed(), [3, 2, 4], watch=watched([(loss, 0) for loss in losses]), **by_loss)
    assert len(list(by_stage.run())) == 9 and by_stage.progress.stopped == "no better loss for 3 epochs"
    assert by_stage.progress.patience_value == 0.5
    whole = make(CountingStep(), CountingFeed(), 9, watch=watched([(loss, 0) for loss in losses]), **by_loss)
    assert len(list(whole.run())) == 4


@pytest.mark.parametrize("left_after", range(7))
def test_a_staged_run_left_between_epochs_goes_on_to_the_same_end(left_after):
    losses = [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]

    def staged():
        loop = make(CountingStep(), CountingFeed(), [2, 2, 3], stops=Stops(patience=3), criterion=CRITERIA["loss"],
                    watch=lambda: SimpleNamespace(loss=losses[loop.progress.epoch], top1=0))
        return loop

    whole, first, rest = staged(), staged(), staged()
    epochs = [record.epoch for record in whole.run()]
    done = [record.epoch for record in itertools.islice(first.run(), left_after)]
    rest.seek(Progress(**first.state()))
    assert rest.stage == first.stage
    assert done + [record.epoch for record in rest.run()] == epochs
    assert {**rest.progress.__dict__, "train_seconds": 0} == {**whole.progress.__dict__, "train_seconds": 0}


def list_into(records, loop):
    for record in loop.run():
        records.append(record)
    return []
