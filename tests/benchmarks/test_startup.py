"""The startup benchmark: its cases, how they are timed and judged, and its command."""

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import startup
from benchmarks.common.timing import Timings
from benchmarks.startup import Case, cases, launch, measure, row_of
from engine.common.errors import EngineError


def launcher(seconds, log):
    """Replaces processes: logs what would run and takes the next of `seconds`."""
    times = iter(seconds)

    def launch(words, status):
        log.append((words, status))
        return next(times)

    return launch


def test_a_case_is_timed_from_start_to_end():
    log = []
    case = Case("c", 1, ["m", "{n}"], status=2)
    assert measure(case, 3, launcher([0.5, 0.25, 1.0], log)) == Timings((0.5, 0.25, 1.0))
    assert log == [(["m", "0"], 2), (["m", "1"], 2), (["m", "2"], 2)]


def test_a_warm_up_is_not_counted():
    log = []
    case = Case("c", 1, ["{n}"], warm_up=True)
    assert measure(case, 2, launcher([99.0, 1.0, 2.0], log)).values == (1.0, 2.0)
    assert [words for words, _ in log] == [["-1"], ["0"], ["1"]]


def test_the_first_step_is_read_from_the_runs_own_summary(tmp_path):
    case = {case.name: case for case in cases(tmp_path, None)}["first training step"]

    def train(words, status):
        folder = Path(next(word for word in words if word.startswith("--run.folder=")).partition("=")[2])
        folder.mkdir()
        (folder / "summary.json").write_text(json.dumps({"first_step_seconds": 8.0 + int(folder.name[3:])}))
        return 60.0

    assert measure(case, 3, train).values == (8.0, 9.0, 10.0)


def test_conversion_is_timed_only_with_data_each_time_into_a_fresh_cache(tmp_path):
    without = {case.name for case in cases(tmp_path, None)}
    found = {case.name: case for case in cases(tmp_path, "/d")}
    assert set(found) - without == {"convert CIFAR-100", "check cached CIFAR-100"}
    fresh = found["convert CIFAR-100"]
    assert fresh.command(0) != fresh.command(1) and "--data.root=/d" in fresh.command(0)
    cached = found["check cached CIFAR-100"]
    assert cached.warm_up and cached.command(-1) == cached.command(0) == cached.command(1)
    assert not set(cached.command(0)) >= {word for word in fresh.command(0) if "cache" in word}


def test_the_limits_are_the_promised_ones(tmp_path):
    assert [case.limit_s for case in cases(tmp_path, "/d")] == [1, 1, 1, 6, 12, 15, 1]


def test_the_median_decides_whether_the_limit_is_kept():
    case = Case("c", 1, [])
    assert row_of(case, Timings((0.9, 0.95, 30.0))) == {
        "name": "c", "n": 3, "seconds": {"median": 0.95, "min": 0.9, "max": 30.0}, "limit_s": 1, "within": True}
    assert row_of(case, Timings((0.1, 1.01, 1.02)))["within"] is False


@pytest.mark.slow("starts a command")
def test_a_command_that_fails_is_one_line_with_its_reason():
    with pytest.raises(EngineError, match=r"engine\.train --recipe nosuch` ended with status 2, not 0: .*nosuch"):
        launch(["engine.train", "--recipe", "nosuch"], 0)


def test_a_command_that_hangs_is_reported(monkeypatch):
    def hang(*_, **options):
        raise subprocess.TimeoutExpired("python", options["timeout"])

    monkeypatch.setattr(startup.subprocess, "run", hang)
    with pytest.raises(EngineError, match="did not end within"):
        launch(["engine.train"], 0)


def test_the_command_prints_the_table_and_writes_the_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(startup, "cases", lambda folder, root: [Case("quick", 1, []),
                                                                Case("slow", 1, [])])
    monkeypatch.setattr(startup, "measure", lambda case: Timings((0.5,) if case.name == "quick" else (2.0,)))
    assert startup.main(["--json", str(tmp_path / "r.json")]) == 0
    rows = json.loads((tmp_path / "r.json").read_text())
    assert [(row["name"], row["within"]) for row in rows] == [("quick", True), ("slow", False)]
    assert rows[0]["environment"]["commit"] and rows[0]["command"] == "python -m benchmarks.startup"
    shown = capsys.readouterr().out
    assert "NO" in shown and "yes" in shown


def test_help_names_the_command_and_an_unknown_option_is_one_line(capsys):
    with pytest.raises(SystemExit) as helped:
        startup.main(["--help"])
    shown = capsys.readouterr().out
    assert helped.value.code == 0 and "python -m benchmarks.startup" in shown and "--data.root" in shown
    with pytest.raises(EngineError, match="--json") as wrong:
        startup.main(["--jsn=x"])
    assert "\n" not in str(wrong.value)
