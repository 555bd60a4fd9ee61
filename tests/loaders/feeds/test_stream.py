"""The stream feed on a small beton: every sample once, its order and pixels, errors raised, nothing leaked."""

import sys
import threading
import time
from functools import partial

import numpy as np
import psutil
import pytest
import torch

from loaders.beton.cache import ensure
from loaders.common import counter_rng
from loaders.common.errors import DataError
from loaders.feeds import stream
from loaders.feeds.build import Place, build_feeds, plain_feed
from loaders.feeds.ffcv_fixes import import_ffcv
from loaders.feeds.resident import Resident
from loaders.feeds.stream import BufferPool, Stream
from loaders.policy.policy import parse
from tests.loaders.feeds.batches import digest, pixels_by_sample

pytestmark = pytest.mark.slow("imports FFCV, which takes seconds")

COUNT = 300
CPU = torch.device("cpu")


def make(beton, batch=64, policy="crop(pad_px=2), flip()", **options):
    options = {"seed": 3, "shuffle": True} | options
    return Stream(beton, np.arange(beton.samples), batch, parse(policy, 16, 16), **options)


@pytest.mark.parametrize("start", [0, 3])
def test_the_blocks_of_several_processes_are_the_batches_of_one(beton, start):
    def batches_of(feed):
        with feed.epoch(2, start) as batches:
            return list(batches)

    whole = batches_of(make(beton, batch=64))
    feeds = [make(beton, batch=64, shard=(rank, 3)) for rank in range(3)]
    assert {(len(feed), feed.samples) for feed in feeds} == {(5, COUNT)}
    for batch, blocks in zip(whole, zip(*map(batches_of, feeds), strict=True), strict=True):
        for expected, parts in zip(batch, zip(*blocks, strict=True), strict=True):
            assert torch.equal(torch.cat(parts), expected)


def test_a_plain_feed_is_the_data_set_in_order(source, beton):
    truth = source.read("train")
    feed = plain_feed(beton, Place("stream", CPU, 1), 64, parse("none", beton.height, beton.width))
    with feed.epoch() as batches:
        images, labels, indices = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
    assert np.array_equal(images, truth.images_nhwc)
    assert np.array_equal(labels, truth.labels)
    assert np.array_equal(indices, np.arange(COUNT))


def test_an_epoch_has_every_sample_once_with_its_label_in_the_order_of_seed_and_epoch(source, beton):
    feed = make(beton)
    with feed.epoch(5) as batches:
        sizes, seen, labels = [], [], []
        for batch in batches:
            sizes.append(len(batch.labels))
            seen += batch.indices.tolist()
            labels += batch.labels.tolist()
    assert sizes == [64, 64, 64, 64, 44] and len(feed) == 5
    assert seen == counter_rng.order(3, 5, np.arange(COUNT)).tolist()
    assert labels == source.read("train").labels[seen].tolist()


def test_pixels_depend_on_seed_epoch_and_policy_and_on_nothing_else(beton):
    reference = digest(make(beton))
    assert digest(make(beton, threads=2)) == reference
    assert digest(make(beton, batches_ahead=1)) == reference
    assert digest(make(beton, seed=4)) != reference
    assert digest(make(beton), epoch=1) != reference
    assert digest(make(beton, policy="crop(pad_px=2)")) != reference
    by_sample = pixels_by_sample(make(beton), 2)
    assert pixels_by_sample(make(beton, batch=7), 2) == by_sample
    assert pixels_by_sample(make(beton, shuffle=False), 2) == by_sample


@pytest.mark.parametrize("kind", ["stream", "resident"])
def test_what_is_not_given_is_seed_0_epoch_0_in_order_on_all_cores(beton, kind):
    make_of = {"stream": Stream, "resident": partial(Resident, device="cpu", mean_rgb=(128, 128, 128))}[kind]
    policy = parse("flip(), cutout(hole_px=5, fill=mean)", 16, 16)
    feed = make_of(beton, np.arange(300), 64, policy)
    with feed.epoch() as batches:
        found = torch.cat([batch.images_bhwc for batch in batches])
    expected = Resident(beton, np.arange(300), 300, policy, seed=0, shuffle=False, device="cpu",
                        mean_rgb=(128, 128, 128), shard=(0, 1))
    with expected.epoch(0, 0) as batches:
        assert torch.equal(found, next(batches).images_bhwc)
    if kind == "stream":
        assert feed.threads == stream.usable_cores() and feed._loader.batches_ahead == 3
        with feed.host_epoch() as batches:
            assert torch.equal(torch.cat([batch.images_bhwc for batch in batches]), found)


