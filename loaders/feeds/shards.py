"""One global order among several processes: of each of its batches every process has one contiguous block.

    batch k            order[k * batch: (k + 1) * batch], as for a single process; n samples (the last may have fewer)
    process r of R     block(n, r, R) of them

So the blocks of all processes, put side by side batch by batch, are the epoch, and what a batch holds does not depend
on how many share it. Of a smaller batch no process has more than of a larger one.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from loaders.common.errors import DataError

Sample = TypeVar("Sample")


def block(count: int, rank: int, ranks: int) -> tuple[int, int]:
    """(first, stop) of the block of `count` samples that is `rank`'s; sizes differ by one at most, the larger first."""
    each, over = divmod(count, ranks)
    first = rank * each + min(rank, over)
    return first, first + each + (rank < over)


def share(order: np.ndarray, batch: int, shard: tuple[int, int]) -> np.ndarray:
    """What of `order` (N,), cut into batches, is the share of process `shard` = (rank, ranks), in order."""
    whole = len(order) - len(order) % batch
    first, stop = block(batch, *shard)
    rest_first, rest_stop = block(len(order) - whole, *shard)
    return np.concatenate([order[:whole].reshape(-1, batch)[:, first:stop].ravel(),
                           order[whole:][rest_first:rest_stop]])


def local_batch(batch: int, shard: tuple[int, int]) -> int:
    """Samples of a full batch that are the process's own."""
    first, stop = block(batch, *shard)
    return stop - first


def check(samples: int, batch: int, shard: tuple[int, int]) -> None:
    """DataError where one of an epoch's batches has fewer samples than there are processes."""
    smallest, ranks = samples % batch or batch, shard[1]
    if samples and smallest < ranks:
        raise DataError(f"train.batch={batch} leaves {smallest} of {samples:,} images for the last batch, fewer than "
                        f"the {ranks} processes that share it: choose another batch or fewer processes")


def joined(parts: Iterable[Sequence[Sequence[Sample]]]) -> list[Sample]:
    """The epoch again from the processes' parts, by rank, each a list of blocks, batch by batch."""
    return [sample for blocks in zip(*parts, strict=True) for part in blocks for sample in part]


def whole_batches(indices: np.ndarray, batch: int, shard: tuple[int, int]) -> np.ndarray:
    """Every ranks-th batch of `indices` (N,) from the rank-th on: how an evaluation, whose batches need nothing of each
    other, is divided; each batch stays what it is for a single process, to the last bit of its answers."""
    rank, ranks = shard
    return np.concatenate([indices[at: at + batch] for at in range(rank * batch, len(indices), ranks * batch)]
                          or [indices[:0]])
