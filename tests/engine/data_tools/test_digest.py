"""The digest of an epoch: one value whatever draws it, another for every seed, epoch, policy and start."""

import pytest

from engine.common.errors import EngineError
from engine.data_tools.digest import epoch_digest
from recipes.settings.load import load

SMALL = {"data.train_count": 300, "data.test_count": 100, "data.resolution": 16, "train.batch": 50,
         "augment.policy": "crop(pad_px=2), flip(), maybe(.5, affine(rotate_deg=15)), jitter(hue=.1), erase(p=.5)"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def value(cache):
    def of(epoch=0, start=0, processes=1, **changed):
        settings = {**SMALL, "data.cache": str(cache), **{k.replace("__", "."): v for k, v in changed.items()}}
        return epoch_digest(load("quickstart", settings=settings), epoch, start, processes)

    return of


def test_it_counts_the_training_images(value):
    assert value()[1] == 270


@pytest.mark.parametrize("changed", [
    {"data__workers": 1}, {"data__workers": 2}, {"data__feed": "resident"}, {"train__batch": 90}, {"train__batch": 7},
    {"data__batches_ahead": 1}, {"processes": 2}, {"processes": 3, "data__feed": "resident"},
], ids=str)
def test_it_does_not_depend_on_who_draws_it_or_how(value, changed):
    assert value(**changed) == value()


@pytest.mark.parametrize("changed", [
    {"epoch": 1}, {"train__seed": 1}, {"start": 1}, {"augment__policy": "crop(pad_px=2)"}, {"data__split_seed": 1},
    {"data__shapes_seed": 1},
], ids=str)
def test_it_depends_on_everything_that_changes_the_data(value, changed):
    assert value(**changed)[0] != value()[0]


def test_a_warmed_process_gives_what_a_fresh_one_gives(value, cache):
    import subprocess
    import sys
    from pathlib import Path

    for epoch in range(3):
        value(epoch=epoch)
    settings = [f"--{key}={item}" for key, item in {**SMALL, "data.cache": cache}.items()]
    done = subprocess.run([sys.executable, "-m", "engine.data", "digest", "--recipe", "quickstart", *settings],
                          cwd=Path(__file__).resolve().parents[3], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == value()[0]


def test_a_start_past_the_end_is_refused(value):
    with pytest.raises(EngineError, match="--start=99 is past the last batch"):
        value(start=99)


def test_the_first_batches_may_be_left_out(value):
    assert value(start=2, processes=2) == value(start=2, processes=3) == value(start=2)
    assert value(start=2)[1] == 170
    assert value(start=2) == value(start=1, train__batch=100)
