"""Planted bottlenecks, found by measuring real runs; and what operations cost."""

import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.build.run import build
from engine.diagnostics import bottleneck, throughput
from engine.diagnostics.bottleneck import diagnose, kernels_of, operation_gains
from engine.diagnostics.peaks import Peaks, measure_peaks
from loaders.feeds.stream import Stream
from loaders.host import executor
from recipes.settings.load import load

pytestmark = [pytest.mark.alone, pytest.mark.slow("builds runs and measures them")]

SMALL = {"data.train_count": 300, "data.test_count": 100, "data.resolution": 16, "train.batch": 60, "model.width": 4,
         "model.depth": 2, "train.precision": "fp32", "train.device": "cpu", "train.threads": 1,
         "augment.policy": "crop(pad_px=2), blur(kernel_px=3, sigma=1), flip()"}
PEAKS = Peaks({"fp32": 5e10, "bf16": 5e10}, 1e10)
SECONDS = 0.3
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """One whose peaks are the same every time."""
    monkeypatch.setattr(bottleneck, "measure_peaks", lambda device, precisions, seconds: PEAKS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make(cache):
    """A run of the small recipe with some settings changed; closed afterwards."""
    runs = []

    def made(**changes):
        settings = {**SMALL, "data.cache": str(cache), **{key.replace("__", "."): v for key, v in changes.items()}}
        runs.append(build(load("quickstart", settings=settings)))
        return runs[-1]

    yield made
    for run in runs:
        run.close()


@pytest.fixture
def slow_blur(monkeypatch):
    """A policy with a blur computes four hundred times the images, in one call: repeated calls would hold the
    interpreter's lock, and so slow the step too."""

    def augment(source, pointers, indices, program, state, images_bhwc, **options):
        if "blur" in program.policy.text:
            many = np.tile(indices, 400)
            unused = np.empty((len(many), *images_bhwc.shape[1:]), images_bhwc.dtype)
            executor.augment(source, pointers, many, program, state, unused, **options)
        executor.augment(source, pointers, indices, program, state, images_bhwc, **options)

    monkeypatch.setattr("loaders.feeds.stream.augment", augment)
    monkeypatch.setattr(bottleneck, "augment", augment)
    monkeypatch.setattr(bottleneck, "MOST_IMAGES", 16)


def test_a_slowed_operation_is_found_and_named(make, slow_blur):
    found = diagnose(make(), SECONDS)
    assert found.verdict.bound == "feed", found.rates
    assert found.rates.transfer is None and found.rates.feed < found.rates.step and found.rates.waited > 0.5
    gains = found.facts.gains
    assert set(gains) == {"crop(pad_px=2)", "blur(kernel_px=3, sigma=1)", "flip()"}
    assert max(gains, key=gains.get) == "blur(kernel_px=3, sigma=1)" and gains["blur(kernel_px=3, sigma=1)"] > 10
    advice = {each.setting: each for each in found.verdict.advice}
    assert advice["augment.policy without blur(kernel_px=3, sigma=1)"].at_most_images_s <= found.rates.step


class Clock:
    """The measurement's clock, which a transfer can move on without taking anything from the parts beside it."""

    def __init__(self):
        self.ahead_s = 0.0

    def perf_counter(self):
        return time.perf_counter() + self.ahead_s


class Throttled(Stream):
    """A feed whose batches take a second each to arrive."""

    def __init__(self, feed, clock):
        vars(self).update(vars(feed))
        self.clock = clock

    def send(self, batch):
        self.clock.ahead_s += 1
        return batch

    @contextmanager
    def epoch(self, epoch=0, start=0):
        with self.host_epoch(epoch, start) as batches:
            yield map(self.send, batches)


def test_a_throttled_transfer_is_found(make, monkeypatch):
    run, clock = make(), Clock()
    throttled = Throttled(run.feeds.train, clock)
    run.feeds = replace(run.feeds, train=throttled)
    monkeypatch.setattr(throughput, "time", clock)
    monkeypatch.setattr(bottleneck, "transfer_of", lambda run: throttled.send)
    found = diagnose(run, SECONDS)
    assert found.verdict.bound == "transfer", found.rates
    assert found.rates.transfer < min(found.rates.feed, found.rates.step)
    assert found.rates.transfer == pytest.approx(SMALL["train.batch"], rel=0.01)
    assert found.verdict.sentence.startswith("The transfer bounds the run") and not found.facts.gains


def test_a_heavy_network_is_found(make):
    run = make(model__width=64, model__depth=6, augment__policy="none")
    found = diagnose(run, SECONDS)
    assert found.verdict.bound == "step", found.rates
    assert found.rates.waited < 0.25 and found.rates.step < found.rates.feed
    assert found.verdict.sentence.startswith("The step bounds the run") and found.issue_s is None
    assert found.side_px == 16 and found.work.flops > 1e8
    assert found.facts.ceilings["fp32"] == pytest.approx(5e10 / found.work.flops)


def test_the_facts_are_the_runs_own(make):
    found = diagnose(make(train__accumulate=2, train__channels_last=False, train__sizes={0: 8}), 0.1).facts
    assert (found.device, found.feed, found.workers, found.threads) == ("cpu", "stream", 1, 1)
    assert (found.batch, found.accumulate, found.mode, found.channels_last) == (60, 2, "eager", False)
    assert found.precision == "fp32" and not found.resident_fits and found.cores >= 1


def test_the_size_of_the_first_epoch_is_what_is_measured(make):
    large, small = diagnose(make(), 0.1), diagnose(make(train__sizes={0: 8}), 0.1)
    assert (large.side_px, small.side_px) == (16, 8)
    assert large.work.flops == pytest.approx(4 * small.work.flops, rel=0.1)


def test_operations_that_make_another_size_are_not_compared(make):
    run = make(augment__policy="resize(px=32), flip(), gray(p=0.2)")
    assert set(operation_gains(run, 0.05, lambda: None)) == {"flip()", "gray(p=0.2)"}


def test_operations_of_a_resident_feed_are_compared_where_it_computes(make):
    run = make(data__feed="resident", augment__policy="equalize(), flip()")
    gains = operation_gains(run, 0.2, lambda: None)
    assert gains["equalize()"] > 1.5 and gains["equalize()"] > gains["flip()"]
    found = diagnose(run, 0.1)
    assert found.rates.transfer is None and found.facts.workers == 0 and found.facts.feed == "resident"
    assert kernels_of(run) == ["no kernels (they need a GPU): batched torch, slower"]


def test_without_a_policy_there_is_nothing_to_compare(make):
    assert operation_gains(make(augment__policy="none"), 0.05, lambda: None) == {}


@needs_cuda
@pytest.mark.parametrize("feed", ["stream", "resident"])
def test_a_gpus_parts_are_measured(make, feed, monkeypatch):
    run = make(train__device="cuda", train__precision="auto", data__feed=feed, train__step="eager")
    monkeypatch.setattr(bottleneck, "measure_peaks", measure_peaks)
    found = diagnose(run, SECONDS)
    assert (found.rates.transfer is None) == (feed == "resident")
    assert found.issue_s > 0 and found.facts.limit == "launches"
    assert found.facts.resident_fits == (feed == "stream")
    if found.verdict.bound == "step":
        assert "train.step=graph" in [each.setting for each in found.verdict.advice]
