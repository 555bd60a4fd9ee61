"""The resident feed: a beton's pixels held on the device as uint8, each batch augmented there.

It gives what `loaders.feeds.stream.Stream` gives, sample for sample and pixel for pixel. A batch costs the host a few
launches and no copy; a step that is compiled or captured whole can take the pieces instead of the batches:

    images = resident.policy(resident.images_nhwc, resident.order(epoch)[at: at + batch], resident.keys(epoch))
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import psutil
import torch

from loaders.beton.cache import Beton, labels_of, pointers_of
from loaders.common import counter_rng
from loaders.common.errors import DataError
from loaders.device.executor import DevicePolicy, keys_of, working_bytes
from loaders.feeds import shards
from loaders.feeds.stream import Batch, check_start
from loaders.policy.policy import Policy


class Held(NamedTuple):
    """A beton on a device: `images_nhwc` uint8 (N, H, W, 3) and `labels` int64 (N,), in the beton's order."""

    images_nhwc: torch.Tensor
    labels: torch.Tensor


def hold(beton: Beton, device: torch.device | str) -> Held:
    """Read every image and label of a beton into the memory of `device`. Raises DataError where it cannot be read."""
    labels, pointers = labels_of(beton), pointers_of(beton).astype(np.int64)
    shape = (beton.height, beton.width, 3)
    image_bytes = int(np.prod(shape))
    images_nhwc = torch.empty((beton.samples, *shape), dtype=torch.uint8, device=device)
    mapped = np.memmap(beton.path, np.uint8, mode="r")
    # Within a page images follow each other; a run of them is one copy.
    breaks = np.flatnonzero(np.diff(pointers) != image_bytes) + 1
    for first, stop in pairwise([0, *breaks.tolist(), beton.samples]):
        run = mapped[pointers[first]: pointers[first] + (stop - first) * image_bytes]
        images_nhwc[first:stop].copy_(torch.from_numpy(np.array(run).reshape(-1, *shape)))
    return Held(images_nhwc, torch.from_numpy(labels.copy()).to(device))




def fits(beton: Beton, device: torch.device | str) -> bool:
    """Whether the images and what augmenting a batch takes stay below half of the memory that is free on the device.

    The other half is for the network. Where the free memory is not known (neither CUDA nor the CPU), the answer is no.
    """
    device = torch.device(device)
    if device.type == "cuda":
        free_bytes = torch.cuda.mem_get_info(device)[0]
    elif device.type == "cpu":
        free_bytes = psutil.virtual_memory().available
    else:
        return False
    images_bytes = beton.samples * beton.height * beton.width * 3
    return images_bytes + working_bytes(device) < free_bytes / 2


class Resident:
    """Batches of a beton that lies in device memory, augmented there, in an order that is a function of (seed, epoch).

    `indices` are the samples used (positions in the beton, distinct). With `shuffle` each epoch permutes them, else
    they come in the order given. The last batch may be smaller; every sample comes exactly once an epoch. `shard` and
    `samples`: as in Stream. mean_rgb: as in DevicePolicy. held: what `hold` gave, to share one copy between
    feeds; by default the beton is read here.

    Raises DataError where `batch` is larger than the number of samples and `shuffle` is set, where the last batch has
    fewer samples than there are ranks, where an index is not in the beton, or where the policy was made for images of
    another size.
    """

    def __init__(self, beton: Beton, indices: np.ndarray, batch: int, policy: Policy, *, seed: int = 0,
                 shuffle: bool = False, device: torch.device | str, mean_rgb: tuple[int, int, int],
                 shard: tuple[int, int] = (0, 1), held: Held | None = None):
        indices = np.asarray(indices, np.int64)
        if shuffle and batch > len(indices):
            raise DataError(f"train.batch={batch} is larger than the {len(indices)} training images: make it smaller")
        shards.check(len(indices), batch, shard)
        if len(indices) and not 0 <= indices.min() <= indices.max() < beton.samples:
            raise DataError(f"indices from {indices.min()} to {indices.max()}: {beton.path.name} has images 0 to "
                            f"{beton.samples - 1}")
        if (policy.height, policy.width) != (beton.height, beton.width):
            raise DataError(f"a policy for {policy.height}x{policy.width} px and images of {beton.height}x"
                            f"{beton.width} px: parse it for the images' size")
        self.beton, self.indices, self.batch = beton, indices, batch
        self.seed, self.shuffle, self.shard, self.device = seed, shuffle, shard, torch.device(device)
        self.policy = DevicePolicy(policy, mean_rgb=mean_rgb, device=device)
        self.images_nhwc, self.labels = held or hold(beton, device)
        self.samples, self.local_batch = len(indices), shards.local_batch(batch, shard)

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-self.samples // self.batch)

    def order(self, epoch: int) -> torch.Tensor:
        """The samples of `epoch` that come here, in their order, int64, on the device: worked out on the host."""
        order = counter_rng.order(self.seed, epoch, self.indices) if self.shuffle else self.indices
        order = torch.from_numpy(shards.share(order, self.batch, self.shard))
        return order.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else order

    def keys(self, epoch: int) -> torch.Tensor:
        """What the policy must know of the seed and the epoch: int64 (3,), on the device."""
        return keys_of(self.seed, epoch, self.device)

    @contextmanager
    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Iterator[Batch]]:
        """Open epoch `epoch` at batch `start`; as `Stream.epoch`, the tensors on the device and never written again."""
        check_start(start, len(self))
        yield self._batches(self.order(epoch), self.keys(epoch), start)

    def _batches(self, order: torch.Tensor, keys: torch.Tensor, start: int) -> Iterator[Batch]:
        for at in range(start * self.local_batch, len(order), self.local_batch):
            indices = order[at: at + self.local_batch]
            yield Batch(self.policy(self.images_nhwc, indices, keys), self.labels[indices], indices)

    def reseed(self, seed: int) -> None:
        """Draw the epochs opened from now on from another seed."""
        self.seed = seed

    def close(self) -> None:
        """Let go of the device memory. The feed cannot be used afterwards."""
        del self.images_nhwc, self.labels
