"""`loaders.draws` for compiled code, in uint64: the same numbers bit for bit."""

import numpy as np

from .. import draws
from .jit import inner

GOLDEN = np.uint64(draws.GOLDEN)
FIRST_MULTIPLIER = np.uint64(draws.FIRST_MULTIPLIER)
SECOND_MULTIPLIER = np.uint64(draws.SECOND_MULTIPLIER)
ONE = np.uint64(1)
LOW_HALF = np.uint64(0xFFFFFFFF)


@inner
def mix(word):
    """SplitMix64's finaliser."""
    word = (word ^ (word >> np.uint64(30))) * FIRST_MULTIPLIER
    word = (word ^ (word >> np.uint64(27))) * SECOND_MULTIPLIER
    return word ^ (word >> np.uint64(31))


@inner
def child(key, counter):
    """The draw number `counter` (an int64) below a uint64 key."""
    return mix(key + GOLDEN * (np.uint64(counter) + ONE))


@inner
def top_24(bits):
    """The top 24 bits as int64."""
    return np.int64(bits >> np.uint64(40))


@inner
def below(bits, n):
    """An int64 in [0, n) from the high half."""
    return np.int64(((bits >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@inner
def below_low(bits, n):
    """An int64 in [0, n) from the low half."""
    return np.int64(((bits & LOW_HALF) * np.uint64(n)) >> np.uint64(32))
