"""Batches from FFCV's Loader: threads, errors, closing, and a position that any batch can be reached from.

FFCV (mended in `loaders.feeds.ffcv_fixes`) maps the beton, walks the order in its own thread and keeps batches ready;
`loaders.host.executor` decodes and augments. FFCV uses its buffers again while the caller may still hold them: here
a buffer returns to the pool when nobody holds it. FFCV mixes seed and epoch by adding them and leaves augmentation
unseeded: order and pixels come from `loaders.common.counter_rng`.
"""

import itertools
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from loaders.beton.cache import Beton, labels_of, pointers_of
from loaders.common import counter_rng
from loaders.common.errors import DataError
from loaders.feeds import shards
from loaders.feeds.ffcv_fixes import close_all, import_ffcv
from loaders.host.executor import PackedPolicy, augment
from loaders.policy.policy import Policy

MID_GREY = (128, 128, 128)


class Batch(NamedTuple):
    """`images_bhwc` uint8 (B, H, W, 3), `labels` int64 (B,), `indices` int64 (B,): positions in the beton."""

    images_bhwc: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_start(start: int, batches: int) -> None:
    """DataError unless batch `start` is one of an epoch's, or the place after its last."""
    if not 0 <= start <= batches:
        raise DataError(f"an epoch of {batches} batches cannot be opened at batch {start}: give 0 to {batches}")


class BufferPool:
    """Batch buffers that are used again only when nobody outside holds them; for any number of threads.

    Ownership is read off CPython's reference count: a tensor made of a buffer holds a reference to it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape, self.dtype = shape, dtype
        self.buffers: list[np.ndarray] = []
        self.lock = threading.Lock()

    def take(self, count: int) -> np.ndarray:
        """Return the first `count` images of a buffer that no one else references."""
        # The view is made before the lock is released: from then on it is the reference that others see.
        with self.lock:
            for position in range(len(self.buffers)):
                # The list's reference and getrefcount's own argument are the only two.
                if sys.getrefcount(self.buffers[position]) == 2:
                    return self.buffers[position][:count]
            self.buffers.append(np.empty(self.shape, self.dtype))
            return self.buffers[-1][:count]


class Stream:
    """Batches of a beton, augmented by a policy, in an order that is a function of (seed, epoch) alone.

    `indices` are the samples used (positions in the beton). With `shuffle` each epoch permutes them, else they come
    in the order given. `mean_rgb` is the colour that fill=mean paints. The last batch may be smaller; every sample
    comes exactly once an epoch. What a sample looks like depends on (policy, seed, epoch, sample) only: not on
    `threads`, `batch` or what ran before. With `shard` = (rank, ranks) only that process's block of each batch comes
    (see loaders.feeds.shards): those of all ranks together are the epoch; `samples` counts all of them.

    Raises DataError where `batch` is larger than the number of samples (and `shuffle` is set: a training feed whose
    batches are not of the size that was asked for is a mistake), where the last batch has fewer samples than there are
    ranks, or where FFCV is missing.
    """

    def __init__(self, beton: Beton, indices: np.ndarray, batch: int, policy: Policy, *, seed: int = 0,
                 shuffle: bool = False, mean_rgb: tuple[int, int, int] = MID_GREY, threads: int = 0,
                 batches_ahead: int = 3, shard: tuple[int, int] = (0, 1)):
        if shuffle and batch > len(indices):
            raise DataError(f"train.batch={batch} is larger than the {len(indices)} training images: make it smaller")
        shards.check(len(indices), batch, shard)
        loader_class, self._iterator_class, decoder_class = import_ffcv()
        self.beton, self.indices, self.batch = beton, np.asarray(indices, np.int64), batch
        self.seed, self.shuffle, self.policy, self.shard = seed, shuffle, policy, shard
        self.samples, self.local_batch = len(self.indices), shards.local_batch(batch, shard)
        self.threads = min(threads or usable_cores(), usable_cores())
        self.labels, pointers = labels_of(beton), pointers_of(beton)
        packed = PackedPolicy(policy, mean_rgb)
        pool = BufferPool((self.local_batch, *packed.out_shape), np.dtype(np.uint8))
        used_threads = self.threads

        def decode(batch_indices, _memory, _metadata, storage_state):
            images_bhwc = pool.take(len(batch_indices))
            augment(storage_state[0], pointers, batch_indices, packed, storage_state[-1], images_bhwc,
                    threads=used_threads)
            return images_bhwc

        decode.ready = True

        # FFCV takes the first operation for the decoder only where it is of the field's own class.
        class FusedDecoder(decoder_class):
            """Decoding and augmentation in one call; it brings its own memory."""

            def declare_state_and_memory(self, previous_state):
                return previous_state, None

            def generate_code(self):
                return decode

        self._loader = loader_class(str(beton.path), self.local_batch, num_workers=1, batches_ahead=batches_ahead,
                                    drop_last=False, indices=self.indices[:1], seed=0,
                                    pipelines={"image": [FusedDecoder()], "label": None})
        self._mine: weakref.WeakSet = weakref.WeakSet()

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-self.samples // self.batch)

    def order(self, epoch: int) -> np.ndarray:
        """The samples of `epoch` that come here, in their order, int64."""
        order = counter_rng.order(self.seed, epoch, self.indices) if self.shuffle else self.indices
        return shards.share(order, self.batch, self.shard)

    @contextmanager
    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Iterator[Batch]]:
        """Open epoch `epoch` at batch `start`; closes and joins FFCV's thread however the block is left.

            with stream.epoch(3) as batches:
                for batch in batches: ...

        Tensors stay as they are for as long as they are held. An exception in the pipeline is raised here.
        """
        check_start(start, len(self))
        order = self.order(epoch)[start * self.local_batch:]
        if not len(order):
            yield iter(())
            return
        source = self._iterator_class(self._loader, order, counter_rng.epoch_state(self.seed, epoch))
        self._mine.add(source)
        try:
            yield self._batches(source, order)
        finally:
            source.finish()

    def _batches(self, source, order: np.ndarray) -> Iterator[Batch]:
        for position in itertools.count():
            images_bhwc = source.take()
            if images_bhwc is None:
                # FFCV takes a StopIteration that an operation raises for the end of the epoch.
                if position * self.local_batch < len(order):
                    raise RuntimeError(f"the loader stopped after {position} of "
                                       f"{-(-len(order) // self.local_batch)} batches")
                return
            indices = order[position * self.local_batch: (position + 1) * self.local_batch]
            yield Batch(torch.from_numpy(images_bhwc), torch.from_numpy(self.labels[indices]),
                        torch.from_numpy(indices.copy()))

    def reseed(self, seed: int) -> None:
        """Draw the epochs opened from now on from another seed."""
        self.seed = seed

    def close(self) -> None:
        """Close every epoch still open. The stream cannot be used afterwards."""
        close_all(self._mine)
