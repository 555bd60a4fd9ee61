"""A sample's draws: `loaders.common.counter_rng` in uint64, bit for bit; gates and ranges."""

import triton
import triton.language as tl

from loaders.common import counter_rng
from loaders.policy import passes

GOLDEN = tl.constexpr(counter_rng.GOLDEN)
FIRST_MULTIPLIER = tl.constexpr(counter_rng.FIRST_MULTIPLIER)
SECOND_MULTIPLIER = tl.constexpr(counter_rng.SECOND_MULTIPLIER)
MASK = tl.constexpr(counter_rng.MASK)
ALTERNATE_SLOT = tl.constexpr(passes.ALTERNATE_SLOT)


@triton.jit
def mix(word):
    word = (word ^ (word >> 30)) * FIRST_MULTIPLIER
    word = (word ^ (word >> 27)) * SECOND_MULTIPLIER
    return word ^ (word >> 31)


@triton.jit
def child(key, counter):
    """The draw number `counter` (a tensor of non-negative integers) below a uint64 key."""
    return mix(key + (counter.to(tl.uint64) + 1) * GOLDEN)


@triton.jit
def draw(key, SLOT: tl.constexpr):
    """The draw of a slot: `child` for a constant counter."""
    return mix(key + ((SLOT + 1) * GOLDEN & MASK))


@triton.jit
def sample_key(keys, sample):
    """(key, alternating-flip bit) of a sample, uint64 and int64; keys: int64 (3,), as `counter_rng.epoch_state`."""
    key = child(tl.load(keys).to(tl.uint64, bitcast=True), sample)
    flip_key = tl.load(keys + 1).to(tl.uint64, bitcast=True)
    return key, (child(flip_key, sample) >> 63).to(tl.int64) ^ tl.load(keys + 2)


@triton.jit
def below(bits, n):
    """An int64 in [0, n) from the high half."""
    return ((bits >> 32).to(tl.int64) * n) >> 32


@triton.jit
def below_low(bits, n):
    """An int64 in [0, n) from the low half."""
    return ((bits & 0xFFFFFFFF).to(tl.int64) * n) >> 32


@triton.jit
def fraction(bits):
    """The top 24 bits as int64."""
    return (bits >> 40).to(tl.int64)


@triton.jit
def is_active(OP: tl.constexpr, key, alternate):
    """Whether all gates of the op are open."""
    active = tl.full((), 1, tl.int1)
    for g in tl.static_range(len(OP.gates)):
        if OP.gates[g].slot == ALTERNATE_SLOT:
            top = alternate
        else:
            top = fraction(draw(key, OP.gates[g].slot))
        active = active & (top >= OP.gates[g].low) & (top < OP.gates[g].high)
    return active


@triton.jit
def value(RANGE: tl.constexpr, key):
    """The number drawn from a `loaders.policy.passes.Range`, int64 in 2**-16 units."""
    bits = draw(key, RANGE.slot)
    if RANGE.steps > 0:
        amount = RANGE.offset + RANGE.span * below(bits, RANGE.steps) // (RANGE.steps - 1)
    else:
        amount = RANGE.offset + (RANGE.span * fraction(bits) >> 24)
    if RANGE.whole:
        amount = (amount >> 16) << 16
    if RANGE.signed:
        amount = tl.where((bits & 1) == 1, -amount, amount)
    return RANGE.base + amount
