"""The parts of the fault drill: what it plans, counts and judges; it must notice what is lost, hangs or dies."""

import json
import os
import signal
import time
from collections import Counter

import pytest

from benchmarks import faults
from benchmarks.drills import kills
from benchmarks.drills.damage import Skip
from benchmarks.drills.hooks import SplitWriter, kind_of
from benchmarks.drills.kills import Kill, Reference, Trial
from benchmarks.drills.processes import ChildDied, Failpoints, ProcessResult, run_forked, run_isolated
from benchmarks.drills.table import Checks, check_row, row_of, title
from engine.common.errors import EngineError

REFERENCE = Reference("w", 2.0, ("starting", "beton, half", "step", "checkpoint, half", "checkpoint, before fsync",
                                 "step", "checkpoint, half", "checkpoint, before fsync"))


def test_of_ten_kills_three_are_in_checkpoints_and_two_in_betons():
    plan = kills.plan(200, seed=0)
    assert Counter(kill.kind for kill in plan) == {"checkpoint": 60, "beton": 40, "time": 100}
    assert plan == kills.plan(200, seed=0) != kills.plan(200, seed=1)
    assert all(0 <= kill.share < 1 for kill in plan) and len({kill.share for kill in plan}) == 200


def test_a_reference_counts_each_time_that_a_failpoint_is_reached():
    assert REFERENCE.moments("checkpoint") == [("checkpoint, half", 1), ("checkpoint, before fsync", 1),
                                            ("checkpoint, half", 2), ("checkpoint, before fsync", 2)]
    assert REFERENCE.moments("step") == [("step", 1), ("step", 2)] and REFERENCE.moments("none") == []


def trial(place, weights="w"):
    return Trial(place, 2, weights, "said")


def test_landings_are_counted_by_kind_and_losses_by_weights():
    trials = [trial("checkpoint, half"), trial("checkpoint, after rename", None), trial("beton, half"), trial("step"),
              trial("working", "other"), trial("starting"), trial(None)]
    assert kills.landings(trials) == {"checkpoint": 2, "elsewhere": 2, "beton": 1, "step": 1}
    assert kills.lost(trials, REFERENCE) == [trials[1], trials[4]]


def test_too_few_kills_inside_writes_or_at_all_are_reported():
    assert kills.too_few([trial("checkpoint, half")] + [trial("step")] * 3) == ""
    assert "only 1 of 5 kills landed inside a write, 1.25" in kills.too_few(
        [trial("beton, half")] + [trial("step")] * 4)
    assert "only 3 of 4 kills came before" in kills.too_few([trial("beton, half")] * 3 + [trial(None)])


def test_a_kill_that_came_too_late_is_repeated_earlier(monkeypatch, tmp_path):
    asked = []

    def apart(function, reference, kill, *rest, limit_s):
        asked.append(kill.share)
        return trial(None if len(asked) < 3 else "step")

    monkeypatch.setattr(kills, "run_isolated", apart)
    [found] = kills.drill([Kill("time", 0.9)], REFERENCE, tmp_path, tmp_path, 1)
    assert found.point == "step" and asked == pytest.approx([0.9, 0.45, 0.225])


@pytest.mark.parametrize(("path", "kind"), [
    ("r/checkpoints/last.pt", "checkpoint"), ("r/checkpoints/.last.pt.12.part", "checkpoint"),
    ("r/checkpoints/last.previous.pt", "checkpoint"), ("c/cache/.a.beton.0a.part", "beton"),
    ("c/cache/a.json", "beton"),
    ("r/config.yaml", ""), ("r/summary.json", ""), ("r/checkpoints", "")])
def test_files_are_told_apart_by_name(path, kind):
    assert kind_of(path) == kind


def test_a_write_in_two_halves_writes_the_same_bytes(tmp_path):
    failpoints = Failpoints(trail=tmp_path / "trail")
    with SplitWriter(open(tmp_path / "a", "wb"), "checkpoint", failpoints) as file:
        assert file.write(b"abcde") == 5 and file.write(memoryview(b"f")) == 1
    assert (tmp_path / "a").read_bytes() == b"abcdef"
    assert (tmp_path / "trail").read_text().splitlines() == ["starting", "checkpoint, half", "checkpoint, half"]


def refuse(words):
    raise EngineError(f"{words[0]} is bad: take another")


def crash(words):
    raise KeyError("x")


def sleep(words):
    time.sleep(60)


def forked_commands(place):
    """The ends of small commands; for a process that may fork."""
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
    die()


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


def row(name, lost=0, **more):
    return {"name": name, "tried": 3, "refused": 1, "survived": 2 - lost, "lost": lost, "how_lost": ["so"] * lost,
            "skipped": "", **more}


def test_the_command_shows_the_rows_and_fails_where_something_was_lost(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(faults, "kill_rows", lambda trials, seed, place: [row("kills", landed={"step": trials})])
    monkeypatch.setattr(faults, "TABLE", ())
    monkeypatch.setattr(faults, "fuzz_rows", lambda count, place: [row(f"fuzz {count}")])
    file = tmp_path / "rows.json"
    assert faults.main(["--trials", "10", "--fuzz", "20", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())
    assert [(row["name"], row["lost"]) for row in rows] == [("kills", 0), ("fuzz 20", 0)]
    assert rows[0]["command"] == "python -m benchmarks.faults --trials 10 --fuzz 20" and rows[0]["environment"]
    assert "10 step" in capsys.readouterr().out
    monkeypatch.setattr(faults, "fuzz_rows", lambda count, place: [row("fuzz", lost=1)])
    assert faults.main(["--parts", "fuzz"]) == 1
    assert "LOST  fuzz: so" in capsys.readouterr().out


@pytest.mark.parametrize(("own", "control", "status"), [("w", None, [0, 0]), (None, None, [10, 0]), ("w", "w", [0, 1])])
def test_a_drill_that_loses_or_a_control_that_loses_nothing_fails(own, control, status, monkeypatch, tmp_path):
    monkeypatch.setattr(faults, "run_isolated", lambda *_, **__: REFERENCE)

    def drill(planned, reference, place, cache, workers, prepare=None, on_trial=None):
        return [trial("checkpoint, half", own if prepare is None else control) for _ in planned]

    monkeypatch.setattr(kills, "drill", drill)
    assert [row["lost"] for row in faults.kill_rows(10, 0, tmp_path)][:2] == status


@pytest.mark.parametrize(("words", "said"), [
    (["--trials", "9"], "--trials=9 must be 10 or more"), (["--fuzz", "0"], "--fuzz=0 must be"),
    (["--parts", "kills,x"], "--parts=kills,x must be one or more of kills,table,fuzz")])
def test_what_makes_no_drill_is_refused(words, said):
    with pytest.raises(EngineError, match=said):
        faults.main(words)
