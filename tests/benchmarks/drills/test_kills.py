"""The drill, small: runs that are killed end with the undisturbed run's weights, and a plain writer's do not."""

import pytest

from benchmarks.drills.hooks import STEP
from benchmarks.drills.kills import (
    AIMED,
    Kill,
    drill,
    landings,
    lost,
    plain_writer,
    plan,
    record_reference,
    signals,
    too_few,
)
from benchmarks.drills.processes import run_isolated

pytestmark = pytest.mark.slow("runs are trained, killed and resumed in processes of their own")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The reference run, and the cache with its betons."""
    place = tmp_path_factory.mktemp("drill")
    return run_isolated(record_reference, place, limit_s=120), place / "cache"


def test_ten_kills_lose_nothing(undisturbed, tmp_path):
    reference, cache = undisturbed
    trials = drill(plan(10, seed=0), reference, tmp_path, cache, workers=2)
    assert not lost(trials, reference)
    assert not too_few(trials)
    landed = landings(trials)
    assert landed["checkpoint"] >= AIMED["checkpoint"] and landed["beton"] >= AIMED["beton"]


def test_every_stage_of_a_checkpoints_write_is_survived(undisturbed, tmp_path):
    reference, cache = undisturbed
    stages = sorted({point for point in reference.points if point.startswith("checkpoint")})
    assert len(stages) == 5
    moments = reference.moments("checkpoint")
    # One passing of each stage, in the middle of the run.
    kills = [Kill("checkpoint", (len(moments) // 2 + moments[len(moments) // 2:].index(
        next(moment for moment in moments[len(moments) // 2:] if moment[0] == stage)) + 0.5) / len(moments))
        for stage in stages]
    trials = drill(kills, reference, tmp_path, cache, workers=2)
    assert [trial.point for trial in trials] == stages
    assert not lost(trials, reference)


def test_a_plain_torch_save_loses_runs(undisturbed, tmp_path):
    reference, _ = undisturbed
    ordinary = run_isolated(record_reference, tmp_path / "plain", plain_writer, limit_s=120)
    # It writes other files, and computes the same.
    assert ordinary.weights == reference.weights
    kills = [Kill("checkpoint", share) for share in (0.1, 0.5, 0.9)]
    trials = drill(kills, ordinary, tmp_path / "drill", tmp_path / "plain" / "cache", 2, plain_writer)
    assert landings(trials) == {"checkpoint": 3}
    assert lost(trials, reference)


def test_sigterm_at_every_step_changes_nothing(undisturbed, tmp_path):
    reference, cache = undisturbed
    trials = drill(signals(reference), reference, tmp_path, cache, workers=2)
    assert len(trials) == len(reference.moments(STEP)) == 12
    assert not lost(trials, reference) and all(trial.processes == 2 for trial in trials)
