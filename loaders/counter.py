"""Counter-based random numbers: a draw is a pure function of the words that name it, so nothing has to be stored."""

import numpy as np

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
