"""The draws: their published source, uniformity, independence of neighbouring streams, the order, and hash64."""

import numpy as np
import pytest

from loaders.common import counter_rng
from loaders.common.counter_rng import hash64, uniform
from loaders.common.errors import DataError
from tests.loaders.reference_values import below, below_low

SAMPLES = np.arange(40_000, dtype=np.uint64)


def bits_of(seed: int, epoch: int, slot: int, samples: np.ndarray = SAMPLES) -> np.ndarray:
    return counter_rng.child(counter_rng.child(counter_rng.epoch_key(seed, epoch), samples), slot)


def fractions(seed: int, epoch: int, slot: int) -> np.ndarray:
    return (bits_of(seed, epoch, slot) >> np.uint64(40)).astype(np.float64) / 2**24


def test_the_mixer_is_splitmix64():
    # The first outputs of SplitMix64 seeded with 0, as its authors' code prints them.
    assert [counter_rng.child(0, k) for k in range(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_arrays_and_integers_agree():
    key = counter_rng.epoch_key(7, 11)
    keys = counter_rng.child(key, SAMPLES[:50])
    assert keys.dtype == np.uint64 and keys.tolist() == [counter_rng.child(key, k) for k in range(50)]
    assert counter_rng.child(keys, 31).tolist() == [counter_rng.child(int(k), 31) for k in keys]


def test_state_holds_the_keys_of_seed_and_epoch():
    state = counter_rng.epoch_state(5, 3)
    assert state.dtype == np.uint64
    assert state.tolist() == [counter_rng.epoch_key(5, 3), counter_rng.mix(5 + counter_rng.ALTERNATE), 1]


@pytest.mark.parametrize("slot", [0, 15, 16, 1007])
def test_top_bits_are_uniform(slot):
    counts = np.histogram(fractions(0, 0, slot), bins=100, range=(0, 1))[0]
    chi_square = ((counts - 400) ** 2 / 400).sum()
    assert 55 < chi_square < 160  # 99 degrees of freedom: within 4.5 standard deviations


def test_integers_below_n_are_uniform_in_both_halves():
    for take in (below, below_low):
        counts = np.bincount([take(int(bits), 9) for bits in bits_of(3, 2, 1)[:18_000]], minlength=9)
        assert counts.size == 9 and ((counts - 2000) ** 2 / 2000).sum() < 35


@pytest.mark.parametrize("other", [
    (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 16, 0), (0, 0, 0, 1), (1, 1, 0, 0), (2, 0, 1, 0),
])
def test_neighbouring_streams_are_independent(other):
    """Seeds, epochs, slots and samples one apart: no linear correlation, and a flat joint distribution."""
    seed, epoch, slot, shift = other
    a, b = fractions(0, 0, 0), np.roll(fractions(seed, epoch, slot), shift)
    assert abs(np.corrcoef(a, b)[0, 1]) < 4.5 / np.sqrt(a.size)
    joint = np.histogram2d(a, b, bins=10, range=((0, 1), (0, 1)))[0]
    assert ((joint - 400) ** 2 / 400).sum() < 170


def test_every_bit_flips_half_of_the_outputs():
    words = counter_rng.child(1, SAMPLES[:4000])
    for bit in range(0, 64, 7):
        changed = counter_rng.mix(words) ^ counter_rng.mix(words ^ np.uint64(1 << bit))
        per_bit = [((changed >> np.uint64(k)) & np.uint64(1)).mean() for k in range(64)]
        assert 0.45 < min(per_bit) and max(per_bit) < 0.55


def test_seeds_and_epochs_do_not_add_up():
    keys = {counter_rng.epoch_key(seed, epoch) for seed in range(30) for epoch in range(30)}
    assert len(keys) == 900


def test_alternating_bit_turns_over_every_epoch_and_halves_the_samples():
    keys, parities = zip(*(counter_rng.epoch_state(4, epoch)[1:].tolist() for epoch in (0, 1, 2, 7)), strict=True)
    assert len(set(keys)) == 1 and parities == (0, 1, 0, 1)
    first = counter_rng.child(keys[0], SAMPLES[:4000]) >> np.uint64(63)
    assert abs(first.mean() - 0.5) < 0.04


def test_order_is_a_permutation_that_changes_with_seed_and_epoch():
    indices = np.arange(5000)
    orders = [counter_rng.order(seed, epoch, indices) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert all(np.array_equal(np.sort(order), indices) for order in orders)
    for k, order in enumerate(orders):
        for other in orders[k + 1:]:
            assert (order == other).sum() < 10
    assert abs(np.corrcoef(orders[0], indices)[0, 1]) < 0.07


def test_a_subset_keeps_the_order_of_the_whole():
    whole = counter_rng.order(9, 2, np.arange(1000))
    subset = np.arange(3, 1000, 7)
    assert np.array_equal(counter_rng.order(9, 2, subset[::-1]), whole[np.isin(whole, subset)])


def test_seeds_and_epochs_out_of_range_are_refused():
    assert counter_rng.epoch_key(2**63 - 1, 0) != counter_rng.epoch_key(0, 0)
    for seed, epoch in ((-1, 0), (2**63, 0), (0, -1), (0, 2**31)):
        with pytest.raises(DataError, match="must be an integer from 0"):
            counter_rng.epoch_state(seed, epoch)


def mixed(state: int) -> int:
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & counter_rng.MASK
    state = (state ^ state >> 27) * 0x94D049BB133111EB & counter_rng.MASK
    return state ^ state >> 31


def hashed(*words: int) -> int:
    state = 0
    for word in words:
        state = mixed((state * 0x9E3779B97F4A7C15 + word + 0x9E3779B97F4A7C15) & counter_rng.MASK)
    return state


def test_hash_equals_plain_integers():
    words = [(3, 0, 9), (3, 1, 9), (-1, 1, 2), (2**64 + 5, 7, 0), (0, 0, 0)]
    assert [int(hash64(*w)[0]) for w in words] == [hashed(*(x & counter_rng.MASK for x in w)) for w in words]


def test_the_finaliser_is_splitmix64():
    # The first output of SplitMix64 with seed 0, as Vigna's reference code prints it.
    assert int(hash64(0)[0]) == 0xE220A8397B1DCDAF


def test_arrays_broadcast_and_agree_with_single_words():
    table = hash64(7, np.arange(3)[:, None], np.arange(4))
    assert table.shape == (3, 4) and table.dtype == np.uint64
    assert all(int(table[i, j]) == hashed(7, i, j) for i in range(3) for j in range(4))


def test_uniform_is_the_top_24_bits():
    values = uniform(1, np.arange(1000))
    assert values.dtype == np.float32 and values.min() >= 0 and values.max() < 1
    assert values.tolist() == [(hashed(1, i) >> 40) / 2**24 for i in range(1000)]


def test_order_of_words_matters():
    assert hash64(1, 2)[0] != hash64(2, 1)[0]
