"""Forked commands end as they should, and calls in a fresh process return or are reported dead."""

import os
import signal
import time

import pytest

from benchmarks.drills.processes import ChildDied, Failpoints, run_forked, run_isolated
from engine.common.errors import EngineError


def refuse(words):
    raise EngineError(f"{words[0]} is bad: take another")


def crash(words):
    raise KeyError("x")


def sleep(words):
    time.sleep(60)


def forked_commands(place):
    """The results of small commands; for a process that may fork."""
    place.mkdir()
    log = place / "log"
    stopped = Failpoints("there", 2)

    def twice(words):
        print("begun")
        stopped.reach("there")
        stopped.reach("there")

    return {"refuse": run_forked(refuse, ["a"], log), "crash": run_forked(crash, [], log),
            "fine": run_forked(lambda words: 0, [], log),
            "hangs": run_forked(sleep, [], log, limit_s=0.2), "late": run_forked(sleep, [], log, kill_after_s=0.1),
            "there": run_forked(twice, [], log, stopped),
            "term": run_forked(lambda words: Failpoints("x", 1, signal.SIGTERM).reach("x"), [], log)}


@pytest.mark.slow("processes are forked from one that imports torch and FFCV first")
def test_forked_commands_end_as_they_should(tmp_path):
    found = run_isolated(forked_commands, tmp_path / "commands", limit_s=60)
    assert found["refuse"].status == 2 and found["refuse"].error == "error: a is bad: take another"
    assert found["crash"].status == 1 and found["crash"].error == "" and "KeyError: 'x'" in found["crash"].output
    assert (found["fine"].status, found["fine"].point, found["fine"].output) == (0, "ended", "")
    assert found["hangs"].status == -9 and found["hangs"].hung
    assert found["late"].status == -9 and not found["late"].hung and found["late"].seconds < 30
    assert (found["there"].status, found["there"].point, found["there"].output) == (-9, "there", "begun\n")
    assert found["term"].status == -15


def answer(a, b):
    return a * b


def die():
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.slow("processes are forked from one that imports torch and FFCV first")
def test_what_runs_isolated_returns_or_is_reported_dead():
    assert run_isolated(answer, 6, 7, limit_s=60) == 42
    with pytest.raises(ChildDied, match="ended with status -11"):
        run_isolated(die, limit_s=60)
    with pytest.raises(ChildDied, match="TypeError"):
        run_isolated(answer, 6, limit_s=60)
    with pytest.raises(ChildDied, match="not done after 0.5 s"):
        run_isolated(sleep, [], limit_s=0.5)
