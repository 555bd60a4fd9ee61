"""Feeds are what their arguments say: the same batches as of a feed that is made by hand."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from loaders.beton.cache import ensure, labels_of
from loaders.common.errors import DataError
from loaders.feeds import build
from loaders.feeds.build import Feeds, Place, build_feeds, choose_kind, plain_feed, train_feed
from loaders.feeds.order import Order
from loaders.feeds.resident import Resident, hold
from loaders.feeds.split import stratified
from loaders.policy.policy import parse
from tests.loaders.feeds.batches import digest, pixels_by_sample

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
KINDS = ["resident", pytest.param("stream", marks=pytest.mark.slow("imports FFCV, which takes seconds"))]
POLICY = "crop(pad_px=3, fill=mean), flip(), cutout(hole_px=5, fill=mean)"
COLOUR = (9, 99, 199)


@pytest.fixture(scope="module")
def test_beton(source, tmp_path_factory):
    return ensure(source, "test", tmp_path_factory.mktemp("cache"))


def by_hand(beton, indices, seed=7, shard=(0, 1)):
    return Resident(beton, indices, 50, parse(POLICY, 16, 16), seed=seed, shuffle=True, device=CPU, mean_rgb=COLOUR,
                    shard=shard)


def arguments(**changed):
    return {"policy": parse(POLICY, 16, 16), "batch": 50, "seed": 7, "validation": 0.2, "split_seed": 4,
            "mean_rgb": COLOUR} | changed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shard", [(0, 1), (1, 2)])
def test_a_training_feed_has_the_split_seed_colour_and_share_that_it_is_given(beton, kind, shard):
    indices, expected_held_out = stratified(labels_of(beton), 0.2, 4, beton.class_names)
    feed, held_out = train_feed(beton, Place(kind, CPU, 1, 2), **arguments(shard=shard))
    assert held_out.tolist() == expected_held_out.tolist() and feed.samples == 240
    expected = by_hand(beton, indices, shard=shard)
    assert [digest(feed, epoch) for epoch in (0, 3)] == [digest(expected, epoch) for epoch in (0, 3)]
    assert digest(feed) != digest(by_hand(beton, indices, seed=8, shard=shard))
    if kind == "stream":
        assert (feed.threads, feed._loader.batches_ahead) == (1, 2)
    feed.close()


def test_a_class_without_an_image_to_train_on_or_to_hold_out_is_told_by_name(beton):
    names = "|".join(beton.class_names)
    for share in (0.001, 0.999):
        with pytest.raises(DataError, match=rf"^data.validation={share} would leave no image.*'({names})' \("):
            train_feed(beton, Place("resident", CPU), **arguments(validation=share))


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_held_out_share_all_samples_train_in_one_process(beton, kind):
    feed, held_out = train_feed(beton, Place(kind, CPU, 1), **arguments(validation=0))
    assert held_out is None and digest(feed) == digest(by_hand(beton, np.arange(300)))
    feed.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shard", [None, (1, 2)])
def test_evaluation_takes_whole_batches_in_order_each_sample_once(source, beton, test_beton, kind, shard):
    feeds = build_feeds({"train": beton, "test": test_beton}, Place(kind, CPU, 1), eval_batch=32,
                        eval_policy=parse("resize(px=8)", 16, 16), **arguments(), **({"shard": shard} if shard else {}))
    assert feeds.kind == kind and feeds.train.shard == (shard or (0, 1))
    held_out = stratified(labels_of(beton), 0.2, 4, beton.class_names)[1]
    for feed, split, indices in ((feeds.validation, "train", held_out), (feeds.test, "test", np.arange(100))):
        mine = [indices[at:at + 32] for at in range(0, len(indices), 32)][slice(*shard and (1, None, 2) or (None,))]
        with feed.epoch() as batches:
            found = list(batches)
        assert [batch.indices.tolist() for batch in found] == [part.tolist() for part in mine]
        truth = source.read(split)
        assert torch.cat([batch.labels for batch in found]).tolist() == truth.labels[np.concatenate(mine)].tolist()
        assert found[0].images_bhwc.shape[1:] == (8, 8, 3)
    feeds.close()


def test_without_held_out_or_test_images_there_is_no_feed_of_them(beton):
    feeds = build_feeds({"train": beton}, Place("resident", CPU), eval_batch=32,
                        eval_policy=parse("none", 16, 16), **arguments(validation=0))
    assert feeds.validation is None and feeds.test is None
    feeds.close()


def test_held_out_images_share_the_devices_memory_with_those_that_train(beton, test_beton):
    feeds = build_feeds({"train": beton, "test": test_beton}, Place("resident", CPU), eval_batch=32,
                        eval_policy=parse("none", 16, 16), **arguments())
    assert feeds.validation.images_nhwc is feeds.train.images_nhwc and feeds.validation.labels is feeds.train.labels
    assert feeds.test.images_nhwc is not feeds.train.images_nhwc
    feeds.close()
    assert not any(hasattr(feed, "labels") for feed in (feeds.train, feeds.validation, feeds.test))


def test_a_plain_feed_may_take_some_samples_or_anothers_memory(beton):
    held = hold(beton, CPU)
    feed = plain_feed(beton, Place("resident", CPU), 64, parse("none", 16, 16), np.array([5, 2, 250]), held)
    assert feed.images_nhwc is held.images_nhwc and list(pixels_by_sample(feed)) == [5, 2, 250]
    assert list(pixels_by_sample(plain_feed(beton, Place("resident", CPU), 64, parse("none", 16, 16)))) == [*range(300)]


@pytest.mark.parametrize(("wanted", "device", "room", "kind"), [
    ("auto", CPU, [True, True], "stream"), ("auto", CUDA, [True, True], "resident"),
    ("auto", CUDA, [True, False], "stream"), ("auto", CUDA, [False, True], "stream"),
    ("resident", CPU, [False], "resident"), ("stream", CUDA, [True], "stream")])
def test_auto_is_resident_where_a_gpu_has_room_for_all(wanted, device, room, kind, monkeypatch):
    betons = [SimpleNamespace(room=each) for each in room]
    monkeypatch.setattr(build, "fits", lambda beton, on: on == CUDA and beton.room)
    assert choose_kind(wanted, device, betons) == kind


def test_places_and_feeds_stay_as_they_were_made():
    for made in (Place("stream", CPU), Feeds("stream", None, None, None)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.kind = "resident"
    assert (Place("stream", CPU).threads, Place("stream", CPU).batches_ahead) == (0, 3)


def test_an_order_takes_whole_numbers_of_any_type_and_a_batch_of_all(beton):
    made = Order(beton, np.array([4, 2, 9], np.int32), 3, 0, True, (0, 1))
    assert made.order(1).dtype == np.int64 and sorted(made.order(1)) == [2, 4, 9] and len(made) == 1
    made.reseed(5)
    assert made.order(1).tolist() == Order(beton, [4, 2, 9], 3, 5, True, (0, 1)).order(1).tolist()


def test_what_is_held_lies_on_the_device(beton):
    assert {tensor.device.type for tensor in hold(beton, "meta")} == {"meta"}
