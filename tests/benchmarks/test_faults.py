"""The fault drill's own parts: what it plans, counts and judges; it must notice what is lost, hangs or dies."""

import json
import os
import signal
import time
from collections import Counter

import pytest

from benchmarks import faults
from benchmarks.drills import kills as fault_kills
from benchmarks.drills.child_process import Ended, Watch, live
from benchmarks.drills.fork_server import Died, call_apart
from benchmarks.drills.hooks import Halved, kind_of
from benchmarks.drills.kills import Census, Kill, Trial
from benchmarks.drills.table import Skip, Tries, row_of, title, try_row
from engine.common.errors import EngineError

CENSUS = Census("w", 2.0, ("starting", "beton, half", "step", "checkpoint, half", "checkpoint, before fsync", "step",
                           "checkpoint, half", "checkpoint, before fsync"))


def test_of_ten_kills_three_are_in_checkpoints_and_two_in_betons():
    kills = fault_kills.plan(200, seed=0)
    assert Counter(kill.kind for kill in kills) == {"checkpoint": 60, "beton": 40, "time": 100}
    assert kills == fault_kills.plan(200, seed=0) != fault_kills.plan(200, seed=1)
    assert all(0 <= kill.share < 1 for kill in kills) and len({kill.share for kill in kills}) == 200


def test_the_census_counts_each_passing():
    assert CENSUS.moments("checkpoint") == [("checkpoint, half", 1), ("checkpoint, before fsync", 1),
                                            ("checkpoint, half", 2), ("checkpoint, before fsync", 2)]
    assert CENSUS.moments("step") == [("step", 1), ("step", 2)] and CENSUS.moments("none") == []


def trial(place, weights="w"):
    return Trial(place, 2, weights, "said")


def test_landings_are_counted_by_kind_and_losses_by_weights():
    trials = [trial("checkpoint, half"), trial("checkpoint, after rename", None), trial("beton, half"), trial("step"),
              trial("working", "other"), trial("starting"), trial(None)]
    assert fault_kills.landings(trials) == {"checkpoint": 2, "elsewhere": 2, "beton": 1, "step": 1}
    assert fault_kills.lost(trials, CENSUS) == [trials[1], trials[4]]


def test_too_few_kills_inside_writes_or_at_all_are_told():
    assert fault_kills.too_few([trial("checkpoint, half")] + [trial("step")] * 3) == ""
    assert "only 1 of 5 kills landed inside a write, 1.25" in fault_kills.too_few(
        [trial("beton, half")] + [trial("step")] * 4)
    assert "only 3 of 4 kills came before" in fault_kills.too_few([trial("beton, half")] * 3 + [trial(None)])


def test_a_kill_that_came_too_late_comes_again_earlier(monkeypatch, tmp_path):
    asked = []

    def apart(function, census, kill, *rest, limit_s):
        asked.append(kill.share)
        return trial(None if len(asked) < 3 else "step")

    monkeypatch.setattr(fault_kills, "call_apart", apart)
    [found] = fault_kills.drill([Kill("time", 0.9)], CENSUS, tmp_path, tmp_path, 1)
    assert found.place == "step" and asked == pytest.approx([0.9, 0.45, 0.225])


@pytest.mark.parametrize(("path", "kind"), [
    ("r/checkpoints/last.pt", "checkpoint"), ("r/checkpoints/.last.pt.12.part", "checkpoint"),
    ("r/checkpoints/last.previous.pt", "checkpoint"), ("c/cache/.a.beton.0a.part", "beton"),
    ("c/cache/a.json", "beton"),
    ("r/config.yaml", ""), ("r/summary.json", ""), ("r/checkpoints", "")])
def test_files_are_told_apart_by_name(path, kind):
    assert kind_of(path) == kind


def test_a_write_in_two_halves_writes_the_same_bytes(tmp_path):
    watch = Watch(trail=tmp_path / "trail")
    with Halved(open(tmp_path / "a", "wb"), "checkpoint", watch) as file:
        assert file.write(b"abcde") == 5 and file.write(memoryview(b"f")) == 1
    assert (tmp_path / "a").read_bytes() == b"abcdef"
    assert (tmp_path / "trail").read_text().splitlines() == ["starting", "checkpoint, half", "checkpoint, half"]


def refuse(words):
    raise EngineError(f"{words[0]} is bad: take another")


def crash(words):
    raise KeyError("x")


def sleep(words):
    time.sleep(60)


