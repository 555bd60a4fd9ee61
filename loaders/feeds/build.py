"""The train, validation and test feeds of a data set, and batches that are on the device before they are asked for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from loaders.beton.cache import Beton, labels_of
from loaders.feeds.resident import Held, Resident, fits
from loaders.feeds.shards import whole_batches
from loaders.feeds.split import stratified
from loaders.feeds.stream import MID_GREY, Batch, Stream
from loaders.policy.policy import Policy


class DeviceFeed:
    """A stream whose batches arrive on `device`.

    On a GPU the next batch is copied from pinned memory on a side stream while the current one is used. On the CPU
    batches are passed on as they are.
    """

    def __init__(self, stream: Stream, device: torch.device):
        self.stream, self.device = stream, device
        self.samples, self.indices = stream.samples, stream.indices
        self.reseed, self.close = stream.reseed, stream.close

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.stream)

    @contextmanager
    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Iterator[Batch]]:
        """As Stream.epoch, the tensors on the device."""
        with self.stream.epoch(epoch, start) as batches:
            yield batches if self.device.type == "cpu" else self._ahead(batches)

    def _ahead(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        side, ready = torch.cuda.Stream(self.device), None
        for batch in batches:
            with torch.cuda.stream(side):
                coming = Batch(*(tensor.pin_memory().to(self.device, non_blocking=True) for tensor in batch))
            if ready is not None:
                yield ready
            torch.cuda.current_stream(self.device).wait_stream(side)
            for tensor in coming:
                # The allocator must not reuse this memory while the main stream still reads it.
                tensor.record_stream(torch.cuda.current_stream(self.device))
            ready = coming
        if ready is not None:
            yield ready


Feed = DeviceFeed | Resident


@dataclass(frozen=True)
class Feeds:
    """`train` is augmented and shuffled. `validation` (None where nothing is held out) and `test` (None where the data
    set has none) are neither; over all processes they cover every sample exactly once. `kind`: "stream" or "resident".
    """

    kind: str
    train: Feed
    validation: Feed | None
    test: Feed | None

    def close(self) -> None:
        """Close all feeds."""
        for feed in (self.train, self.validation, self.test):
            if feed is not None:
                feed.close()


@dataclass(frozen=True)
class Place:
    """Where and how batches are made. kind: "stream" or "resident"; threads, batches_ahead: of the stream."""

    kind: str
    device: torch.device
    threads: int = 0
    batches_ahead: int = 3


def choose_kind(wanted: str, device: torch.device, betons: Sequence[Beton]) -> str:
    """`auto` is resident on a GPU with room for the betons, otherwise stream; other names are kept."""
    if wanted != "auto":
        return wanted
    return "resident" if device.type == "cuda" and all(fits(beton, device) for beton in betons) else "stream"


def train_feed(beton: Beton, place: Place, *, policy: Policy, batch: int, seed: int, validation: float,
               split_seed: int, mean_rgb: tuple[int, int, int],
               shard: tuple[int, int] = (0, 1)) -> tuple[Feed, np.ndarray | None]:
    """The training feed, and the samples held out of it, stratified (None where the share `validation` is 0).

    `mean_rgb` (0..255) is the colour that a policy's fill=mean paints; `shard` as in Order.
    """
    indices, held_out = np.arange(beton.samples), None
    if validation > 0:
        indices, held_out = stratified(labels_of(beton), validation, split_seed)
    options = {"seed": seed, "shuffle": True, "mean_rgb": mean_rgb, "shard": shard}
    if place.kind == "resident":
        return Resident(beton, indices, batch, policy, device=place.device, **options), held_out
    stream = Stream(beton, indices, batch, policy, threads=place.threads, batches_ahead=place.batches_ahead, **options)
    return DeviceFeed(stream, place.device), held_out


def build_feeds(train: Beton, test: Beton | None, place: Place, *, eval_batch: int, eval_policy: Policy,
                shard: tuple[int, int] = (0, 1), **training) -> Feeds:
    """Feeds of a training beton and a test beton; `training` are the other arguments of `train_feed`.

    `eval_policy` brings validation and test images to the size that the training policy gives; it draws nothing. Of
    those images the process `shard` has whole batches.
    """
    feed, held_out = train_feed(train, place, shard=shard, **training)
    validation = None
    if held_out is not None:
        held = Held(feed.images_nhwc, feed.labels) if isinstance(feed, Resident) else None
        validation = plain_feed(train, place, eval_batch, eval_policy, whole_batches(held_out, eval_batch, shard), held)
    tested = None if test is None else plain_feed(test, place, eval_batch, eval_policy,
                                                  whole_batches(np.arange(test.samples), eval_batch, shard))
    return Feeds(place.kind, feed, validation, tested)


def plain_feed(beton: Beton, place: Place, batch: int, policy: Policy, indices: np.ndarray | None = None,
               held: Held | None = None) -> Feed:
    """A feed of images in order (`indices`, by default all), each once; `held` shares another feed's device memory."""
    indices = np.arange(beton.samples) if indices is None else indices
    if place.kind == "resident":
        return Resident(beton, indices, batch, policy, device=place.device, mean_rgb=MID_GREY, held=held)
    return DeviceFeed(Stream(beton, indices, batch, policy, threads=place.threads), place.device)
