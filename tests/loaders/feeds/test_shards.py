"""The block rule against plain lists: a partition of every batch, in order, for all sizes."""

import numpy as np
import pytest

from loaders.common.errors import DataError
from loaders.feeds import shards

ORDER = np.random.default_rng(5).permutation(400)


def test_blocks_follow_each_other_and_differ_by_one_at_most():
    for count in range(40):
        for ranks in range(1, 9):
            blocks = [shards.block(count, rank, ranks) for rank in range(ranks)]
            sizes = [stop - first for first, stop in blocks]
            assert [sample for first, stop in blocks for sample in range(first, stop)] == list(range(count))
            assert max(sizes) - min(sizes) <= 1


def test_a_smaller_batch_gives_no_process_more_than_a_larger_one():
    for ranks in range(1, 9):
        for rank in range(ranks):
            sizes = [stop - first for first, stop in (shards.block(count, rank, ranks) for count in range(60))]
            assert sizes == sorted(sizes)


@pytest.mark.parametrize("samples, batch", [(37, 8), (40, 8), (5, 8), (400, 50), (400, 399), (9, 3)])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_shares_together_are_the_epoch(samples, batch, ranks):
    order, parts = ORDER[:samples], []
    for rank in range(ranks):
        own, size = shards.share(order, batch, (rank, ranks)), shards.local_batch(batch, (rank, ranks))
        blocks = [own[at: at + size].tolist() for at in range(0, len(own), size)]
        for number, block in enumerate(blocks):
            whole = order[number * batch: (number + 1) * batch].tolist()
            first, stop = shards.block(len(whole), rank, ranks)
            assert block == whole[first:stop]
        parts.append(blocks + [[]] * (-(-samples // batch) - len(blocks)))
    assert shards.joined(parts) == order.tolist()


def test_a_last_batch_smaller_than_the_processes_is_refused():
    shards.check(102, 50, (0, 2))
    shards.check(100, 50, (0, 3))
    shards.check(0, 50, (0, 99))
    with pytest.raises(DataError, match="^train.batch=50 leaves 2 of 1,002 images for the last batch, fewer than the 3 "
                                        "processes that share it: choose another batch or fewer processes$"):
        shards.check(1002, 50, (0, 3))


@pytest.mark.parametrize("samples, batch, ranks", [(100, 30, 1), (100, 30, 2), (100, 30, 3), (20, 30, 3), (0, 5, 2)])
def test_whole_batches_go_to_the_processes_in_turn(samples, batch, ranks):
    indices = ORDER[:samples]
    whole = [indices[at: at + batch].tolist() for at in range(0, samples, batch)]
    for rank in range(ranks):
        own = shards.whole_batches(indices, batch, (rank, ranks))
        assert [own[at: at + batch].tolist() for at in range(0, len(own), batch)] == whole[rank::ranks]
