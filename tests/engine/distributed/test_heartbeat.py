"""Signs of life, exchanged and judged without threads or waiting; in processes see process_group_checks.py."""

import threading

import pytest
from torch.distributed import TCPStore

from engine.distributed.heartbeat import Heartbeat
from engine.distributed.torchrun import Ranks

TIMEOUT_S = 10.0


@pytest.fixture
def make():
    """A function that makes the heartbeat of a rank; all share a store."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    return lambda rank, ranks=2, on_loss=None, timeout_s=TIMEOUT_S: Heartbeat(
        store, Ranks(rank, ranks, rank, ranks), timeout_s, on_loss or pytest.fail)


def seconds(heart, count, other=None):
    """Whether the other is lost after so many seconds, in each of which `other` leaves a sign."""
    lost = False
    for _ in range(count):
        if other:
            other.exchange()
        heart.exchange()
        lost = lost or heart.lost(1.0)
    return lost


def test_one_that_gives_signs_is_never_lost_and_one_that_stops_is_after_the_time_out(make):
    heart, other = make(0), make(1)
    assert not seconds(heart, 100, other)
    assert not seconds(heart, 10) and seconds(heart, 1)
    # It was only slow to be seen.
    assert not seconds(heart, 10, other)


def test_one_that_never_gave_a_sign_is_lost(make):
    heart = make(0)
    assert not seconds(heart, 10) and seconds(heart, 1)


def test_one_that_left_is_not_lost(make):
    heart, other = make(0), make(1)
    other.exchange()
    other.leave()
    assert not seconds(heart, 100)


def test_a_process_that_was_suspended_does_not_count_the_time(make):
    heart, other = make(0), make(1)
    assert not seconds(heart, 3, other)
    assert not heart.lost(3_600.0)
    assert not seconds(heart, 7)


def test_each_process_is_watched_by_the_one_before_it(make):
    hearts = [make(rank, 3) for rank in range(3)]
    for heart in hearts:
        heart.exchange()
    lost = [False] * 3
    for _ in range(12):
        for rank, heart in enumerate(hearts):
            if rank != 2:
                heart.exchange()
                lost[rank] = lost[rank] or heart.lost(1.0)
    assert lost == [False, True, False]


def test_the_threads_tell_of_a_loss_and_leaving_of_none(make):
    lost = threading.Event()
    with make(0, on_loss=lost.set, timeout_s=0.1):
        assert lost.wait(60)
    with make(1):
        pass
    heart = make(0)
    heart.exchange()
    assert not heart.lost(1e9) and heart.seen == b"left"


def test_one_that_ends_by_an_error_has_not_left(make):
    with pytest.raises(ZeroDivisionError), make(1):
        raise ZeroDivisionError
    assert seconds(make(0), 11)
