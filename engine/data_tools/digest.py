"""One value for an epoch's data: equal exactly when all images, labels and indices are equal and in the same order.

The digest is the SHA-256 of the samples' SHA-256s (index, label, uint8 pixels) in the epoch's order. So it does not
depend on the batch size, and shards of several processes can be joined.
"""

import hashlib
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from multiprocessing import get_context

import numpy as np
import torch

from engine.build.datasets import open_betons, open_data
from engine.build.devices import choose_device, place_threads
from engine.build.feeds import build_train_feed
from engine.common.errors import EngineError
from loaders.feeds.shards import joined
from recipes.settings.load import Recipe, restore


def sample_digests(feed, epoch: int, start: int = 0) -> list[bytes]:
    """The SHA-256 of each sample of `epoch` from batch `start` on, in order."""
    return [digest for batch in batch_digests(feed, epoch, start) for digest in batch]


def batch_digests(feed, epoch: int, start: int = 0) -> list[list[bytes]]:
    """`sample_digests`, one list per batch."""
    digests = []
    with feed.epoch(epoch, start) as batches:
        for batch in batches:
            heads = torch.stack([batch.indices.cpu(), batch.labels.cpu()], 1).numpy().astype("<i8")
            images = np.ascontiguousarray(batch.images_bhwc.cpu().numpy())
            digests.append([hashlib.sha256(head.tobytes() + image.tobytes()).digest()
                            for head, image in zip(heads, images, strict=True)])
    return digests


def epoch_digest(recipe: Recipe, epoch: int, start: int = 0, processes: int = 1) -> tuple[str, int]:
    """(SHA-256 in hex, samples) of an epoch of the recipe's training data from batch `start` on, each of `processes`
    drawing a shard of every batch; EngineError if `start` is past the last batch."""
    shard = partial(shard_digests, recipe.name, dict(recipe.values), epoch, start, processes)
    if processes == 1:
        parts = [shard(0)]
    else:
        # The thread pools of compiled kernels do not survive a fork.
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(shard, range(processes)))
    in_order = joined(parts)
    if not in_order:
        raise EngineError(f"--start={start} is past the last batch of the epoch: give a smaller one")
    return hashlib.sha256(b"".join(in_order)).hexdigest(), len(in_order)


def shard_digests(name: str, values: dict, epoch: int, start: int, shards: int, shard: int) -> list[list[bytes]]:
    """The sample digests of one process's shard of an epoch of the recipe `name` with `values`, one list per batch."""
    recipe = restore(name, values)
    device = choose_device(recipe.section("train").device)
    threads = place_threads(recipe, device)
    betons = open_betons(recipe, open_data(recipe))
    with closing(build_train_feed(recipe, betons, device, threads, (shard, shards))) as feed:
        return batch_digests(feed, epoch, min(start, len(feed)))
