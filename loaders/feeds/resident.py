"""The resident feed: a beton's pixels held on the device as uint8, each batch augmented there.

Its batches equal those of `loaders.feeds.stream.Stream`, pixel for pixel, and cost the host a few launches and no copy.
A step that is recorded as a whole augments them itself: it gets them `Unmade`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from loaders.beton.cache import Beton, labels_of, pointers_of
from loaders.device.draws import to_device
from loaders.device.executor import DevicePolicy, keys_of, working_bytes
from loaders.feeds.order import Order
from loaders.feeds.stream import Batch
from loaders.policy.policy import Policy


class Held(NamedTuple):
    """A beton on a device: `images_nhwc` uint8 (N, H, W, 3) and `labels` int64 (N,), in the beton's order."""

    images_nhwc: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Unmade:
    """The images of a batch before augmentation: `make(indices, keys)` gives them as uint8 `shape`, (B, H, W, 3).

    indices: int64 (B,); keys: int64 (3,), those of the epoch; both on the device.
    """

    indices: torch.Tensor
    keys: torch.Tensor
    shape: tuple[int, int, int, int]
    make: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def hold(beton: Beton, device: torch.device | str) -> Held:
    """Read every image and label of a beton into the memory of `device`. Raises DataError if it cannot be read."""
    labels, pointers = labels_of(beton), pointers_of(beton).astype(np.int64)
    shape = (beton.height, beton.width, 3)
    image_bytes = int(np.prod(shape))
    images_nhwc = torch.empty((beton.samples, *shape), dtype=torch.uint8, device=device)
    mapped = np.memmap(beton.path, np.uint8, mode="r")
    # Images within a page are adjacent: one copy for all of them.
    breaks = np.flatnonzero(np.diff(pointers) != image_bytes) + 1
    for first, stop in pairwise([0, *breaks.tolist(), beton.samples]):
        run = mapped[pointers[first]: pointers[first] + (stop - first) * image_bytes]
        images_nhwc[first:stop].copy_(torch.from_numpy(np.array(run).reshape(-1, *shape)))
    return Held(images_nhwc, torch.from_numpy(labels.copy()).to(device))


def fits(beton: Beton, device: torch.device | str) -> bool:
    """Whether images and augmentation take less than half of a GPU's free memory; the network needs the other half."""
    images_bytes = beton.samples * beton.height * beton.width * 3
    return images_bytes + working_bytes(device) < torch.cuda.mem_get_info(device)[0] / 2


class Resident(Order):
    """Batches of a beton in device memory, augmented there; samples and errors as in Order.

    mean_rgb: as in DevicePolicy. held: the result of `hold`, which feeds may share; by default the beton is read here.
    """

    def __init__(self, beton: Beton, indices: np.ndarray, batch: int, policy: Policy, *, seed: int = 0,
                 shuffle: bool = False, device: torch.device | str, mean_rgb: tuple[int, int, int],
                 shard: tuple[int, int] = (0, 1), held: Held | None = None):
        super().__init__(beton, indices, batch, seed, shuffle, shard)
        self.device = torch.device(device)
        self.policy = DevicePolicy(policy, mean_rgb=mean_rgb, device=device)
        self.images_nhwc, self.labels = held or hold(beton, device)
        # A GPU takes about as long for many small batches as for one; a CPU's caches hold one.
        many = max(1, self.policy.chunk // self.local_batch) if self.device.type == "cuda" else 1
        self.samples_per_call = many * self.local_batch
        self.uploaded = None

    def keys(self, epoch: int) -> torch.Tensor:
        return keys_of(self.seed, epoch, self.device)

    def make(self, indices: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """The augmented images of samples, uint8 (B, H, W, 3): indices int64 (B,), keys int64 (3,), on the device."""
        return self.policy(self.images_nhwc, indices, keys)

    def prepare(self, epoch: int) -> None:
        """As Order's; the order and the labels in it go to the device too."""
        self.uploaded = (self.seed, epoch, 0), self._upload(epoch, 0)

    def _upload(self, epoch: int, start: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        order = to_device(torch.from_numpy(self.order(epoch, start)), self.device)
        return order, self.labels[order], self.keys(epoch)

    def _uploaded(self, epoch: int, start: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(order, labels in that order, keys) of an epoch from batch `start` on, on the device."""
        (of, uploaded), self.uploaded = self.uploaded or (None, None), None
        return uploaded if of == (self.seed, epoch, start) else self._upload(epoch, start)

    @contextmanager
    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Iterator[Batch]]:
        """As `Stream.epoch`; the tensors are never written again. On a GPU several batches are augmented at once."""
        yield self._batches(*self._uploaded(epoch, start))

    def _batches(self, order: torch.Tensor, labels: torch.Tensor, keys: torch.Tensor) -> Iterator[Batch]:
        parts = zip(order.split(self.samples_per_call), labels.split(self.samples_per_call), strict=True)
        for indices, of_call in parts if len(order) else ():
            whole = self.make(indices, keys), of_call, indices
            yield from map(Batch, *(tensor.split(self.local_batch) for tensor in whole))

    @contextmanager
    def unmade_epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Iterator[Batch]]:
        """As `epoch`, with `Unmade` images: the receiver augments them, a batch at a time."""
        order, labels, keys = self._uploaded(epoch, start)
        image_shape = self.policy.policy.output_height, self.policy.policy.output_width, 3
        parts = zip(order.split(self.local_batch), labels.split(self.local_batch), strict=True)
        yield (Batch(Unmade(indices, keys, (len(indices), *image_shape), self.make), of_batch, indices)
               for indices, of_batch in parts if len(indices))

    def compile(self) -> None:
        """Nothing is compiled before the first batch, whose step compiles too."""

    def close(self) -> None:
        """Free the device memory. The feed cannot be used afterwards."""
        del self.images_nhwc, self.labels
