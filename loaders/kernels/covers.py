"""Covers: the rectangles of cutout, erase and coarse_dropout."""

import triton
import triton.language as tl

from loaders.kernels.draws import below, below_low, child, draw, fraction

TRIES = tl.constexpr(10)
PLACE_SLOT = tl.constexpr(10)
FILL_SLOT = tl.constexpr(14)
ROOT_BITS = tl.constexpr(10)
HIGHEST = tl.constexpr(1 << 9)


@triton.jit
def covered(r, g, b, y, x, mean_rgb, tables, STEP: tl.constexpr, key):
    """An op of this file applied; y, x: int32 (BLOCK,), each pixel's row and column."""
    OPCODE: tl.constexpr = STEP.op.opcode
    if OPCODE == "coarse_dropout":
        mask = holes(y, x, STEP.op, key)
    elif OPCODE == "cutout":
        hole = tl.full((), STEP.op.constants[0], tl.int64)
        mask = rectangle(y, x, STEP.op, hole, hole, draw(key, STEP.op.slot))
    else:
        height, width = erased(tables, STEP, key)
        mask = rectangle(y, x, STEP.op, height, width, draw(key, STEP.op.slot + PLACE_SLOT))
    if STEP.op.fill == "zero":
        r, g, b = tl.where(mask, 0, r), tl.where(mask, 0, g), tl.where(mask, 0, b)
    elif STEP.op.fill == "mean":
        r = tl.where(mask, tl.load(mean_rgb).to(tl.int32), r)
        g = tl.where(mask, tl.load(mean_rgb + 1).to(tl.int32), g)
        b = tl.where(mask, tl.load(mean_rgb + 2).to(tl.int32), b)
    else:
        noise, first = draw(key, STEP.op.slot + FILL_SLOT), 3 * (y * STEP.op.width + x)
        r = tl.where(mask, (child(noise, first) >> 56).to(tl.int32), r)
        g = tl.where(mask, (child(noise, first + 1) >> 56).to(tl.int32), g)
        b = tl.where(mask, (child(noise, first + 2) >> 56).to(tl.int32), b)
    return r, g, b


@triton.jit
def holes(y, x, OP: tl.constexpr, key):
    """A drawn number of rectangles, as one mask."""
    LOW: tl.constexpr = OP.constants[0]
    CHOICES: tl.constexpr = OP.constants[1] - OP.constants[0] + 1
    MOST: tl.constexpr = OP.constants[3]
    count = OP.constants[2] + below(draw(key, OP.slot + FILL_SLOT), MOST - OP.constants[2] + 1)
    mask = y < 0
    for k in tl.static_range(MOST):
        bits = draw(key, OP.slot + 2 * k)
        height, width = LOW + below(bits, CHOICES), LOW + below_low(bits, CHOICES)
        mask = mask | ((k < count) & rectangle(y, x, OP, height, width, draw(key, OP.slot + 2 * k + 1)))
    return mask


@triton.jit
def rectangle(y, x, OP: tl.constexpr, height, width, place):
    """The pixels in a rectangle of these sides, int64, empty if one is 0, at a position drawn from `place`."""
    top, left = below(place, OP.height - height + 1), below_low(place, OP.width - width + 1)
    return (y >= top) & (y < top + height) & (x >= left) & (x < left + width)


@triton.jit
def erased(tables, STEP: tl.constexpr, key):
    """Height and width of the first of ten drawn rectangles that is smaller than the image both ways, else (0, 0)."""
    tries = tl.arange(0, 16)
    words = child(key, tries + STEP.op.slot)
    area = STEP.op.constants[0] + (STEP.op.constants[1] * fraction(words) >> 24)
    pair = tables + STEP.table + 2 * (words & 255).to(tl.int64)
    height = rounded_root(area * tl.load(pair), STEP.op.height)
    width = rounded_root(area * tl.load(pair + 1), STEP.op.width)
    fits = (height < STEP.op.height) & (width < STEP.op.width) & (tries < TRIES)
    first = tl.min(tl.where(fits, tries, 16))
    return tl.sum(tl.where(tries == first, height, 0)), tl.sum(tl.where(tries == first, width, 0))


@triton.jit
def rounded_root(area, SIZE: tl.constexpr):
    """sqrt(area * 2**-32), halves rounded up, at most SIZE: the number of half-integers not above the root."""
    root = tl.zeros_like(area)
    for bit in tl.static_range(ROOT_BITS):
        larger = root + (HIGHEST >> bit)
        odd = 2 * larger - 1
        root = tl.where((larger <= SIZE) & (((odd * odd) << 30) <= area), larger, root)
    return root
