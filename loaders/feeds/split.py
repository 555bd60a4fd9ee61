"""Splits a data set in two by index, alike in every process."""

from collections.abc import Sequence

import numpy as np

from loaders.common.counter_rng import hash64
from loaders.common.errors import DataError
from loaders.common.text import listed

MOST_SHOWN = 10


def stratified(labels: np.ndarray, fraction: float, seed: int,
               class_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Hold out `fraction` of the samples for validation, from each class in proportion.

    labels: integers (N,); 0 < fraction < 1. Returns (train_indices, validation_indices): sorted int64, disjoint,
    together 0..N-1. The validation part has round(fraction * N) samples, divided among the classes by largest remainder
    (ties go to the lower class). A hash of (seed, index) chooses the samples within a class. Raises DataError, with the
    names of all such classes, if a class would have no sample in one part.
    """
    classes, class_of, counts = np.unique(labels, return_inverse=True, return_counts=True)
    quotas = fraction * counts
    taken = np.floor(quotas).astype(np.int64)
    missing = round(fraction * labels.size) - int(taken.sum())
    taken[np.argsort(-(quotas - taken), kind="stable")[:max(missing, 0)]] += 1

    for side, left in (("validation", taken), ("training", counts - taken)):
        if not left.all():
            bare = [f"{class_names[classes[at]]!r} ({counts[at]:,} in all)" for at in np.flatnonzero(left == 0)]
            raise DataError(f"data.validation={fraction:g} would leave no image for {side} in {len(bare):,} of "
                            f"{len(classes):,} classes: {listed(bare, MOST_SHOWN)}; choose another share or add images")

    # Within a class samples are ordered by hash, so the first `taken` are a random subset.
    order = np.lexsort((hash64(seed, np.arange(labels.size)), class_of))
    rank_in_class = np.arange(labels.size) - np.repeat(np.cumsum(counts) - counts, counts)
    held_out = np.zeros(labels.size, bool)
    held_out[order] = rank_in_class < np.repeat(taken, counts)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
