"""A sample's draws in compiled code: `loaders.common.counter_rng` in uint64, bit for bit; gates and ranges."""

import numpy as np

from loaders.common import counter_rng
from loaders.host import layout
from loaders.host.jit import inlined, inner
from loaders.policy.passes import ALTERNATE_SLOT

GOLDEN, FIRST_MULTIPLIER, SECOND_MULTIPLIER = (
    np.uint64(counter_rng.GOLDEN), np.uint64(counter_rng.FIRST_MULTIPLIER), np.uint64(counter_rng.SECOND_MULTIPLIER),
)


@inner
def mix(word):
    """`loaders.common.counter_rng.mix`."""
    word = (word ^ (word >> np.uint64(30))) * FIRST_MULTIPLIER
    word = (word ^ (word >> np.uint64(27))) * SECOND_MULTIPLIER
    return word ^ (word >> np.uint64(31))


@inner
def child(key, counter):
    """The draw number `counter` (an int64) below a uint64 key."""
    return mix(key + GOLDEN * (np.uint64(counter) + np.uint64(1)))


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
    return np.int64(((bits & np.uint64(0xFFFFFFFF)) * np.uint64(n)) >> np.uint64(32))


@inlined
def mark_active(active, passes, ops, gates, key, alternate):
    """Set active[op] to 1 if all gates of the op are open for this sample, else to 0.

    Returns the last pass that acts and is not a cover, or -1: it and all later passes write to the batch.
    """
    last = -1
    for pass_ in range(passes.shape[0]):
        for op in range(passes[pass_, layout.PASS_FIRST], passes[pass_, layout.PASS_LAST]):
            is_open = True
            for g in range(ops[op, layout.OP_GATE_FIRST], ops[op, layout.OP_GATE_LAST]):
                slot = gates[g, layout.GATE_SLOT]
                bits = alternate if slot == ALTERNATE_SLOT else top_24(child(key, slot))
                is_open = is_open and gates[g, layout.GATE_LOW] <= bits < gates[g, layout.GATE_HIGH]
            active[op] = is_open
            if is_open and passes[pass_, layout.PASS_KIND] != layout.COVER:
                last = pass_
    return last


@inner
def value(ranges, row, key):
    """The number drawn from range `row`, int64 in 2**-16 units (`loaders.policy.passes.Range`)."""
    bits = child(key, ranges[row, layout.RANGE_SLOT])
    span = ranges[row, layout.RANGE_SPAN]
    if ranges[row, layout.RANGE_STEPS] > 0:
        strength = span * below(bits, ranges[row, layout.RANGE_STEPS]) // (ranges[row, layout.RANGE_STEPS] - 1)
    else:
        strength = (span * top_24(bits)) >> 24
    strength += ranges[row, layout.RANGE_OFFSET]
    if ranges[row, layout.RANGE_WHOLE] != 0:
        strength = (strength >> 16) << 16
    if ranges[row, layout.RANGE_SIGNED] != 0 and (bits & np.uint64(1)) != np.uint64(0):
        strength = -strength
    return ranges[row, layout.RANGE_BASE] + strength
