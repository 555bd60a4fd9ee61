"""Ops that change each pixel by itself (or by one number of the whole image), in place on rgbx words.

Factors are in 2**-16 units; all arithmetic is 32-bit integer, with >> rounding down, so results are exact everywhere.
"""

import numpy as np

from loaders.host import layout
from loaders.host.draws import below, child, value
from loaders.host.jit import inner
from loaders.policy.passes import NOISE_MEAN, NOISE_UNIT, ONE, PERMUTATIONS

ORDERS = np.array(PERMUTATIONS, dtype=np.int64)
RED, GREEN, BLUE = 19589, 38470, 7471


@inner
def change(words, count, ops, op, ranges, key):
    opcode, slot, first = ops[op, layout.OP_CODE], ops[op, layout.OP_SLOT], ops[op, layout.OP_RANGE]
    if opcode == layout.JITTER:
        order = below(child(key, slot + 4), 24)
        for k in range(4):
            which = ORDERS[order, k]
            _adjust(words, count, which, value(ranges, first + which, key))
    elif opcode <= layout.HUE:
        _adjust(words, count, opcode - layout.BRIGHTNESS, value(ranges, first, key))
    elif opcode == layout.GRAY:
        _gray(words, count)
    elif opcode == layout.INVERT:
        for k in range(count):
            words[k] = words[k] ^ np.uint32(0xFFFFFF)
    elif opcode == layout.SOLARIZE:
        # v * 2**16 >= threshold, as a whole number of grey levels
        _solarize(words, count, np.int32((value(ranges, first, key) + 65535) >> 16))
    elif opcode == layout.POSTERIZE:
        bits = (value(ranges, first, key) + 32768) >> 16
        mask = np.uint32(((0xFF << (8 - bits)) & 0xFF) * 0x010101)
        for k in range(count):
            words[k] = words[k] & mask
    else:
        _noise(words, count, (value(ranges, first, key) * NOISE_UNIT) >> 16, child(key, slot + 1))


@inner
def _adjust(words, count, which, factor):
    """Brightness, contrast, saturation or hue (which = 0..3) by a factor; the neutral factor is the identity."""
    if factor == (0 if which == 3 else ONE):
        return
    if which == 0:
        _blend(words, count, np.int32(factor), np.int32(0))
    elif which == 1:
        mean = (_luma_sum(words, count) << 16) // count
        _blend(words, count, np.int32(factor), np.int32((mean * (ONE - factor)) >> 16))
    elif which == 2:
        _saturate(words, count, np.int32(factor), np.int32(ONE - factor))
    else:
        _turn_hue(words, count, np.int32(6 * factor))


@inner
def _rgb(word):
    w = np.int32(word)
    return np.int32(w & 255), np.int32((w >> 8) & 255), np.int32(w >> 16)


@inner
def _word(r, g, b):
    return np.uint32(np.int32(r | (g << 8) | (b << 16)))


@inner
def _clamp(v):
    v = np.int32(v)
    v = np.int32(0) if v < 0 else v
    return np.int32(255) if v > 255 else v


@inner
def _luma(r, g, b):
    red_green = np.int32(np.int32(r * np.int32(RED)) + np.int32(g * np.int32(GREEN)))
    return np.int32(np.int32(red_green + np.int32(b * np.int32(BLUE))) >> 16)


@inner
def _luma_sum(words, count):
    total = np.int32(0)
    for k in range(count):
        r, g, b = _rgb(words[k])
        total = np.int32(total + _luma(r, g, b))
    return np.int64(total)


@inner
def _blended(v, factor, offset):
    return _clamp(np.int32(np.int32(v * factor) + offset) >> 16)


@inner
def _blend(words, count, factor, offset):
    for k in range(count):
        r, g, b = _rgb(words[k])
        words[k] = _word(_blended(r, factor, offset), _blended(g, factor, offset), _blended(b, factor, offset))


@inner
def _saturate(words, count, factor, rest):
    for k in range(count):
        r, g, b = _rgb(words[k])
        offset = np.int32(_luma(r, g, b) * rest)
        words[k] = _word(_blended(r, factor, offset), _blended(g, factor, offset), _blended(b, factor, offset))


@inner
def _turn_hue(words, count, turn):
    """Shift hue by turn / 6 of 2**16: the hexagon in units of spread * 2**16, without division."""
    for k in range(count):
        r, g, b = _rgb(words[k])
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
        words[k] = _word(_channel(high, unit, np.int32(place + np.int32(5 * unit))),
                         _channel(high, unit, np.int32(place + np.int32(3 * unit))),
                         _channel(high, unit, np.int32(place + unit)))


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
        r, g, b = _rgb(words[k])
        words[k] = np.uint32(np.int32(_luma(r, g, b) * np.int32(0x010101)))


@inner
def _solarized(v, threshold):
    return np.int32(255 - v) if v >= threshold else v


@inner
def _solarize(words, count, threshold):
    for k in range(count):
        r, g, b = _rgb(words[k])
        words[k] = _word(_solarized(r, threshold), _solarized(g, threshold), _solarized(b, threshold))


@inner
def _noise(words, count, amplitude, key):
    for k in range(count):
        r, g, b = _rgb(words[k])
        words[k] = _word(_noisy(r, child(key, 3 * k), amplitude), _noisy(g, child(key, 3 * k + 1), amplitude),
                         _noisy(b, child(key, 3 * k + 2), amplitude))


@inner
def _noisy(v, bits, amplitude):
    """v plus amplitude / 2**16 times the centred sum of the eight bytes of bits."""
    pairs = (bits & np.uint64(0x00FF00FF00FF00FF)) + ((bits >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF))
    total = np.int64((pairs * np.uint64(0x0001000100010001)) >> np.uint64(48))
    return _clamp(v + (((total - NOISE_MEAN) * amplitude + 32768) >> 16))
