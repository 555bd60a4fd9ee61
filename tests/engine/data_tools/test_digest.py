"""The digest of an epoch: one value however it is drawn, another for every seed, epoch, policy and start."""

from functools import cache as memoized

import pytest

from engine import data
from engine.common.errors import EngineError
from engine.data_tools import digest
from engine.data_tools.digest import epoch_digest
from recipes.settings.load import load

SMALL = {"data.train_count": 300, "data.test_count": 100, "data.resolution": 16, "train.batch": 50,
         "augment.policy": "crop(pad_px=2), flip(), maybe(.5, affine(rotate_deg=15)), jitter(hue=.1), erase(p=.5)"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def value(cache):
    @memoized
    def of(epoch=0, start=0, processes=1, **changed):
        settings = {**SMALL, "data.cache": str(cache), **{k.replace("__", "."): v for k, v in changed.items()}}
        return epoch_digest(load("quickstart", settings=settings), epoch, start, processes)

    return of


def test_it_counts_the_training_images(value):
    assert value()[1] == 270


class InThisProcess:
    """A pool whose shards are drawn one after the other in this process."""

    def __init__(self, processes, mp_context):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    map = staticmethod(map)


@pytest.fixture
def one_process(monkeypatch):
    monkeypatch.setattr(digest, "ProcessPoolExecutor", InThisProcess)


@pytest.mark.parametrize("changed", [
    {"data__workers": 1}, {"data__workers": 2}, {"data__feed": "resident"}, {"train__batch": 90}, {"train__batch": 7},
    {"data__batches_ahead": 1}, {"processes": 2}, {"processes": 3, "data__feed": "resident"},
], ids=str)
def test_it_does_not_depend_on_how_it_is_drawn(value, changed, one_process):
    assert value(**changed) == value()


@pytest.mark.parametrize("changed", [
    {"epoch": 1}, {"train__seed": 1}, {"start": 1}, {"augment__policy": "crop(pad_px=2)"}, {"data__split_seed": 1},
    {"data__shapes_seed": 1},
], ids=str)
def test_it_depends_on_everything_that_changes_the_data(value, changed):
    assert value(**changed)[0] != value()[0]


@pytest.mark.slow("starts two processes, each of which compiles its loader")
def test_fresh_processes_give_what_a_warmed_one_gives(value):
    for epoch in range(3):
        value(epoch=epoch)
    assert value.__wrapped__(processes=2) == value()


def test_the_command_prints_it(value, cache, capsys):
    settings = [f"--{path}={setting}" for path, setting in {**SMALL, "data.cache": cache}.items()]
    assert data.main(["digest", "--recipe", "quickstart", "--threads", "2", "--feed", "stream", *settings]) == 0
    assert capsys.readouterr().out == f"{value()[0]}  epoch 0, 270 samples\n"


def test_a_start_past_the_end_is_refused(value):
    with pytest.raises(EngineError, match="--start=99 is past the last batch"):
        value(start=99)


def test_the_first_batches_may_be_left_out(value, one_process):
    assert value(start=2, processes=2) == value(start=2, processes=3) == value(start=2)
    assert value(start=2)[1] == 170
    assert value(start=2) == value(start=1, train__batch=100)
