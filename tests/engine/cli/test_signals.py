"""Signals are noted between steps; a second one leaves at once, unless it is the first one's echo."""

import os
import signal

import pytest

from engine.cli import parser
from engine.cli.signals import ECHO_S, Interrupted, Signals, noting_ctrl_c


@pytest.fixture
def left(monkeypatch):
    """What os._exit was given."""
    statuses = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    return statuses


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_is_noted_and_raised_when_asked_for(left, number, status):
    with Signals() as signals:
        signals.check()
        signal.raise_signal(number)
        with pytest.raises(Interrupted) as interrupted:
            signals.check()
    assert interrupted.value.status == status and not left


def test_the_second_leaves_at_once_but_an_echo_does_not(left, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("engine.cli.signals.time.monotonic", lambda: now[0])
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        now[0] += ECHO_S
        signal.raise_signal(signal.SIGTERM)
        assert not left and signals.noted == signal.SIGTERM
        now[0] += 0.1
        signal.raise_signal(signal.SIGINT)
        assert left == [130]


def test_afterwards_signals_do_what_they_did():
    before = signal.getsignal(signal.SIGTERM)
    with Signals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_ctrl_c_that_a_library_lost_ends_the_training_that_begins_after_it():
    with noting_ctrl_c() as seen:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert seen == [signal.SIGINT]
        with Signals() as signals, pytest.raises(Interrupted):
            signals.check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with noting_ctrl_c(), Signals() as signals:
        signals.check()


def lost():
    """A library that swallows what Ctrl-C raises."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def turned():
    """A library that makes something else of it."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as interrupt:
        raise ImportError("it did not load") from interrupt


@pytest.mark.parametrize("main", [lost, turned])
def test_a_command_whose_ctrl_c_was_lost_ends_with_130(main, capsys):
    with pytest.raises(SystemExit) as left:
        parser.run_command(main)
    assert left.value.code == 130 and capsys.readouterr().err == "interrupted\n"


def test_without_a_ctrl_c_other_errors_stay_what_they_are():
    with pytest.raises(ImportError):
        parser.run_command(lambda: (_ for _ in ()).throw(ImportError("gone")))
