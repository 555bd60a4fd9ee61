"""Reading a program for one sample: which steps act, and what their ranges draw."""

import numpy as np

from ..steps import ALTERNATE_SLOT
from . import layout as at
from .draws import below, child, top_24
from .jit import inlined, inner


@inlined
def mark_active(active, steps, gates, key, alternate):
    """active[t] = 1 where all gates of step t are open for this sample, else 0."""
    for t in range(steps.shape[0]):
        is_open = True
        for g in range(steps[t, at.STEP_GATE_FIRST], steps[t, at.STEP_GATE_LAST]):
            slot = gates[g, at.GATE_SLOT]
            bits = alternate if slot == ALTERNATE_SLOT else top_24(child(key, slot))
            if slot == ALTERNATE_SLOT:
                is_open = is_open and alternate == 1
            else:
                is_open = is_open and gates[g, at.GATE_LOW] <= bits < gates[g, at.GATE_HIGH]
        active[t] = is_open


@inner
def value(ranges, row, key):
    """The number that range `row` draws for this sample, int64 in 2**-16 units (`loaders.steps.Range`)."""
    bits = child(key, ranges[row, at.RANGE_SLOT])
    span = ranges[row, at.RANGE_SPAN]
    if ranges[row, at.RANGE_STEPS] > 0:
        strength = span * below(bits, ranges[row, at.RANGE_STEPS]) // (ranges[row, at.RANGE_STEPS] - 1)
    else:
        strength = (span * top_24(bits)) >> 24
    strength += ranges[row, at.RANGE_OFFSET]
    if ranges[row, at.RANGE_WHOLE] != 0:
        strength = (strength >> 16) << 16
    if ranges[row, at.RANGE_SIGNED] != 0 and (bits & np.uint64(1)) != np.uint64(0):
        strength = -strength
    return ranges[row, at.RANGE_BASE] + strength