def test_seed_0_epoch_1_is_not_seed_1_epoch_0(beton):
    assert digest(make(beton, seed=0), 1) != digest(make(beton, seed=1), 0)


def test_an_epoch_opens_at_any_batch(beton):
    feed = make(beton)
    with feed.epoch(1) as batches:
        whole = [batch.images_bhwc for batch in batches]
    for start in range(len(feed)):
        with feed.epoch(1, start) as batches:
            assert torch.equal(next(batches).images_bhwc, whole[start])
    with feed.epoch(1, len(feed)) as batches:
        assert list(batches) == []


def test_two_epochs_may_be_open_at_once(beton):
    feed = make(beton)
    alone = [pixels_by_sample(feed, epoch) for epoch in (0, 1)]
    both = [{}, {}]
    with feed.epoch(0) as first, feed.epoch(1) as second:
        for pair in zip(first, second, strict=True):
            for kept, batch in zip(both, pair, strict=True):
                kept |= {int(i): image.numpy().tobytes()
                         for i, image in zip(batch.indices, batch.images_bhwc, strict=True)}
    assert both == alone


def test_batches_that_are_held_never_change(beton):
    feed = make(beton, batch=8, batches_ahead=1)
    with feed.epoch() as batches:
        held = [(batch, batch.images_bhwc.clone()) for batch in batches]
    assert len(held) == 38
    assert all(torch.equal(batch.images_bhwc, copy) for batch, copy in held)


def test_released_buffers_are_reused(beton):
    pool = BufferPool((2, 2), np.dtype("uint8"))
    first = torch.from_numpy(pool.take(1))
    assert pool.take(2).base is not pool.buffers[0]
    del first
    assert pool.take(2).base is pool.buffers[0]


def test_concurrent_threads_never_get_the_same_buffer():
    pool, clashes, interval = BufferPool((4,), np.dtype("uint8")), [], sys.getswitchinterval()

    def take_and_check(mark):
        for _ in range(3000):
            mine = pool.take(4)
            mine[:] = mark
            if not (mine == mark).all():
                clashes.append(mark)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=take_and_check, args=(mark,)) for mark in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not clashes


def test_200_epochs_left_early_leave_no_thread_and_no_memory(beton):
    feed, process = make(beton, batch=8), psutil.Process()

    def leave_early(epochs):
        for epoch in epochs:
            with feed.epoch(epoch) as batches:
                next(batches)

    leave_early(range(20))
    threads, memory = threading.active_count(), process.memory_info().rss
    leave_early(range(200))
    assert threading.active_count() == threads
    # An iterator that leaked would keep a thread's stack and five batch buffers; 200 of them over 100 MB.
    assert process.memory_info().rss - memory < 10e6


@pytest.mark.parametrize("kind", ["stream", "resident"])
@pytest.mark.parametrize("start", [-1, 6])
def test_an_epoch_does_not_open_outside_its_batches(beton, kind, start):
    feed = plain_feed(beton, Place(kind, CPU, 1), 64, parse("none", beton.height, beton.width))
    refused = pytest.raises(DataError, match=f"an epoch of 5 batches cannot be opened at batch {start}")
    with refused, feed.epoch(0, start):
        pass


def test_an_operation_that_raises_stop_iteration_does_not_shorten_the_epoch(beton, monkeypatch):
    feed, calls, real = make(beton), [], stream.augment

    def stops(*words, **options):
        calls.append(1)
        if len(calls) == 3:
            raise StopIteration
        return real(*words, **options)

    monkeypatch.setattr(stream, "augment", stops)
    with pytest.raises(RuntimeError, match="the loader stopped after 2 of 5 batches"), feed.epoch() as batches:
        list(batches)


class Planted(Exception):
    """What a broken operation raises."""


