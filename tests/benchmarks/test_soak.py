"""The soak: how it judges growth and an arm that ends, and one real arm for some seconds."""

import json
import sys

import psutil
import pytest

from benchmarks import soak
from benchmarks.soak import Usage
from engine.common.errors import EngineError


def series(**grows):
    """100 seconds of samples, of which those named grow by so much per second."""
    return [Usage(second, 200 + grows.get("memory", 0) * second, 10 + int(grows.get("handles", 0) * second),
                   4 + int(grows.get("threads", 0) * second)) for second in range(100)]


def test_constant_usage_is_flat_and_the_warm_up_does_not_count():
    samples = [Usage(second, 20.0 * second, second, 1) for second in range(10)] + series()[10:]
    row = soak.judge(samples)
    assert row["flat"] and row["why"] == "" and row["samples"] == 80
    assert row["memory_mib"] == {"first": 200, "last": 200, "most": 200}


@pytest.mark.parametrize(("grows", "why"), [
    ({"memory": 0.2}, "memory_mib grew from"),
    ({"handles": 0.05}, "handles grew from 11 to 14"),
    ({"threads": 0.05}, "threads grew from 5 to 8")])
def test_growth_is_named_with_its_figures(grows, why):
    row = soak.judge(series(**grows))
    assert not row["flat"] and why in row["why"]


def test_a_little_more_memory_is_allowed_and_less_is_no_growth():
    assert soak.judge(series(memory=0.1))["flat"]
    assert soak.judge(series(memory=-1, handles=-0.05))["flat"]


def test_few_samples_are_no_proof():
    assert soak.judge(series()[:6])["why"] == "5 samples are too few to judge by"
    assert not soak.judge([])["flat"]


@pytest.mark.slow("starts processes")
def test_child_processes_count_and_ended_ones_do_not(monkeypatch):
    monkeypatch.setattr(soak, "STOP_LIMIT_S", 0.2)
    child = psutil.Popen([sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', "
                          "'input()'])"], stdin=-1)
    try:
        while not child.children():
            assert child.poll() is None
        with_child = soak.measure(child, 1.0)
        assert with_child.memory_mib > child.memory_info().rss / 2**20 and with_child.threads >= 2
    finally:
        soak.stop(child)
    assert soak.measure(child, 2.0) == Usage(2.0, 0, 0, 0)


@pytest.mark.slow("starts a process")
def test_an_arm_that_ends_by_itself_is_reported_with_its_last_line(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "EVERY_S", 0.1)
    rows = soak.soak({"short": ["-c", "import sys; print('enough'); sys.exit(3)"]}, tmp_path, 0.6)
    assert rows[0]["name"] == "soak: short" and not rows[0]["flat"]
    assert rows[0]["why"] == "it ended by itself with status 3: enough"


def test_impossible_options_of_the_soak_are_refused():
    for words, said in [(["--minutes", "0"], "--minutes=0 must be 0.1 to 10,000"), (["--arms", "none"], "--arms=none")]:
        with pytest.raises(EngineError, match=said):
            soak.main(words)


@pytest.mark.slow("trains until it is stopped")
def test_a_real_arm_trains_until_it_is_stopped(tmp_path, capsys, monkeypatch):
    file = tmp_path / "rows.json"
    monkeypatch.setattr(soak, "EVERY_S", 0.3)
    # Too short to tell growth from a start: only that the arm ran, was measured and left nothing.
    assert soak.main(["--minutes", "0.15", "--arms", "one res", "--json", str(file)]) in (0, 1)
    row, = json.loads(file.read_text())
    assert "ended by itself" not in row["why"] and row["samples"] > 6
    assert row["memory_mib"]["most"] > 100 and row["threads"]["most"] >= 1
    assert "one resident run" in capsys.readouterr().out
    assert not [each for each in psutil.Process().children(recursive=True) if "engine.train" in each.cmdline()]