def lives(place):
    """Lives of small commands, in a process that may fork."""
    place.mkdir()
    log = place / "log"
    stopped = Watch("there", 2)

    def twice(words):
        print("begun")
        stopped.at("there")
        stopped.at("there")

    return {"refuse": live(refuse, ["a"], log), "crash": live(crash, [], log), "fine": live(lambda words: 0, [], log),
            "hangs": live(sleep, [], log, limit_s=0.2), "late": live(sleep, [], log, kill_after_s=0.1),
            "there": live(twice, [], log, stopped),
            "term": live(lambda words: Watch("x", 1, signal.SIGTERM).at("x"), [], log)}


def test_lives_end_as_they_should(tmp_path):
    found = call_apart(lives, tmp_path / "lives", limit_s=60)
    assert found["refuse"].status == 2 and found["refuse"].error == "error: a is bad: take another"
    assert found["crash"].status == 1 and found["crash"].error == "" and "KeyError: 'x'" in found["crash"].said
    assert (found["fine"].status, found["fine"].place, found["fine"].said) == (0, "ended", "")
    assert found["hangs"].status == -9 and found["hangs"].hung
    assert found["late"].status == -9 and not found["late"].hung and found["late"].seconds < 30
    assert (found["there"].status, found["there"].place, found["there"].said) == (-9, "there", "begun\n")
    assert found["term"].status == -15


def answer(a, b):
    return a * b


def die():
    os.kill(os.getpid(), signal.SIGSEGV)


def test_what_runs_apart_answers_or_is_said_to_have_died():
    assert call_apart(answer, 6, 7, limit_s=60) == 42
    with pytest.raises(Died, match="ended with status -11"):
        call_apart(die, limit_s=60)
    with pytest.raises(Died, match="TypeError"):
        call_apart(answer, 6, limit_s=60)
    with pytest.raises(Died, match="not done after 0.5 s"):
        call_apart(sleep, [], limit_s=0.5)


def ended(status, said, seconds=0.1):
    return Ended(status, said, "ended", seconds, False)


def test_tries_are_judged_by_what_they_came_to():
    tries = Tries()

    def line():
        raise EngineError("x=1 is bad")

    def lines():
        raise EngineError("x=1\nis bad")

    tries.refuses(line, "x=1")
    tries.survives(lambda: True)
    tries.bears(line)
    tries.bears(lambda: None)
    tries.command_refuses(ended(2, "warned\nerror: no\n"), "no")
    tries.command_survives(ended(0, "fine"), True, "fine")
    assert (tries.tried, tries.refused, tries.survived, tries.lost) == (6, 3, 3, [])
    tries.refuses(line, "y=1")
    tries.refuses(lines)
    tries.refuses(lambda: 3)
    tries.refuses(lambda: 1 / 0)
    tries.survives(lambda: False)
    tries.survives(line)
    tries.bears(lines)
    tries.bears(lambda: 1 / 0)
    tries.command_refuses(ended(1, "Traceback (most recent call last):"))
    tries.command_refuses(ended(2, "error: a\nerror: b\n"))
    tries.command_refuses(ended(0, ""))
    tries.command_survives(ended(0, "fine"), False)
    tries.command_survives(ended(-11, ""))
    assert (tries.tried, tries.refused, tries.survived, len(tries.lost)) == (19, 3, 3, 13)


def good_row(tries, place):
    """something good. And more of it"""
    tries.survives(lambda: place.is_dir())


def dying_row(tries, place):
    """something that dies"""
    die()


def slow_row(tries, place):
    """something slow"""
    tries.command_survives(ended(0, "", seconds=6.0))


def skipped_row(tries, place):
    """something that is not there"""
    raise Skip("no such thing")


def test_rows_that_die_or_are_slow_are_lost_and_some_are_skipped(tmp_path):
    good, dying, slow, skipped = (try_row(row, tmp_path / row.__name__) for row in
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


def test_the_door_shows_the_rows_and_fails_where_something_was_lost(monkeypatch, tmp_path, capsys):
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
    monkeypatch.setattr(faults, "call_apart", lambda *_, **__: CENSUS)
    monkeypatch.setattr(fault_kills, "signals", lambda *_: [trial("step")])

    def drill(kills, census, place, cache, workers, prepare=None, on_trial=None):
        return [trial("checkpoint, half", own if prepare is None else control) for _ in kills]

    monkeypatch.setattr(fault_kills, "drill", drill)
    assert [row["lost"] for row in faults.kill_rows(10, 0, tmp_path)][:2] == status


@pytest.mark.parametrize(("words", "said"), [
    (["--trials", "9"], "--trials=9 must be 10 or more"), (["--fuzz", "0"], "--fuzz=0 must be"),
    (["--parts", "kills,x"], "--parts=kills,x must be one or more of kills,table,fuzz")])
def test_what_makes_no_drill_is_refused(words, said):
    with pytest.raises(EngineError, match=said):
        faults.main(words)
