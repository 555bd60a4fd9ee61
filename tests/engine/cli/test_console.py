"""The screen in a pipe: plain lines, no bars and no escape codes; the gauge and the closing table."""

import errno
import io
import os
from types import SimpleNamespace

import pytest
import torch

from engine.cli.console import LossGauge, Screen


def record(**changed):
    return SimpleNamespace(**{"epoch": 0, "lr": 0.1, "train_loss": 1.5, "train_top1": 0.25, "watched_loss": 1.25,
                              "watched_top1": 0.5, "train_s": 2.0, "images_per_s": 1000.0, "is_best": False} | changed)


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
        screen.epoch_starts(0, 1, 10)
        screen.step(0, 1, 1, 10, torch.ones(3), 4)

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
