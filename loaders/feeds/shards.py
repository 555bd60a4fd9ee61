"""Divides one global order among processes: each process has one contiguous block of every batch.

    batch k            order[k * batch: (k + 1) * batch], as for a single process; n samples (the last may have fewer)
    process r of R     block(n, r, R) of them

The blocks of all processes, joined batch by batch, are the epoch: the number of processes does not change a batch. A
smaller batch gives no process more samples than a larger one.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from loaders.common.errors import DataError

Sample = TypeVar("Sample")


def block(count: int, rank: int, ranks: int) -> tuple[int, int]:
    """(first, stop) of `rank`'s block of `count` samples; sizes differ by at most one, larger ones first."""
    each, over = divmod(count, ranks)
    first = rank * each + min(rank, over)
    return first, first + each + (rank < over)


def share(order: np.ndarray, batch: int, shard: tuple[int, int]) -> np.ndarray:
    """The blocks of process `shard` = (rank, ranks) in the batches of `order` (N,), in order."""
    whole = len(order) - len(order) % batch
    first, stop = block(batch, *shard)
    rest_first, rest_stop = block(len(order) - whole, *shard)
    return np.concatenate([order[:whole].reshape(-1, batch)[:, first:stop].ravel(),
                           order[whole:][rest_first:rest_stop]])


def local_batch(batch: int, shard: tuple[int, int]) -> int:
    """The size of the process's block of a full batch."""
    first, stop = block(batch, *shard)
    return stop - first


def check(samples: int, batch: int, shard: tuple[int, int]) -> None:
    """DataError if a batch of an epoch has fewer samples than there are processes."""
    smallest, ranks = samples % batch or batch, shard[1]
    if samples and smallest < ranks:
        raise DataError(f"train.batch={batch} leaves {smallest} of {samples:,} images for the last batch, fewer than "
                        f"the {ranks} processes that share it: choose another batch or fewer processes")


def joined(parts: Iterable[Sequence[Sequence[Sample]]]) -> list[Sample]:
    """The epoch, joined from the processes' parts by rank; each part is a list of blocks, batch by batch."""
    return [sample for blocks in zip(*parts, strict=True) for part in blocks for sample in part]


def whole_batches(indices: np.ndarray, batch: int, shard: tuple[int, int]) -> np.ndarray:
    """Every ranks-th batch of `indices` (N,) from the rank-th on: a process's share of an evaluation. The batches equal
    those of a single process, so predictions are equal bit for bit."""
    rank, ranks = shard
    return np.concatenate([indices[at: at + batch] for at in range(rank * batch, len(indices), ranks * batch)]
                          or [indices[:0]])
