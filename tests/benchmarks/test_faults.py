"""The faults command: it shows and saves its rows, and fails if something was lost or the drill could not fail."""

import json

import pytest

from benchmarks import faults
from benchmarks.drills import kills
from benchmarks.drills.kills import Reference, Trial
from engine.common.errors import EngineError

REFERENCE = Reference("w", 2.0, ())


def trial(place, weights="w"):
    return Trial(place, 2, weights, "said")


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
def test_impossible_options_are_refused(words, said):
    with pytest.raises(EngineError, match=said):
        faults.main(words)
