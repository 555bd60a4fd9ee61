"""What counts as refused, survived or lost; and every row of the fault table, of which nothing may be lost."""

import os
import signal

import pytest

from benchmarks.drills.damage import Skip
from benchmarks.drills.processes import ProcessResult
from benchmarks.drills.table import Checks, check_row, row_of, title
from benchmarks.faults import TABLE
from engine.common.errors import EngineError


def ended(status, said, seconds=0.1):
    return ProcessResult(status, said, "ended", seconds, False)


def test_checks_are_counted_by_their_outcomes():
    checks = Checks()

    def line():
        raise EngineError("x=1 is bad")

    def lines():
        raise EngineError("x=1\nis bad")

    checks.refuses(line, "x=1")
    checks.survives(lambda: True)
    checks.bears(line)
    checks.bears(lambda: None)
    checks.refuses(ended(2, "warned\nerror: no\n"), "no")
    checks.survives(ended(0, "fine"), True, "fine")
    assert (checks.tried, checks.refused, checks.survived, checks.lost) == (6, 3, 3, [])
    checks.refuses(line, "y=1")
    checks.refuses(lines)
    checks.refuses(lambda: 3)
    checks.refuses(lambda: 1 / 0)
    checks.survives(lambda: False)
    checks.survives(line)
    checks.bears(lines)
    checks.bears(lambda: 1 / 0)
    checks.refuses(ended(1, "Traceback (most recent call last):"))
    checks.refuses(ended(2, "error: a\nerror: b\n"))
    checks.refuses(ended(0, ""))
    checks.survives(ended(0, "fine"), False)
    checks.survives(ended(-11, ""))
    assert (checks.tried, checks.refused, checks.survived, len(checks.lost)) == (19, 3, 3, 13)


def good_row(checks, place):
    """something good. And more of it"""
    checks.survives(lambda: place.is_dir())


def dying_row(checks, place):
    """something that dies"""
    os.kill(os.getpid(), signal.SIGSEGV)


def slow_row(checks, place):
    """something slow"""
    checks.survives(ended(0, "", seconds=6.0))


def skipped_row(checks, place):
    """something that is not there"""
    raise Skip("no such thing")


@pytest.mark.slow("processes are forked from one that imports torch and FFCV first")
def test_rows_that_die_or_are_slow_are_lost_and_some_are_skipped(tmp_path):
    good, dying, slow, skipped = (check_row(row, tmp_path / row.__name__) for row in
                                  (good_row, dying_row, slow_row, skipped_row))
    assert title(good_row) == "something good. And more of it"
    assert (good.tried, good.survived, good.lost) == (1, 1, [])
    assert dying.lost == ["it ended with status -11"] and slow.lost == ["a try took 6.0 s"]
    assert skipped.skipped == "no such thing" and not skipped.lost
    row = row_of("fault: x", dying)
    assert (row["name"], row["lost"], row["how_lost"]) == ("fault: x", 1, ["it ended with status -11"])


@pytest.mark.slow("each row runs in a process of its own, and most train small runs there")
@pytest.mark.parametrize("row", TABLE, ids=title)
def test_the_fault_loses_nothing(row, tmp_path):
    checks = check_row(row, tmp_path / "row")
    if checks.skipped:
        pytest.skip(checks.skipped)
    assert not checks.lost
    assert checks.tried == checks.refused + checks.survived > 0
