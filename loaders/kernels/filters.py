"""Steps in which a pixel depends on its neighbours: blur, sharpness and shrinking, in place on rgbx words.

Between the two passes of a separable filter a value keeps 6 fraction bits. middle is int32 scratch for an image of
three values a pixel, line int32 scratch for a row of it with the kernel's width to spare.
"""

import numpy as np

from . import layout as at
from .draws import below, child
from .jit import inner
from .shifts import reflected
from .steps import value


@inner
def blur(words, middle, line, height, width, steps, t, tables, key):
    """Separable Gaussian blur with reflected edges."""
    taps, row = steps[t, at.C0], 3 * width
    weights = steps[t, at.STEP_TABLE] + taps * below(child(key, steps[t, at.STEP_SLOT]), 64)
    half = taps // 2
    for y in range(height):
        for x in range(width + taps - 1):
            _spread(line, 3 * x, words[y * width + reflected(x - half, width)])
        _weigh(middle, y * row, line, 0, row, 3, taps, tables, weights, np.int32(128), 8)
    for y in range(height):
        for j in range(row):
            line[j] = 1 << 19
        for k in range(taps):
            _add(line, middle, reflected(y + k - half, height) * row, row, np.int32(tables[weights + k]))
        _gather_row(words, y * width, line, width)


@inner
def shrink(words, middle, line, height, width, steps, t, tables):
    """Anti-aliased resize; the table holds a row (first, weights...) for each output row, then for each column."""
    out_height, out_width, taps_y, taps_x = steps[t, at.C0], steps[t, at.C1], steps[t, at.C2], steps[t, at.C3]
    rows = steps[t, at.STEP_TABLE]
    columns = rows + out_height * (taps_y + 1)
    for y in range(height):
        for x in range(width):
            _spread(line, 3 * x, words[y * width + x])
        for x in range(out_width):
            entry = columns + x * (taps_x + 1)
            _weigh(middle, 3 * (y * out_width + x), line, 3 * tables[entry], 3, 3, taps_x, tables, entry + 1,
                   np.int32(128), 8)
    for y in range(out_height):
        entry = rows + y * (taps_y + 1)
        for j in range(3 * out_width):
            line[j] = 1 << 19
        for k in range(taps_y):
            _add(line, middle, 3 * out_width * (tables[entry] + k), 3 * out_width, np.int32(tables[entry + 1 + k]))
        _gather_row(words, y * out_width, line, out_width)


@inner
def sharpen(words, middle, height, width, steps, t, ranges, key):
    """Blend each inner pixel with its 3 x 3 mean (the centre counting five times); the outermost pixels stay."""
    factor, row = np.int32(value(ranges, steps[t, at.STEP_RANGE], key)), 3 * width
    for k in range(height * width):
        _spread(middle, 3 * k, words[k])
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            word = np.int32(0)
            for c in range(3):
                k = 3 * (y * width + x) + c
                v = middle[k]
                total = 4 * v
                for j in (k - row, k, k + row):
                    total += middle[j - 3] + middle[j] + middle[j + 3]
                smooth = np.int32((2 * total + 13) // 26)
                sharp = (v * 65536 + (65536 - factor) * (smooth - v)) >> 16
                word |= np.int32(min(max(sharp, 0), 255) << (8 * c))
            words[y * width + x] = np.uint32(word)


@inner
def _spread(line, to, word):
    line[to] = np.int32(word & 255)
    line[to + 1] = np.int32((word >> 8) & 255)
    line[to + 2] = np.int32(word >> 16)


@inner
def _weigh(target, to, line, first, count, step, taps, tables, weights, rounding, shift):
    """target[to + j] = (rounding + the weighted sum of line[first + j + step * k] over the taps k) >> shift."""
    for j in range(count):
        target[to + j] = rounding
    for k in range(taps):
        weight = np.int32(tables[weights + k])
        for j in range(count):
            target[to + j] = np.int32(target[to + j] + np.int32(weight * line[first + j + step * k]))
    for j in range(count):
        target[to + j] = target[to + j] >> shift


@inner
def _add(line, middle, first, count, weight):
    for j in range(count):
        line[j] = np.int32(line[j] + np.int32(weight * middle[first + j]))


@inner
def _gather_row(words, to, line, width):
    for x in range(width):
        r, g, b = line[3 * x] >> 20, line[3 * x + 1] >> 20, line[3 * x + 2] >> 20
        words[to + x] = np.uint32(np.int32(r | (g << 8) | (b << 16)))
