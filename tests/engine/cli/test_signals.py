"""Signals are noted between steps; a second one ends the process at once, unless it is an echo of the first."""

import os
import signal
import threading

import pytest

from engine.cli import parser
from engine.cli.signals import ECHO_S, Interrupted, Signals, noting_ctrl_c


@pytest.fixture
def left(monkeypatch):
    """The statuses that os._exit was given."""
    statuses = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    return statuses


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130),
                                               (signal.SIGHUP, 129), (signal.SIGUSR1, 138), (signal.SIGUSR2, 140)])
def test_the_first_signal_is_noted_and_raised_by_check(left, number, status):
    with Signals() as signals:
        signals.check()
        signal.raise_signal(number)
        with pytest.raises(Interrupted) as interrupted:
            signals.check()
    assert interrupted.value.status == status and not left


def test_the_second_signal_ends_the_process_but_an_echo_does_not(left, monkeypatch):
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


def test_afterwards_the_former_handlers_are_back():
    before = signal.getsignal(signal.SIGTERM)
    with Signals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_ctrl_c_that_a_library_lost_ends_the_training_that_starts_after_it():
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
    """A library that swallows the KeyboardInterrupt."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def converted():
    """A library that turns it into an error of its own."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as interrupt:
        raise ImportError("it did not load") from interrupt


@pytest.mark.parametrize("main", [lost, converted])
def test_a_command_whose_ctrl_c_was_lost_ends_with_130(main, capsys):
    with pytest.raises(SystemExit) as left:
        parser.run_command(main)
    assert left.value.code == 130 and capsys.readouterr().err == "interrupted\n"


def test_without_a_ctrl_c_other_errors_are_raised():
    with pytest.raises(ImportError):
        parser.run_command(lambda: (_ for _ in ()).throw(ImportError("gone")))


def test_an_ignored_signal_stays_ignored():
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signal.raise_signal(signal.SIGHUP)
            signals.check()
    finally:
        signal.signal(signal.SIGHUP, former)


def test_a_thread_notes_no_signals_and_may_train():
    failed = []

    def act():
        try:
            with noting_ctrl_c(), Signals() as signals:
                signals.check()
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert not failed
