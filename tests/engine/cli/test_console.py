"""The screen in a pipe: plain lines, no bars and no escape codes; the gauge and the closing table."""

import errno
import io
import os
from types import SimpleNamespace

import pytest
import torch

from engine.cli import console
from engine.cli.console import LossGauge, Screen


def record(**changed):
    return SimpleNamespace(**{"epoch": 0, "lr": 0.1, "train_loss": 1.5, "train_top1": 0.25, "watched_loss": 1.25,
                              "watched_top1": 0.5, "train_s": 2.0, "images_per_s": 1000.0, "is_best": False} | changed)


class Feed:
    samples, batch = 90, 20

    def __len__(self):
        return 5


class Training:
    """A loop of `epochs` of 90 images in batches of 20, which trains 100 images a second; waits 1,000 s between epochs.

    The first step takes 50 s more.
    """

    def __init__(self, epochs=3, epoch=0, step=0, spent_s=0.0):
        self.epochs, self.feed = epochs, Feed()
        self.step = SimpleNamespace(tally=torch.ones(3))
        self.progress = SimpleNamespace(epoch=epoch, step=step, train_seconds=spent_s, epoch_seconds=step * 0.2)
        self.compiling_s = 50.0

    def steps_in(self, epoch):
        return len(self.feed)

    def run(self, screen, clock, steps):
        """Train so many steps and show each."""
        progress = self.progress
        for _ in range(steps):
            if progress.step == 5:
                progress.train_seconds += progress.epoch_seconds
                progress.epoch, progress.step, progress.epoch_seconds = progress.epoch + 1, 0, 0.0
                clock.now += 1_000
            took_s = (10 if progress.step == 4 else 20) / 100 + self.compiling_s
            progress.step, progress.epoch_seconds = progress.step + 1, progress.epoch_seconds + took_s
            clock.now, self.compiling_s = clock.now + took_s, 0.0
            screen.step(self)


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=5_000.0)
    monkeypatch.setattr(console.time, "perf_counter", lambda: clock.now)
    return clock


@pytest.fixture
def details(monkeypatch):
    """What the bar says beside its count, from a screen on a terminal that is refreshed by each step."""
    shown = []
    monkeypatch.setattr(console, "REFRESH_S", 0.0)
    monkeypatch.setattr(Screen, "_bar", lambda screen, title, done, total, detail: shown.append((title, done, detail)))
    return shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(use):
    stream = io.StringIO()
    with Screen(stream) as screen:
        use(screen)
    return stream.getvalue()


def test_an_epoch_is_a_line():
    text = shown(lambda screen: screen.epoch_row(record(is_best=True), 10, "validation"))
    assert text == ("epoch   1/10  lr 0.100000  loss 1.5000  top-1  25.00%  validation loss 1.2500 top-1  50.00%  "
                    "1,000 images/s 2.0 s  best\n")


def test_an_epochs_wall_seconds_stand_beside_those_of_its_training():
    assert "1,000 images/s 2.0 s (wall 2.6 s)\n" in shown(
        lambda screen: screen.epoch_row(record(), 10, "validation", 2.6))


def test_an_epoch_without_evaluation_has_no_columns_for_it():
    text = shown(lambda screen: screen.epoch_row(record(watched_top1=None, watched_loss=None), 10, "none"))
    assert "none" not in text and "best" not in text


def test_names_and_paths_are_shown_as_they_are():
    def use(screen):
        screen.say("[a] :cat:")
        screen.table("[t]", [("[red]", "runs/[/b]"), ("x", ":dog:")])

    text = shown(use)
    assert all(part in text for part in ("[a] :cat:", "[t]", "[red]", "runs/[/b]", ":dog:"))


def test_a_pipe_gets_no_bars():
    def use(screen):
        screen.writing(1, 2)
        screen.starts(Training())
        screen.step(Training())

    assert shown(use) == ""


def test_markup_in_a_folders_name_is_shown_as_it_is():
    assert shown(lambda screen: screen.say("runs/[bold]x")) == "runs/[bold]x\n"


def test_the_table_has_every_row():
    text = shown(lambda screen: screen.table("title", [("a", "1"), ("run folder", "/x" * 40)]))
    assert "title" in text and "a" in text and "/x" * 40 in text


def test_the_gauge_is_the_mean_loss():
    assert LossGauge().read(torch.tensor([6.0, 1.0, 4.0], dtype=torch.float64)) == pytest.approx(1.5)
    assert LossGauge().read(torch.zeros(3, dtype=torch.float64)) == 0.0


@pytest.mark.parametrize("number", [errno.EIO, errno.EPIPE, errno.ENOSPC])
def test_a_screen_that_nobody_sees_any_more_says_why_and_raises_nothing(number):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(number, os.strerror(number))

    with Screen(Gone()) as screen:
        assert screen.lost == ""
        screen.say("a line")
        screen.table("a table", [("name", "value")])
    assert screen.lost == os.strerror(number)


@pytest.mark.parametrize("start", [{}, {"epoch": 0, "step": 3, "spent_s": 400.0}], ids=["new", "resumed"])
def test_the_bars_rate_is_that_of_the_steps_it_counts_in_every_epoch(clock, details, start):
    screen, training = Screen(Terminal()), Training(**start)
    training.run(screen, clock, 10)
    assert details[0][2] == "loss 1.0000"
    # Neither what was compiled at first, nor evaluations, nor what was before the run was resumed.
    assert [detail for _, _, detail in details[1:]] == ["loss 1.0000  100 images/s"] * 9
    assert details[-1][:2] == (("epoch 3/3", 3) if start else ("epoch 2/3", 5))


def test_the_bars_rate_follows_within_the_window(clock, details):
    screen, training = Screen(Terminal()), Training(epochs=999)
    training.run(screen, clock, 200)
    training.progress.train_seconds += 30.0
    training.run(screen, clock, 1)
    assert int(details[-1][2].split()[-2]) < 20
    training.run(screen, clock, 40)
    assert details[-1][2] == "loss 1.0000  100 images/s"


def test_a_trial_or_a_rollback_starts_the_bars_rate_anew(clock, details):
    screen = Screen(Terminal())
    for _ in range(2):
        Training().run(screen, clock, 7)
    assert [detail for _, _, detail in details] == 2 * ["loss 1.0000", *["loss 1.0000  100 images/s"] * 6]


def test_the_bar_of_another_trial_begins_at_its_first_step():
    screen, training = Screen(Terminal()), Training(epoch=2, step=4)
    screen.starts(training)
    screen.starts(Training(epoch=2, step=1))
    task, = screen.bars.tasks
    assert (task.description, task.completed, task.total) == ("epoch 3/3", 1, 5) and task.start_time is not None
    assert screen.bars.tasks[0].id == 1
