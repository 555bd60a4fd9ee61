"""The random draws: (seed, epoch, sample, slot) -> 64 random bits, by counting and mixing, without any state.

The mixer is the finaliser of SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014), used as a keyed hash: every key is `mix(parent + GOLDEN * (counter + 1))`, all arithmetic modulo 2**64.

    epoch key   = mix(mix(seed + AUGMENT) + GOLDEN * (epoch + 1))
    sample key  = mix(epoch key + GOLDEN * (sample + 1))
    draw        = mix(sample key + GOLDEN * (slot + 1))

Slot `16 * position + j` belongs to the operation written at `position` of the policy, so changing the ranges of one
operation never changes the draws of another. The values taken from a draw are exact in Python integers, in NumPy and
numba uint64 and in torch int64: its top 24 bits as a fraction, its high and low halves as integers below n.
"""

import numpy as np

from loaders.common.errors import DataError

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
FIRST_MULTIPLIER = 0xBF58476D1CE4E5B9
SECOND_MULTIPLIER = 0x94D049BB133111EB
# One odd constant per use of a seed (digits of pi), so that no two uses share a stream.
AUGMENT = 0x243F6A8885A308D3
ORDER = 0x13198A2E03707345
ALTERNATE = 0xA4093822299F31D1

SLOTS_PER_OPERATION = 16
GATE_SLOT = 15
FRACTION_BITS = 24

# A Python integer, taken modulo 2**64, or a uint64 array of at least one dimension.
Words = int | np.ndarray


def mix(words: Words) -> Words:
    """SplitMix64's finaliser: a bijection of 64-bit words; each output bit depends on each input bit."""
    words = words & MASK
    words = (words ^ words >> 30) * FIRST_MULTIPLIER & MASK
    words = (words ^ words >> 27) * SECOND_MULTIPLIER & MASK
    return words ^ words >> 31


def child(keys: Words, counters: Words) -> Words:
    """The keys (or draws) number `counters` below `keys`; arrays broadcast."""
    return mix(keys + (GOLDEN * (counters + 1) & MASK))


def epoch_key(seed: int, epoch: int, use: int = AUGMENT) -> int:
    """The key of one epoch for one use of the seed. Seed and epoch are mixed in turn: (0, 1) differs from (1, 0).

    Raises DataError unless 0 <= seed < 2**63 and 0 <= epoch < 2**31.
    """
    for name, value, bits in (("seed", seed, 63), ("epoch", epoch, 31)):
        if not 0 <= value < 1 << bits:
            raise DataError(f"{name}={value}: the {name} must be an integer from 0 to 2**{bits} - 1")
    return child(mix(seed + use), epoch)


def epoch_state(seed: int, epoch: int) -> np.ndarray:
    """An executor's form of (seed, epoch): uint64 (3,) = [epoch key, alternating-flip key, epoch parity].

    `flip_alternate()` mirrors a sample if the top bit of child(alternating-flip key, sample), flipped in odd epochs,
    is 1.
    """
    return np.array([epoch_key(seed, epoch), mix(seed + ALTERNATE), epoch & 1], dtype=np.uint64)


def order(seed: int, epoch: int, indices: np.ndarray) -> np.ndarray:
    """The order in which an epoch visits `indices` (distinct, int64 (N,)): sorted by a mixed key of each index.

    The key depends on the index alone, so a subset, sharded or not, keeps the order of the whole set. `mix` is a
    bijection: distinct indices never tie, so the sorting algorithm does not matter.
    """
    indices = np.asarray(indices, dtype=np.int64)
    return indices[np.argsort(child(epoch_key(seed, epoch, ORDER), indices.astype(np.uint64)))]


def hash64(*words: int | np.ndarray) -> np.ndarray:
    """Mix integer words, broadcast, into uint64 of their common shape (scalars give shape (1,)).

    Python integers are taken modulo 2**64; the order of the words matters. The same words give the same bits on every
    machine and with every version of NumPy.
    """
    state = np.zeros(1, np.uint64)
    for word in words:
        bits = np.array([word & MASK], np.uint64) if isinstance(word, int) else np.asarray(word).astype(np.uint64)
        state = child(bits, state)
    return state


def uniform(*words: int | np.ndarray) -> np.ndarray:
    """float32 in [0, 1): the top 24 bits of `hash64` of the same words."""
    return (hash64(*words) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-FRACTION_BITS)
