"""The train, validation and test feeds of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from loaders.beton.cache import Beton, labels_of
from loaders.feeds.resident import Held, Resident, fits
from loaders.feeds.shards import whole_batches
from loaders.feeds.split import stratified
from loaders.feeds.stream import MID_GREY, Stream
from loaders.policy.policy import Policy

Feed = Stream | Resident


@dataclass(frozen=True)
class Feeds:
    """`train` is augmented and shuffled. `validation` (None if nothing is held out) and `test` (None if the data set
    has none) are neither; all processes together cover each sample once. `kind`: "stream" or "resident".
    """

    kind: str
    train: Feed
    validation: Feed | None
    test: Feed | None

    def close(self) -> None:
        for feed in (self.train, self.validation, self.test):
            if feed is not None:
                feed.close()


@dataclass(frozen=True)
class Place:
    """Where and how batches are made. kind: "stream" or "resident"; threads and batches_ahead are for the stream."""

    kind: str
    device: torch.device
    threads: int = 0
    batches_ahead: int = 3


def choose_kind(wanted: str, device: torch.device, betons: Sequence[Beton]) -> str:
    """`auto` is resident on a GPU with enough memory for the betons, otherwise stream; other names are kept."""
    if wanted != "auto":
        return wanted
    return "resident" if device.type == "cuda" and all(fits(beton, device) for beton in betons) else "stream"


def train_feed(beton: Beton, place: Place, *, policy: Policy, batch: int, seed: int, validation: float,
               split_seed: int, mean_rgb: tuple[int, int, int],
               shard: tuple[int, int] = (0, 1)) -> tuple[Feed, np.ndarray | None]:
    """The training feed and the held-out samples, a stratified share `validation` (None if it is 0).

    `mean_rgb` (0..255) is the colour of fill=mean; `shard` as in Order.
    """
    indices, held_out = np.arange(beton.samples), None
    if validation > 0:
        indices, held_out = stratified(labels_of(beton), validation, split_seed, beton.class_names)
    options = {"seed": seed, "shuffle": True, "mean_rgb": mean_rgb, "shard": shard}
    if place.kind == "resident":
        return Resident(beton, indices, batch, policy, device=place.device, **options), held_out
    return Stream(beton, indices, batch, policy, device=place.device, threads=place.threads,
                  batches_ahead=place.batches_ahead, **options), held_out


def build_feeds(betons: Mapping[str, Beton], place: Place, *, eval_batch: int, eval_policy: Policy,
                shard: tuple[int, int] = (0, 1), **training) -> Feeds:
    """Feeds of the betons of "train" and, where the data set has them, "validation" and "test"; `training` are the
    other arguments of `train_feed`. A share of the training images is for data sets without "validation".

    `eval_policy` resizes validation and test images to the training policy's output size; it draws nothing. The process
    `shard` evaluates whole batches.
    """
    feed, held_out = train_feed(betons["train"], place, shard=shard, **training)

    def whole(split: str) -> Feed | None:
        beton = betons.get(split)
        return None if beton is None else plain_feed(beton, place, eval_batch, eval_policy,
                                                     whole_batches(np.arange(beton.samples), eval_batch, shard))

    validation = whole("validation")
    if held_out is not None:
        held = Held(feed.images_nhwc, feed.labels) if isinstance(feed, Resident) else None
        validation = plain_feed(betons["train"], place, eval_batch, eval_policy,
                                whole_batches(held_out, eval_batch, shard), held)
    return Feeds(place.kind, feed, validation, whole("test"))


def plain_feed(beton: Beton, place: Place, batch: int, policy: Policy, indices: np.ndarray | None = None,
               held: Held | None = None) -> Feed:
    """A feed of images in order (`indices`, by default all), each once; `held` is another feed's data on the device."""
    indices = np.arange(beton.samples) if indices is None else indices
    if place.kind == "resident":
        return Resident(beton, indices, batch, policy, device=place.device, mean_rgb=MID_GREY, held=held)
    return Stream(beton, indices, batch, policy, device=place.device, threads=place.threads)
