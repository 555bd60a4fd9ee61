"""The resident feed: the stream's batches from device memory, from any batch on, never overwritten."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from loaders.beton import file_format
from loaders.beton.cache import ensure, pointers_of
from loaders.common import counter_rng
from loaders.common.errors import DataError
from loaders.feeds import resident
from loaders.feeds.resident import Resident, fits, hold
from loaders.feeds.stream import Stream
from loaders.policy.policy import parse
from tests.loaders.feeds.batches import digest, pixels_by_sample

COUNT = 300
MEAN_RGB = (125, 123, 114)
needs_ffcv = pytest.mark.slow("imports FFCV, which takes seconds")
LONG = ("crop(pad_px=2), flip(), jitter(hue=.1, contrast=.3), affine(rotate_deg=9, fill=mean), erase(p=.5), "
        "noise(sigma=.1)")


def options_of(policy, changed):
    return {"batch": 64, "policy": parse(policy, 16, 16), "seed": 3, "shuffle": True, "mean_rgb": MEAN_RGB} | changed


def make(beton, policy=LONG, indices=None, device="cpu", **changed):
    indices = np.arange(beton.samples) if indices is None else indices
    return Resident(beton, indices, device=device, **options_of(policy, changed))


def streamed(beton, policy=LONG, indices=None, **changed):
    return Stream(beton, np.arange(beton.samples) if indices is None else indices, **options_of(policy, changed))


def test_it_holds_every_image_and_label(source, beton):
    truth, held = source.read("train"), hold(beton, "cpu")
    assert np.array_equal(held.images_nhwc.numpy(), truth.images_nhwc)
    assert np.array_equal(held.labels.numpy(), truth.labels) and held.labels.dtype is torch.int64


def test_images_are_found_in_pages_and_at_any_other_offsets(source, tmp_path, monkeypatch):
    monkeypatch.setattr(file_format, "PAGE_BYTES", 8192)
    paged = ensure(source, "train", tmp_path)
    truth, pointers = source.read("train").images_nhwc, pointers_of(paged)
    assert len(np.unique(np.diff(pointers))) == 2
    assert np.array_equal(hold(paged, "cpu").images_nhwc.numpy(), truth)
    anywhere = np.random.default_rng(0).permutation(COUNT)
    monkeypatch.setattr(resident, "pointers_of", lambda beton: pointers[anywhere])
    assert np.array_equal(hold(paged, "cpu").images_nhwc.numpy(), truth[anywhere])


@needs_ffcv
@pytest.mark.parametrize("policy", ["none", LONG, "flip_alternate(), resize(px=24)", "airbench"])
def test_it_gives_the_streams_batches(beton, policy):
    feed, stream = make(beton, policy), streamed(beton, policy)
    assert (len(feed), feed.samples) == (len(stream), stream.samples) == (5, COUNT)
    digests = [digest(feed, epoch) for epoch in (0, 1, 17)]
    assert digests == [digest(stream, epoch) for epoch in (0, 1, 17)]
    assert digests[0] != digests[1]


@needs_ffcv
def test_subsets_shards_and_unshuffled_feeds_give_the_streams_batches(beton):
    some = np.array([5, 299, 0, 17, 18, 200, 44])
    for changed in ({"indices": some, "batch": 3}, {"indices": some, "batch": 3, "shuffle": False},
                    {"shard": (1, 3), "batch": 32}, {"shard": (2, 3), "batch": 32}):
        feed, stream = make(beton, **changed), streamed(beton, **changed)
        assert (len(feed), feed.samples) == (len(stream), stream.samples)
        assert digest(feed, 4) == digest(stream, 4)


def test_pixels_depend_on_the_sample_and_not_on_batch_or_order(beton):
    expected = pixels_by_sample(make(beton), 2)
    assert len(expected) == COUNT
    assert pixels_by_sample(make(beton, batch=7), 2) == pixels_by_sample(make(beton, shuffle=False), 2) == expected


def test_an_epoch_opens_at_any_batch(beton):
    feed = make(beton)
    with feed.epoch(1) as batches:
        whole = list(batches)
    assert [len(batch.labels) for batch in whole] == [64, 64, 64, 64, 44]
    for start in range(len(feed)):
        with feed.epoch(1, start) as batches:
            assert all(torch.equal(got, kept) for got, kept in zip(next(batches), whole[start], strict=True))
    with feed.epoch(1, len(feed)) as batches:
        assert list(batches) == []


def test_batches_made_several_at_a_time_are_the_same_batches(beton):
    alone, several = make(beton), make(beton)
    several.samples_per_call = 3 * 64
    calls = []
    several.policy.register_forward_hook(lambda *call: calls.append(len(call[2])))
    for start, made in ((0, [192, 108]), (1, [192, 44]), (4, [44]), (5, [])):
        calls.clear()
        with several.epoch(2, start) as got, alone.epoch(2, start) as expected:
            for batch, other in zip(got, expected, strict=True):
                assert all(torch.equal(x, y) and x.is_contiguous() for x, y in zip(batch, other, strict=True))
        assert calls == made


def test_a_gpu_makes_as_many_batches_at_a_time_as_its_working_memory_holds(beton):
    assert make(beton).samples_per_call == 64
    with FakeTensorMode():
        held = resident.Held(torch.empty(COUNT, 16, 16, 3, dtype=torch.uint8, device="cuda"),
                             torch.empty(COUNT, dtype=torch.int64, device="cuda"))
        feed = make(beton, device="cuda", held=held)
        large = make(beton, "resize(px=512)", device="cuda", held=held)
    assert feed.samples_per_call == feed.policy.chunk // 64 * 64 > 64
    assert large.policy.chunk < 64 == large.samples_per_call


def test_batches_that_are_held_never_change(beton):
    for policy in ("none", LONG):
        feed = make(beton, policy, batch=32)
        with feed.epoch() as batches:
            held = [(batch, [tensor.clone() for tensor in batch]) for batch in batches]
        digest(feed, 1)
        assert len(held) == 10
        assert all(torch.equal(x, y) for batch, copies in held for x, y in zip(batch, copies, strict=True))


def test_the_pieces_for_a_compiled_step_give_the_same_batch(beton):
    feed = make(beton)
    order = feed.order(6)
    assert order.tolist() == counter_rng.order(3, 6, np.arange(COUNT)).tolist()
    with feed.epoch(6, 2) as batches:
        batch = next(batches)
    indices = torch.from_numpy(order[128:192])
    assert torch.equal(feed.policy(feed.images_nhwc, indices, feed.keys(6)), batch.images_bhwc)
    assert torch.equal(feed.labels[indices], batch.labels)


def test_feeds_of_one_beton_can_share_the_memory(beton):
    held = hold(beton, "cpu")
    first, second = make(beton, held=held), make(beton, "none", np.arange(50), held=held, shuffle=False)
    assert first.images_nhwc is second.images_nhwc is held.images_nhwc
    assert digest(first) == digest(make(beton))


def test_it_fits_where_images_and_augmentation_take_less_than_half_of_the_free_memory(beton, monkeypatch):
    needed = COUNT * 16 * 16 * 3 + resident.working_bytes("cuda")
    for free, expected in ((2 * needed, False), (2 * needed + 2, True)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: {"cuda:0": (free, 10 * free)}[device])
        assert fits(beton, "cuda:0") is expected


def test_closing_frees_the_memory(beton):
    feed = make(beton)
    feed.close()
    assert not hasattr(feed, "images_nhwc")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_it_gives_the_streams_batches(beton):
    for policy in ("none", "airbench", "cnn4"):
        feed = make(beton, policy, device="cuda")
        with feed.epoch(3) as batches:
            assert all(tensor.is_cuda for tensor in next(batches))
        assert digest(feed, 3) == digest(streamed(beton, policy), 3)


def test_a_batch_larger_than_the_data_is_refused(beton):
    with pytest.raises(DataError, match="train.batch=301 is larger than the 300 training images: make it smaller"):
        make(beton, batch=301)


def test_a_policy_for_another_size_is_refused(beton):
    feed = Resident(beton, np.arange(9), 3, parse("baseline"), device="cpu", mean_rgb=MEAN_RGB)
    with pytest.raises(DataError, match="this policy was made for uint8 .N, 32, 32, 3."), feed.epoch() as batches:
        next(batches)
