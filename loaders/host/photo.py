"""Steps that change the value of each pixel by itself (or by one number of the whole image), in place on rgbx words.

Factors are in 2**-16 units; all arithmetic is 32-bit integer, with >> rounding down, so results are exact everywhere.
"""

import numpy as np

from loaders.host import layout as at
from loaders.host.draws import below, child, value
from loaders.host.jit import inner
from loaders.policy.steps import ONE, PERMUTATIONS

ORDERS = np.array(PERMUTATIONS, dtype=np.int64)
RED, GREEN, BLUE = 19589, 38470, 7471
# 255 grey levels over the standard deviation of a sum of 8 uniform bytes, sqrt(8 * (256**2 - 1) / 12), in 2**-16 units.
NOISE_UNIT = 79953


@inner
def change(words, scratch, count, steps, t, ranges, key):
    """Apply photometric step t to `count` pixels; scratch is int32, of 512 at least."""
    opcode, slot = steps[t, at.STEP_OPCODE], steps[t, at.STEP_SLOT]
    first = steps[t, at.STEP_RANGE]
    if opcode == at.JITTER:
        order = below(child(key, slot + 4), 24)
        for k in range(4):
            which = ORDERS[order, k]
            adjust(words, count, which, value(ranges, first + which, key))
    elif opcode <= at.HUE:
        adjust(words, count, opcode - at.BRIGHTNESS, value(ranges, first, key))
    elif opcode == at.GRAY:
        _gray(words, count)
    elif opcode == at.INVERT:
        for k in range(count):
            words[k] = words[k] ^ np.uint32(0xFFFFFF)
    elif opcode == at.SOLARIZE:
        # v * 2**16 >= threshold, as a whole number of grey levels
        _solarize(words, count, np.int32((value(ranges, first, key) + 65535) >> 16))
    elif opcode == at.POSTERIZE:
        bits = (value(ranges, first, key) + 32768) >> 16
        mask = np.uint32(((0xFF << (8 - bits)) & 0xFF) * 0x010101)
        for k in range(count):
            words[k] = words[k] & mask
    elif opcode == at.NOISE:
        _noise(words, count, (value(ranges, first, key) * NOISE_UNIT) >> 16, child(key, slot + 1))
    else:
        _by_histogram(words, count, opcode == at.EQUALIZE, scratch[:256], scratch[256:512])


@inner
def adjust(words, count, which, factor):
    """Brightness, contrast, saturation or hue (which = 0..3) by a factor; the neutral factor is the identity."""
    if factor == (0 if which == 3 else ONE):
        return
    if which == 0:
        _toward(words, count, np.int32(factor), np.int32(0))
    elif which == 1:
        mean = (_luma_sum(words, count) << 16) // count
        _toward(words, count, np.int32(factor), np.int32((mean * (ONE - factor)) >> 16))
    elif which == 2:
        _saturate(words, count, np.int32(factor), np.int32(ONE - factor))
    else:
        _turn(words, count, np.int32(6 * factor))


@inner
def _clamp(v):
    v = np.int32(v)
    v = np.int32(0) if v < 0 else v
    return np.int32(255) if v > 255 else v


@inner
def _luma(r, g, b):
    red_green = np.int32(np.int32(r * np.int32(RED)) + np.int32(g * np.int32(GREEN)))
    return np.int32(red_green + np.int32(b * np.int32(BLUE))) >> 16


@inner
def _luma_sum(words, count):
    total = np.int32(0)
    for k in range(count):
        w = np.int32(words[k])
        total = np.int32(total + _luma(w & 255, (w >> 8) & 255, w >> 16))
    return np.int64(total)


@inner
def _toward(words, count, factor, offset):
    for k in range(count):
        w = np.int32(words[k])
        r = _clamp(np.int32(np.int32((w & 255) * factor) + offset) >> 16)
        g = _clamp(np.int32(np.int32(((w >> 8) & 255) * factor) + offset) >> 16)
        b = _clamp(np.int32(np.int32((w >> 16) * factor) + offset) >> 16)
        words[k] = np.uint32(np.int32(r | (g << 8) | (b << 16)))


@inner
def _saturate(words, count, factor, rest):
    for k in range(count):
        w = np.int32(words[k])
        r, g, b = np.int32(w & 255), np.int32((w >> 8) & 255), np.int32(w >> 16)
        offset = np.int32(np.int32(_luma(r, g, b)) * rest)
        r = _clamp(np.int32(np.int32(r * factor) + offset) >> 16)
        g = _clamp(np.int32(np.int32(g * factor) + offset) >> 16)
        b = _clamp(np.int32(np.int32(b * factor) + offset) >> 16)
        words[k] = np.uint32(np.int32(r | (g << 8) | (b << 16)))


