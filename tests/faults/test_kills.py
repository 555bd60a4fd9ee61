"""The drill, small: runs that are killed end with the undisturbed run's bits, and a plain writer's do not."""

import pytest

from benchmarks import fault_kills
from benchmarks.fault_kills import AIMED, STEP, Kill
from benchmarks.fault_server import call_apart


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The census of the run, and the cache with its betons."""
    place = tmp_path_factory.mktemp("drill")
    return call_apart(fault_kills.take_census, place, limit_s=120), place / "cache"


def test_ten_kills_lose_nothing(undisturbed, tmp_path):
    census, cache = undisturbed
    trials = fault_kills.drill(fault_kills.plan(10, seed=0), census, tmp_path, cache, workers=2)
    assert not fault_kills.lost(trials, census)
    assert not fault_kills.too_few(trials)
    landed = fault_kills.landings(trials)
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
    trials = fault_kills.drill(kills, census, tmp_path, cache, workers=2)
    assert [trial.place for trial in trials] == stages
    assert not fault_kills.lost(trials, census)


def test_a_plain_torch_save_loses_runs(undisturbed, tmp_path):
    census, _ = undisturbed
    plain = fault_kills.plain_writer
    ordinary = call_apart(fault_kills.take_census, tmp_path / "plain", plain, limit_s=120)
    # It writes other files, and computes the same.
    assert ordinary.weights == census.weights
    kills = [Kill("checkpoint", share) for share in (0.1, 0.5, 0.9)]
    trials = fault_kills.drill(kills, ordinary, tmp_path / "drill", tmp_path / "plain" / "cache", 2, plain)
    assert fault_kills.landings(trials) == {"checkpoint": 3}
    assert fault_kills.lost(trials, census)


def test_sigterm_at_every_step_changes_nothing(undisturbed, tmp_path):
    census, cache = undisturbed
    trials = fault_kills.signals(census, tmp_path, cache, workers=2)
    assert len(trials) == len(census.moments(STEP)) == 12
    assert not fault_kills.lost(trials, census) and all(trial.lives == 2 for trial in trials)
