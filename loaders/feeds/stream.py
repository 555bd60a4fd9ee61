"""The stream feed: batches from FFCV's Loader, decoded and augmented on the host, copied to the device ahead of use.

FFCV (with `loaders.feeds.ffcv_fixes`) maps the beton, walks the order in its own thread and keeps batches ready;
`loaders.host.executor` decodes and augments. Unlike FFCV, the feed reuses a buffer only when nobody holds it, and takes
order and pixels from `loaders.common.counter_rng`.
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
from loaders.feeds.ffcv_fixes import close_all, import_ffcv
from loaders.feeds.order import Order
from loaders.host.executor import PackedPolicy, augment, compile_kernel
from loaders.policy.policy import Policy

MID_GREY = (128, 128, 128)


class Batch(NamedTuple):
    """`images_bhwc` uint8 (B, H, W, 3), `labels` int64 (B,), `indices` int64 (B,): positions in the beton.

    A stream leaves the indices in host memory: training does not read them.
    """

    images_bhwc: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


class BufferPool:
    """Batch buffers, reused when CPython's count shows no outside reference, as a tensor of it holds; thread-safe.

    pinned: a GPU can copy from them while the host goes on.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, pinned: bool = False):
        self.shape, self.dtype, self.pinned = shape, dtype, pinned
        self.buffers: list[np.ndarray] = []
        self.lock = threading.Lock()

    def take(self, count: int) -> np.ndarray:
        """The first `count` images of a buffer that nobody else references."""
        # The view is made under the lock: other threads then see its reference.
        with self.lock:
            for position in range(len(self.buffers)):
                # The list's reference and getrefcount's own argument are the only two.
                if sys.getrefcount(self.buffers[position]) == 2:
                    return self.buffers[position][:count]
            buffer = np.empty(self.shape, self.dtype)
            self.buffers.append(torch.from_numpy(buffer).pin_memory().numpy() if self.pinned else buffer)
            return self.buffers[-1][:count]


class Stream(Order):
    """Batches of a beton, augmented by a policy, on `device`; samples and errors as in Order.

    A sample's pixels depend on (policy, seed, epoch, sample) only: not on `threads`, `batch` or earlier epochs.
    `mean_rgb` is the colour of fill=mean. Also raises DataError if FFCV is missing.
    """

    def __init__(self, beton: Beton, indices: np.ndarray, batch: int, policy: Policy, *, seed: int = 0,
                 shuffle: bool = False, mean_rgb: tuple[int, int, int] = MID_GREY, threads: int = 0,
                 batches_ahead: int = 3, shard: tuple[int, int] = (0, 1), device: torch.device | str = "cpu"):
        super().__init__(beton, indices, batch, seed, shuffle, shard)
        loader_class, self._iterator_class, decoder_class = import_ffcv()
        self.policy, self.device = policy, torch.device(device)
        self.threads = used_threads = min(threads or usable_cores(), usable_cores())
        self.labels, pointers = labels_of(beton), pointers_of(beton)
        packed = PackedPolicy(policy, mean_rgb)
        pool = BufferPool((self.local_batch, *packed.out_shape), np.dtype(np.uint8), self.device.type == "cuda")

        def decode(batch_indices, _memory, _metadata, storage_state):
            images_bhwc = pool.take(len(batch_indices))
            augment(storage_state[0], pointers, batch_indices, packed, storage_state[-1], images_bhwc,
                    threads=used_threads)
            return images_bhwc

        decode.ready = True

        # FFCV accepts the first operation as the decoder only if its class is the field's decoder class.
        class FusedDecoder(decoder_class):
            """Decoding and augmentation in one call."""

            def declare_state_and_memory(self, previous_state):
                return previous_state, None

            def generate_code(self):
                return decode

        self._loader = loader_class(str(beton.path), self.local_batch, num_workers=1, batches_ahead=batches_ahead,
                                    drop_last=False, indices=self.indices[:1], seed=0,
                                    pipelines={"image": [FusedDecoder()], "label": None})
        self._mine: weakref.WeakSet = weakref.WeakSet()

    @contextmanager
    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Iterator[Batch]]:
        """Open epoch `epoch` at batch `start`; leaving the block closes and joins FFCV's thread.

            with stream.epoch(3) as batches:
                for batch in batches: ...

        Tensors do not change while they are held. An exception in the pipeline is raised here. For a GPU the next batch
        is copied, from the pinned memory that the loader filled, on a side stream while the current one is used.
        """
        with self.host_epoch(epoch, start) as batches:
            yield batches if self.device.type == "cpu" else copied_ahead(batches, self.device)

    @contextmanager
    def host_epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Iterator[Batch]]:
        """As `epoch`, with the batches in host memory."""
        order = self.order(epoch, start)
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
                # FFCV takes a StopIteration that an operation raises as the end of the epoch.
                if position * self.local_batch < len(order):
                    raise RuntimeError(f"the loader stopped after {position} of "
                                       f"{-(-len(order) // self.local_batch)} batches")
                return
            indices = order[position * self.local_batch: (position + 1) * self.local_batch]
            yield Batch(torch.from_numpy(images_bhwc), torch.from_numpy(self.labels[indices]),
                        torch.from_numpy(indices.copy()))

    def compile(self) -> None:
        """Compile the kernel that makes batches, so that the first one does not wait for it."""
        compile_kernel(self.threads)

    def close(self) -> None:
        """Close all open epochs. The stream cannot be used afterwards."""
        close_all(self._mine)


def copied_ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Batches whose images and labels are on `device`, a GPU: each is on its way while the one before is used. The
    images of `batches` lie in pinned memory, which is held until it has been read."""
    side, ready = torch.cuda.Stream(device), None
    for batch in batches:
        with torch.cuda.stream(side):
            labels = batch.labels.pin_memory()
            coming = Batch(batch.images_bhwc.to(device, non_blocking=True), labels.to(device, non_blocking=True),
                           batch.indices)
            copied = torch.cuda.Event()
            copied.record(side)
        if ready is not None:
            yield ready
        torch.cuda.current_stream(device).wait_stream(side)
        for tensor in coming[:2]:
            # The allocator must not reuse this memory while the main stream still reads it.
            tensor.record_stream(torch.cuda.current_stream(device))
        # A step later the copy is done: this waits for nothing, unless the step took no time.
        copied.synchronize()
        ready = coming
    if ready is not None:
        yield ready
