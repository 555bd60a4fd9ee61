"""The samples of an epoch, their order and their batches, for all feeds."""

import numpy as np

from loaders.beton.manifest import Beton
from loaders.common import counter_rng
from loaders.common.errors import DataError
from loaders.feeds import shards


class Order:
    """The samples `indices` (distinct positions in a beton), in an order that is a function of (seed, epoch) alone.

    `shuffle` permutes them in each epoch. An epoch has every sample once; its last batch may be smaller. `shard` =
    (rank, ranks) restricts each batch to that process's block (see loaders.feeds.shards); `samples` counts those of all
    processes. Raises DataError if `shuffle` is set and `batch` exceeds the number of samples, or if the last batch has
    fewer samples than there are processes.
    """

    def __init__(self, beton: Beton, indices: np.ndarray, batch: int, seed: int, shuffle: bool, shard: tuple[int, int]):
        self.beton, self.indices, self.batch = beton, np.asarray(indices, np.int64), batch
        self.seed, self.shuffle, self.shard, self.samples = seed, shuffle, shard, len(self.indices)
        if shuffle and batch > self.samples:
            raise DataError(f"train.batch={batch} is larger than the {self.samples} training images: make it smaller")
        shards.check(self.samples, batch, shard)
        self.local_batch = shards.local_batch(batch, shard)
        self.prepared = None

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.samples // self.batch)

    def order(self, epoch: int, start: int = 0) -> np.ndarray:
        """This process's samples of `epoch` from batch `start` on, int64; DataError for a `start` out of range."""
        if not 0 <= start <= len(self):
            raise DataError(f"an epoch of {len(self)} batches cannot be opened at batch {start}: give 0 to {len(self)}")
        of, order = self.prepared or (None, None)
        if of != (self.seed, epoch):
            order = counter_rng.order(self.seed, epoch, self.indices) if self.shuffle else self.indices
        return shards.share(order, self.batch, self.shard)[start * self.local_batch:]

    def prepare(self, epoch: int) -> None:
        """Calculate the order of an epoch that will be opened next, while there is time."""
        self.prepared = None
        if self.shuffle:
            self.prepared = (self.seed, epoch), counter_rng.order(self.seed, epoch, self.indices)

    def reseed(self, seed: int) -> None:
        """Use another seed for all epochs opened later."""
        self.seed = seed
