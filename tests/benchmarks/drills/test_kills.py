"""The drill: what it plans and counts; killed runs end with the undisturbed run's weights, a plain writer's do not."""

from collections import Counter

import pytest

from benchmarks.drills import kills
from benchmarks.drills.hooks import STEP
from benchmarks.drills.kills import Kill, Reference, Trial
from benchmarks.drills.processes import run_isolated

TRAINS = pytest.mark.slow("runs are trained, killed and resumed in processes of their own")
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


def test_a_kill_that_comes_too_late_is_repeated_earlier(monkeypatch, tmp_path):
    asked = []

    def apart(function, reference, kill, *rest, limit_s):
        asked.append(kill.share)
        return trial(None if len(asked) < 3 else "step")

    monkeypatch.setattr(kills, "run_isolated", apart)
    [found] = kills.drill([Kill("time", 0.9)], REFERENCE, tmp_path, tmp_path, 1)
    assert found.point == "step" and asked == pytest.approx([0.9, 0.45, 0.225])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The reference run, and the cache with its betons."""
    place = tmp_path_factory.mktemp("drill")
    return run_isolated(kills.record_reference, place, limit_s=120), place / "cache"


@TRAINS
def test_ten_kills_lose_nothing(undisturbed, tmp_path):
    reference, cache = undisturbed
    trials = kills.drill(kills.plan(10, seed=0), reference, tmp_path, cache, workers=2)
    assert not kills.lost(trials, reference)
    assert not kills.too_few(trials)
    landed = kills.landings(trials)
    assert landed["checkpoint"] >= kills.AIMED["checkpoint"] and landed["beton"] >= kills.AIMED["beton"]


@TRAINS
def test_every_stage_of_a_checkpoints_write_is_survived(undisturbed, tmp_path):
    reference, cache = undisturbed
    stages = sorted({point for point in reference.points if point.startswith("checkpoint")})
    assert len(stages) == 5
    moments = reference.moments("checkpoint")
    # One passing of each stage, in the middle of the run.
    planned = [Kill("checkpoint", (len(moments) // 2 + moments[len(moments) // 2:].index(
        next(moment for moment in moments[len(moments) // 2:] if moment[0] == stage)) + 0.5) / len(moments))
        for stage in stages]
    trials = kills.drill(planned, reference, tmp_path, cache, workers=2)
    assert [trial.point for trial in trials] == stages
    assert not kills.lost(trials, reference)


@TRAINS
def test_a_plain_torch_save_loses_runs(undisturbed, tmp_path):
    reference, _ = undisturbed
    ordinary = run_isolated(kills.record_reference, tmp_path / "plain", kills.plain_writer, limit_s=120)
    # It writes other files, and computes the same.
    assert ordinary.weights == reference.weights
    planned = [Kill("checkpoint", share) for share in (0.1, 0.5, 0.9)]
    trials = kills.drill(planned, ordinary, tmp_path / "drill", tmp_path / "plain" / "cache", 2, kills.plain_writer)
    assert kills.landings(trials) == {"checkpoint": 3}
    assert kills.lost(trials, reference)


@TRAINS
def test_sigterm_at_every_step_changes_nothing(undisturbed, tmp_path):
    reference, cache = undisturbed
    trials = kills.drill(kills.signals(reference), reference, tmp_path, cache, workers=2)
    assert len(trials) == len(reference.moments(STEP)) == 12
    assert not kills.lost(trials, reference) and all(trial.processes == 2 for trial in trials)