def test_an_error_in_the_pipeline_is_raised_in_the_caller_and_the_next_epoch_works(beton, monkeypatch):
    feed, calls = make(beton), []
    real = stream.augment

    def breaks_once(*words, **options):
        calls.append(1)
        if len(calls) == 2:
            raise Planted("in the loader's thread")
        return real(*words, **options)

    monkeypatch.setattr(stream, "augment", breaks_once)
    before = threading.active_count()
    began = time.monotonic()
    with pytest.raises(Planted), feed.epoch() as batches:
        list(batches)
    assert time.monotonic() - began < 1
    assert threading.active_count() == before
    with feed.epoch() as batches:
        assert sum(len(batch.labels) for batch in batches) == COUNT


def test_closing_ends_the_feeds_own_epochs_alone(beton):
    feed, other, before = make(beton, batch=8), make(beton, batch=8), threading.active_count()
    with other.host_epoch() as others, feed.epoch() as first, feed.epoch(1) as second:
        for batches in (others, first, second):
            next(batches)
        assert threading.active_count() == before + 3
        feed.close()
        assert threading.active_count() == before + 1
        assert len(list(others)) == 37
    assert threading.active_count() == before


def test_torchs_thread_count_stays(beton):
    torch.set_num_threads(2)
    feed = make(beton, threads=1)
    with feed.epoch() as batches:
        list(batches)
    assert torch.get_num_threads() == 2


def test_numbas_shared_types_stay(beton):
    import numba

    make(beton)
    assert numba.uint8[::1].mutable and numba.uint64[::1].mutable


def test_threads_are_limited_to_the_cores(beton):
    feed = make(beton, threads=64)
    assert feed.threads == stream.usable_cores()
    assert digest(feed) == digest(make(beton))


def test_a_training_batch_larger_than_the_data_is_refused(beton):
    with pytest.raises(DataError, match=r"train\.batch=301 is larger than the 300 training images"):
        make(beton, batch=301)


@pytest.mark.parametrize("kind", ["stream", "resident"])
def test_held_out_images_are_not_trained_on_and_not_augmented(source, beton, tmp_path, kind):
    test = ensure(source, "test", tmp_path)
    feeds = build_feeds({"train": beton, "test": test}, Place(kind, CPU, 1), policy=parse("flip(p=1)", 16, 16),
                        batch=50, eval_batch=64, eval_policy=parse("none", 16, 16),
                        seed=0, validation=0.2, split_seed=1, mean_rgb=(1, 2, 3))
    train, held_out = pixels_by_sample(feeds.train), pixels_by_sample(feeds.validation)
    assert len(train) == 240 and len(held_out) == 60 and not set(train) & set(held_out)
    images = source.read("train").images_nhwc
    assert all(held_out[i] == images[i].tobytes() for i in held_out)
    assert all(train[i] == images[i][:, ::-1].tobytes() for i in train)
    assert len(pixels_by_sample(feeds.test)) == 100
    feeds.close()


@pytest.mark.parametrize("kind", ["stream", "resident"])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_validation_split_is_whole_and_takes_nothing_from_training(source, beton, tmp_path, kind, shards):
    # The other split stands for a folder of validation images.
    betons = {"train": beton, "validation": ensure(source, "test", tmp_path)}
    trained, held_out = [], {}
    for rank in range(shards):
        feeds = build_feeds(betons, Place(kind, CPU, 1), policy=parse("flip(p=1)", 16, 16), batch=50, eval_batch=32,
                            eval_policy=parse("none", 16, 16), shard=(rank, shards),
                            seed=0, validation=0, split_seed=0, mean_rgb=(1, 2, 3))
        trained += pixels_by_sample(feeds.train)
        own = pixels_by_sample(feeds.validation)
        assert not set(own) & set(held_out) and feeds.test is None
        held_out |= own
        feeds.close()
    images = source.read("test").images_nhwc
    assert sorted(trained) == list(range(300)) and sorted(held_out) == list(range(100))
    assert all(held_out[place] == images[place].tobytes() for place in held_out)


def test_ffcv_is_fixed_once_and_its_threads_are_its_own_affair(beton):
    from ffcv.pipeline.compiler import Compiler

    import_ffcv()
    before, threads = Compiler.compile.__func__, torch.get_num_threads()
    import_ffcv()
    assert Compiler.compile.__func__ is before and torch.get_num_threads() == threads
    Compiler.set_num_threads(3)
    assert Compiler.num_threads == 3 and torch.get_num_threads() == threads
    Compiler.set_num_threads(1)


def test_the_loader_is_asked_for_the_batches_ahead(beton):
    assert make(beton, batches_ahead=2)._loader.batches_ahead == 2
