import numpy as np

from loaders.common.counter_rng import hash64, uniform

MASK = (1 << 64) - 1


def mixed(state: int) -> int:
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & MASK
    state = (state ^ state >> 27) * 0x94D049BB133111EB & MASK
    return state ^ state >> 31


def hashed(*words: int) -> int:
    state = 0
    for word in words:
        state = mixed((state * 0x9E3779B97F4A7C15 + word + 0x9E3779B97F4A7C15) & MASK)
    return state


def test_hash_equals_plain_integers():
    words = [(3, 0, 9), (3, 1, 9), (-1, 1, 2), (2**64 + 5, 7, 0), (0, 0, 0)]
    assert [int(hash64(*w)[0]) for w in words] == [hashed(*(x & MASK for x in w)) for w in words]


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
