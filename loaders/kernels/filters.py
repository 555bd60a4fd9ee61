"""Ops that read more than one pixel: blur, sharpness, autocontrast, equalize, of an image that the block holds whole.

Neighbours are gathered on the chip from words that pack the three channels.
"""

import triton
import triton.language as tl

from loaders.kernels.draws import below, draw, value
from loaders.policy import passes, weight_tables

ONE = tl.constexpr(passes.ONE)
SIGMA_STEPS = tl.constexpr(weight_tables.SIGMA_STEPS)
# The rounding terms of a separable filter's two passes, which shift by 8 and by 20 bits.
FIRST_HALF = tl.constexpr(1 << 7)
SECOND_HALF = tl.constexpr(1 << 19)


@triton.jit
def filtered(r, g, b, inside, place, tables, STEP: tl.constexpr, key):
    """An op of this file applied; place: int32 (BLOCK,), each pixel's number in the image."""
    OPCODE: tl.constexpr = STEP.op.opcode
    if OPCODE == "blur":
        r, g, b = blurred(r, g, b, place, tables, STEP, key)
    elif OPCODE == "sharpness":
        r, g, b = sharpened(r, g, b, place, value(STEP.op.ranges[0], key).to(tl.int32), STEP.op.height, STEP.op.width)
    elif OPCODE == "autocontrast":
        r, g, b = stretched(r, inside), stretched(g, inside), stretched(b, inside)
    else:
        PIXELS: tl.constexpr = STEP.op.height * STEP.op.width
        r, g, b = equalized(r, inside, PIXELS), equalized(g, inside, PIXELS), equalized(b, inside, PIXELS)
    return r, g, b


@triton.jit
def packed(r, g, b):
    """Three values below 2**20 as one int64."""
    return r.to(tl.int64) | (g.to(tl.int64) << 20) | (b.to(tl.int64) << 40)


@triton.jit
def unpacked(word):
    return (word & 0xFFFFF).to(tl.int32), ((word >> 20) & 0xFFFFF).to(tl.int32), (word >> 40).to(tl.int32)


@triton.jit
def blurred(r, g, b, place, tables, STEP: tl.constexpr, key):
    """Separable Gaussian blur along x, then along y, with reflected edges."""
    TAPS: tl.constexpr = STEP.op.constants[0]
    HEIGHT: tl.constexpr = STEP.op.height
    WIDTH: tl.constexpr = STEP.op.width
    weights = tables + STEP.table + TAPS * below(draw(key, STEP.op.slot), SIGMA_STEPS)
    # Beyond the image's end the block repeats its last row, so that every number stays within the block.
    y, x = tl.minimum(place // WIDTH, HEIGHT - 1), place % WIDTH
    words = packed(r, g, b)
    r, g, b = tl.zeros_like(r) + FIRST_HALF, tl.zeros_like(g) + FIRST_HALF, tl.zeros_like(b) + FIRST_HALF
    for k in range(TAPS):
        r, g, b = added(r, g, b, words, y * WIDTH + reflected(x + (k - TAPS // 2), WIDTH), tl.load(weights + k))
    words = packed(r >> 8, g >> 8, b >> 8)
    r, g, b = tl.zeros_like(r) + SECOND_HALF, tl.zeros_like(g) + SECOND_HALF, tl.zeros_like(b) + SECOND_HALF
    for k in range(TAPS):
        r, g, b = added(r, g, b, words, reflected(y + (k - TAPS // 2), HEIGHT) * WIDTH + x, tl.load(weights + k))
    return r >> 20, g >> 20, b >> 20


@triton.jit
def added(r, g, b, words, place, weight):
    """The totals plus `weight` times the values at `place`."""
    more_r, more_g, more_b = unpacked(tl.gather(words, place, 0))
    weight = weight.to(tl.int32)
    return r + more_r * weight, g + more_g * weight, b + more_b * weight


@triton.jit
def reflected(k, SIZE: tl.constexpr):
    k = tl.abs(k)
    return tl.minimum(k, 2 * (SIZE - 1) - k)


@triton.jit
def sharpened(r, g, b, place, factor, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Blends with a 3x3 smoothing by the factor; the outermost pixels do not change."""
    y, x = tl.minimum(place // WIDTH, HEIGHT - 1), place % WIDTH
    words = packed(r, g, b)
    row = words + tl.gather(words, y * WIDTH + tl.maximum(x - 1, 0), 0)
    row += tl.gather(words, y * WIDTH + tl.minimum(x + 1, WIDTH - 1), 0)
    total = row + tl.gather(row, tl.maximum(y - 1, 0) * WIDTH + x, 0)
    total += tl.gather(row, tl.minimum(y + 1, HEIGHT - 1) * WIDTH + x, 0)
    total_r, total_g, total_b = unpacked(total)
    inner = (x > 0) & (x < WIDTH - 1) & (y > 0) & (y < HEIGHT - 1)
    return (sharp(r, total_r, inner, factor), sharp(g, total_g, inner, factor), sharp(b, total_b, inner, factor))


@triton.jit
def sharp(v, total, inner, factor):
    smooth = tl.where(inner, (2 * (total + 4 * v) + 13) // 26, v)
    return tl.minimum(tl.maximum((v * ONE + (ONE - factor) * (smooth - v)) >> 16, 0), 255)


@triton.jit
def stretched(v, inside):
    """(v - low) * 255 // (high - low); a flat channel does not change."""
    low, high = tl.min(tl.where(inside, v, 255)), tl.max(tl.where(inside, v, 0))
    stretch = tl.maximum(v - low, 0) * 255 // tl.maximum(high - low, 1)
    return tl.where(low == high, v, stretch)


@triton.jit
def equalized(v, inside, PIXELS: tl.constexpr):
    """The channel's histogram equalised as Pillow does."""
    levels = tl.arange(0, 256)
    counts = tl.histogram(v, 256, inside)
    brightest = tl.max(tl.where(inside, v, 0))
    spread = (PIXELS - tl.sum(tl.where(levels == brightest, counts, 0))) // 255
    before = tl.cumsum(counts, 0) - counts
    lookup = tl.minimum((before + spread // 2) // tl.maximum(spread, 1), 255)
    return tl.gather(tl.where(spread == 0, levels, lookup), v, 0)
