"""The draws of the law: (seed, epoch, sample, slot) -> 64 random bits, by counting and mixing, with no state.

The mixer is the finaliser of SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014), used as a keyed hash: every key is `mix(parent + GOLDEN * (counter + 1))`, all arithmetic modulo 2**64.

    epoch key   = mix(mix(seed + AUGMENT) + GOLDEN * (epoch + 1))
    sample key  = mix(epoch key + GOLDEN * (sample + 1))
    draw        = mix(sample key + GOLDEN * (slot + 1))

Slot `16 * position + j` belongs to the operation written at `position` of the policy, so changing the ranges of one
operation never moves the draws of another. What is taken from a draw is exact in Python integers, in NumPy and numba
uint64 and in torch int64: its top 24 bits as a fraction, its high and low halves as integers below n.
"""

import numpy as np

from loaders.common.errors import DataError

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
FIRST_MULTIPLIER = 0xBF58476D1CE4E5B9
SECOND_MULTIPLIER = 0x94D049BB133111EB
# One odd constant for each use of a seed (digits of pi), so that no use shares a stream with another.
AUGMENT = 0x243F6A8885A308D3
ORDER = 0x13198A2E03707345
ALTERNATE = 0xA4093822299F31D1

SLOTS_PER_OPERATION = 16
GATE_SLOT = 15
FRACTION_BITS = 24


def mix(word: int) -> int:
    """SplitMix64's finaliser: a bijection of 64-bit words whose every output bit depends on every input bit."""
    word &= MASK
    word = ((word ^ (word >> 30)) * FIRST_MULTIPLIER) & MASK
    word = ((word ^ (word >> 27)) * SECOND_MULTIPLIER) & MASK
    return word ^ (word >> 31)


def child(key: int, counter: int) -> int:
    """The key (or the draw) number `counter` below `key`."""
    return mix(key + GOLDEN * (counter + 1))


def epoch_key(seed: int, epoch: int) -> int:
    """The key of one epoch's augmentation. Seeds and epochs are mixed one after the other: (0, 1) is not (1, 0).

    Raises DataError unless 0 <= seed < 2**63 and 0 <= epoch < 2**31.
    """
    _check(seed, epoch)
    return child(mix(seed + AUGMENT), epoch)


def sample_key(epoch_key_: int, sample: int) -> int:
    """The key of one sample (its index in the data set, not its place in the batch) within an epoch."""
    return child(epoch_key_, sample)


def draw(sample_key_: int, slot: int) -> int:
    """64 random bits for one slot of one sample."""
    return child(sample_key_, slot)


def fraction(bits: int) -> float:
    """The top 24 bits as a number in [0, 1): a multiple of 2**-24, exact in float32."""
    return (bits >> 40) * 2.0**-FRACTION_BITS


def below(bits: int, n: int) -> int:
    """An integer in [0, n) from the high half of a draw, by multiplication; 1 <= n < 2**31, bias below n / 2**32."""
    return ((bits >> 32) * n) >> 32


def below_low(bits: int, n: int) -> int:
    """A second integer in [0, n) from the low half of the same draw."""
    return ((bits & 0xFFFFFFFF) * n) >> 32


def alternate_bit(seed: int, epoch: int, sample: int) -> int:
    """1 where `flip_alternate()` mirrors the sample: a bit of (seed, sample) alone, turned over every epoch."""
    _check(seed, epoch)
    return (child(mix(seed + ALTERNATE), sample) >> 63) ^ (epoch & 1)


def epoch_state(seed: int, epoch: int) -> np.ndarray:
    """What an executor must know of (seed, epoch): uint64 (3,) = [epoch key, alternating-flip key, epoch parity]."""
    return np.array([epoch_key(seed, epoch), mix(seed + ALTERNATE), epoch & 1], dtype=np.uint64)


def mix_array(words: np.ndarray) -> np.ndarray:
    """`mix` of every element of a uint64 array."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(FIRST_MULTIPLIER)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(SECOND_MULTIPLIER)
    return words ^ (words >> np.uint64(31))


def child_array(keys: np.ndarray | int, counters: np.ndarray) -> np.ndarray:
    """`child` for arrays that broadcast against each other; uint64."""
    keys = np.asarray(keys, dtype=np.uint64)
    return mix_array(keys + np.uint64(GOLDEN) * (np.asarray(counters).astype(np.uint64) + np.uint64(1)))


def order(seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """The order in which an epoch visits `indices` (distinct, int64 (N,)): sorted by a mixed key of each.

    As the key depends on the index alone, a subset is visited in the order the whole set would visit it, whatever the
    shards. `mix` is a bijection, so distinct indices never tie and the order does not depend on a sorting algorithm.
    """
    _check(seed, epoch)
    indices = np.asarray(indices, dtype=np.int64)
    keys = child_array(child(mix(seed + ORDER), epoch), indices)
    return indices[np.argsort(keys)]


def _check(seed: int, epoch: int) -> None:
    if not 0 <= seed < 1 << 63:
        raise DataError(f"seed={seed}: the seed must be an integer from 0 to 2**63 - 1")
    if not 0 <= epoch < 1 << 31:
        raise DataError(f"epoch={epoch}: the epoch must be an integer from 0 to 2**31 - 1")


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1


def _mix(state: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014), a bijection on 64 bits."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def hash64(*words: int | np.ndarray) -> np.ndarray:
    """Mix integer words, broadcast against each other, into uint64 of their common shape (scalars give shape (1,)).

    Python integers may be of any size and sign (taken modulo 2**64); the order of the words matters. The same words
    give the same bits on every machine and with every version of numpy.
    """
    state = np.zeros(1, np.uint64)
    for word in words:
        bits = np.array([word & _MASK], np.uint64) if isinstance(word, int) else np.asarray(word).astype(np.uint64)
        state = _mix(state * _GOLDEN + bits + _GOLDEN)
    return state


def uniform(*words: int | np.ndarray) -> np.ndarray:
    """float32 in [0, 1), 24 bits of `hash64` of the same words."""
    return (hash64(*words) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
