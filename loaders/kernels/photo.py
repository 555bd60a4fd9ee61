"""Ops that change each pixel by itself (contrast also by a mean): int32 (BLOCK,) per channel in and out."""

import triton
import triton.language as tl

from loaders.kernels.draws import below, child, draw, value
from loaders.policy import passes

ONE = tl.constexpr(passes.ONE)
NOISE_MEAN = tl.constexpr(passes.NOISE_MEAN)
NOISE_UNIT = tl.constexpr(passes.NOISE_UNIT)
PARTS = tl.constexpr(("brightness", "contrast", "saturation", "hue"))
PERMUTATION_COUNT = tl.constexpr(len(passes.PERMUTATIONS))


@triton.jit
def luma(r, g, b):
    return (19589 * r + 38470 * g + 7471 * b) >> 16


@triton.jit
def blended(v, factor, rest):
    return tl.minimum(tl.maximum((v * factor + rest) >> 16, 0), 255)


@triton.jit
def adjusted(r, g, b, inside, factor, PART: tl.constexpr, PIXELS: tl.constexpr):
    """Brightness, contrast, saturation or hue by a factor, int64 in 2**-16 units."""
    factor32 = factor.to(tl.int32)
    if PART == "hue":
        r, g, b = hue_turned(r, g, b, factor32)
    else:
        if PART == "brightness":
            rest = tl.zeros_like(factor32)
        elif PART == "contrast":
            total = tl.sum(tl.where(inside, luma(r, g, b), 0)).to(tl.int64)
            rest = ((((total << 16) // PIXELS) * (ONE - factor)) >> 16).to(tl.int32)
        else:
            rest = luma(r, g, b) * (ONE - factor32)
        r, g, b = blended(r, factor32, rest), blended(g, factor32, rest), blended(b, factor32, rest)
    return r, g, b


@triton.jit
def hue_turned(r, g, b, turn):
    """Hue shifted by turn / 65536 of a circle, at most half of one."""
    high = tl.maximum(tl.maximum(r, g), b)
    spread = high - tl.minimum(tl.minimum(r, g), b)
    sector = tl.where(high == r, g - b, tl.where(high == g, b - r + 2 * spread, r - g + 4 * spread))
    place = sector * ONE + turn * 6 * spread
    return fallen(high, spread, place, 0), fallen(high, spread, place, -2), fallen(high, spread, place, -4)


@triton.jit
def fallen(high, spread, place, SECTORS: tl.constexpr):
    """One channel: `high` less the fall at `place`, as in `loaders.device.photo.hue_turned`."""
    unit = spread * ONE
    distance = tl.abs(tl.abs(tl.abs(place + SECTORS * unit) - 6 * unit) - 3 * unit)
    fall = tl.maximum(tl.minimum(2 * unit - distance, unit), 0)
    return high - ((fall + ONE // 2) >> 16)


@triton.jit
def jittered(r, g, b, inside, tables, STEP: tl.constexpr, key, PIXELS: tl.constexpr):
    """Brightness, contrast, saturation and hue in a drawn order; the table holds `jitter_orders`."""
    COUNT: tl.constexpr = len(STEP.parts)
    order = tables + STEP.table + COUNT * below(draw(key, STEP.op.slot + 4), PERMUTATION_COUNT)
    for k in range(COUNT):
        part = tl.load(order + k)
        for p in tl.static_range(COUNT):
            if part == STEP.parts[p]:
                factor = value(STEP.op.ranges[STEP.parts[p]], key)
                r, g, b = adjusted(r, g, b, inside, factor, PARTS[STEP.parts[p]], PIXELS)
    return r, g, b


@triton.jit
def changed(r, g, b, inside, place, tables, STEP: tl.constexpr, key, PIXELS: tl.constexpr):
    """An op of this file applied; place: int32 (BLOCK,), each pixel's number in the image."""
    OPCODE: tl.constexpr = STEP.op.opcode
    if OPCODE == "jitter":
        r, g, b = jittered(r, g, b, inside, tables, STEP, key, PIXELS)
    elif OPCODE == "gray":
        r = luma(r, g, b)
        g, b = r, r
    elif OPCODE == "invert":
        r, g, b = 255 - r, 255 - g, 255 - b
    elif OPCODE == "solarize":
        threshold = value(STEP.op.ranges[0], key).to(tl.int32)
        r, g, b = solarized(r, threshold), solarized(g, threshold), solarized(b, threshold)
    elif OPCODE == "posterize":
        bits = ((value(STEP.op.ranges[0], key) + ONE // 2) >> 16).to(tl.int32)
        mask = (255 << (8 - bits)) & 255
        r, g, b = r & mask, g & mask, b & mask
    elif OPCODE == "noise":
        amplitude = ((value(STEP.op.ranges[0], key) * NOISE_UNIT) >> 16).to(tl.int32)
        noise_key = draw(key, STEP.op.slot + 1)
        r = noisy(r, child(noise_key, 3 * place), amplitude)
        g = noisy(g, child(noise_key, 3 * place + 1), amplitude)
        b = noisy(b, child(noise_key, 3 * place + 2), amplitude)
    else:
        r, g, b = adjusted(r, g, b, inside, value(STEP.op.ranges[0], key), OPCODE, PIXELS)
    return r, g, b


@triton.jit
def solarized(v, threshold):
    return tl.where(v * ONE >= threshold, 255 - v, v)


@triton.jit
def noisy(v, bits, amplitude):
    """v plus amplitude / 2**16 times the centred sum of the eight bytes of bits."""
    lanes = (bits & 0x00FF00FF00FF00FF) + ((bits >> 8) & 0x00FF00FF00FF00FF)
    total = ((lanes * 0x0001000100010001) >> 48).to(tl.int32) - NOISE_MEAN
    return tl.minimum(tl.maximum(v + ((total * amplitude + ONE // 2) >> 16), 0), 255)
