"""The drill, small: runs that are killed end with the undisturbed run's bits, and a plain writer's do not."""

import pytest

from benchmarks.drills.fork_server import call_apart
from benchmarks.drills.kills import (
    AIMED,
    STEP,
    Kill,
    drill,
    landings,
    lost,
    plain_writer,
    plan,
    signals,
    take_census,
    too_few,
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The census of the run, and the cache with its betons."""
    place = tmp_path_factory.mktemp("drill")
    return call_apart(take_census, place, limit_s=120), place / "cache"


def test_ten_kills_lose_nothing(undisturbed, tmp_path):
    census, cache = undisturbed
    trials = drill(plan(10, seed=0), census, tmp_path, cache, workers=2)
    assert not lost(trials, census)
    assert not too_few(trials)
    landed = landings(trials)
    assert landed["checkpoint"] >= AIMED["checkpoint"] and landed["beton"] >= AIMED["beton"]


def test_every_stage_of_a_checkpoints_write_is_survived(undisturbed, tmp_path):
    census, cache = undisturbed
    stages = sorted({place for place in census.places if place.startswith("checkpoint")})
    assert len(stages) == 5
    moments = census.moments("checkpoint")
    # One passing of each stage, in the middle of the run.
    kills = [Kill("checkpoint", (len(moments) // 2 + moments[len(moments) // 2:].index(
        next(moment for moment in moments[len(moments) // 2:] if moment[0] == stage)) + 0.5) / len(moments))
        for stage in stages]
    trials = drill(kills, census, tmp_path, cache, workers=2)
    assert [trial.place for trial in trials] == stages
    assert not lost(trials, census)


def test_a_plain_torch_save_loses_runs(undisturbed, tmp_path):
    census, _ = undisturbed
    plain = plain_writer
    ordinary = call_apart(take_census, tmp_path / "plain", plain, limit_s=120)
    # It writes other files, and computes the same.
    assert ordinary.weights == census.weights
    kills = [Kill("checkpoint", share) for share in (0.1, 0.5, 0.9)]
    trials = drill(kills, ordinary, tmp_path / "drill", tmp_path / "plain" / "cache", 2, plain)
    assert landings(trials) == {"checkpoint": 3}
    assert lost(trials, census)


def test_sigterm_at_every_step_changes_nothing(undisturbed, tmp_path):
    census, cache = undisturbed
    trials = signals(census, tmp_path, cache, workers=2)
    assert len(trials) == len(census.moments(STEP)) == 12
    assert not lost(trials, census) and all(trial.lives == 2 for trial in trials)