@inner
def _turn(words, count, turn):
    """Hue by turn / 6 of 2**16: the hexagon in units of spread * 2**16, so no division is needed."""
    for k in range(count):
        w = np.int32(words[k])
        r, g, b = np.int32(w & 255), np.int32((w >> 8) & 255), np.int32(w >> 16)
        high = r if r > g else g
        high = b if b > high else high
        low = r if r < g else g
        low = b if b < low else low
        spread = np.int32(high - low)
        by_blue = np.int32(np.int32(r - g) + np.int32(4 * spread))
        by_green = np.int32(np.int32(b - r) + np.int32(2 * spread))
        by_red = np.int32(g - b)
        by_red = np.int32(by_red + np.int32(6 * spread)) if by_red < 0 else by_red
        sector = by_red if high == r else by_green if high == g else by_blue
        place = np.int32(np.int32(sector << 16) + np.int32(spread * turn))
        unit = np.int32(spread << 16)
        r = _channel(high, unit, np.int32(place + np.int32(5 * unit)))
        g = _channel(high, unit, np.int32(place + np.int32(3 * unit)))
        b = _channel(high, unit, np.int32(place + unit))
        words[k] = np.uint32(np.int32(r | (g << 8) | (b << 16)))


@inner
def _channel(high, unit, k):
    circle = np.int32(6 * unit)
    k = np.int32(k + circle) if k < 0 else k
    k = np.int32(k - circle) if k >= circle else k
    k = np.int32(k - circle) if k >= circle else k
    other = np.int32(np.int32(4 * unit) - k)
    k = other if other < k else k
    k = unit if unit < k else k
    k = np.int32(0) if k < 0 else k
    return np.int32(high - (np.int32(k + np.int32(32768)) >> 16))


@inner
def _gray(words, count):
    for k in range(count):
        w = np.int32(words[k])
        words[k] = np.uint32(np.int32(_luma(w & 255, (w >> 8) & 255, w >> 16) * np.int32(0x010101)))


@inner
def _solarize(words, count, threshold):
    for k in range(count):
        w = np.int32(words[k])
        r, g, b = np.int32(w & 255), np.int32((w >> 8) & 255), np.int32(w >> 16)
        r = np.int32(255 - r) if r >= threshold else r
        g = np.int32(255 - g) if g >= threshold else g
        b = np.int32(255 - b) if b >= threshold else b
        words[k] = np.uint32(np.int32(r | (g << 8) | (b << 16)))


@inner
def _noise(words, count, amplitude, key):
    for k in range(count):
        w = np.int64(words[k])
        r = _noisy(w & 255, child(key, 3 * k), amplitude)
        g = _noisy((w >> 8) & 255, child(key, 3 * k + 1), amplitude)
        b = _noisy(w >> 16, child(key, 3 * k + 2), amplitude)
        words[k] = np.uint32(r | (g << 8) | (b << 16))


@inner
def _noisy(v, bits, amplitude):
    """v plus amplitude / 2**16 times the centred sum of the eight bytes of bits."""
    pairs = (bits & np.uint64(0x00FF00FF00FF00FF)) + ((bits >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF))
    total = np.int64((pairs * np.uint64(0x0001000100010001)) >> np.uint64(48))
    return _clamp(v + (((total - 1020) * amplitude + 32768) >> 16))


@inner
def _by_histogram(words, count, equalize, histogram, table):
    """Equalise, or stretch to 0..255, each channel through a table."""
    for shift in (0, 8, 16):
        histogram[:] = 0
        for k in range(count):
            histogram[(words[k] >> shift) & 255] += 1
        low, high = 0, 255
        while histogram[low] == 0:
            low += 1
        while histogram[high] == 0:
            high -= 1
        spread = (count - histogram[high]) // 255 if equalize else high - low
        if spread == 0:
            continue
        below_k = 0
        for v in range(low, high + 1):
            table[v] = min(255, ((below_k + spread // 2) if equalize else (v - low) * 255) // spread)
            below_k += histogram[v]
        mask = np.uint32(0xFFFFFF ^ (255 << shift))
        for k in range(count):
            words[k] = np.uint32((words[k] & mask) | (np.uint32(table[(words[k] >> shift) & 255]) << shift))
