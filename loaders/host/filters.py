"""Ops that read more than one pixel: blur, shrink, sharpness, autocontrast and equalize, in place on rgbx words.

A value keeps 6 fraction bits between the two passes of a separable filter. `middle` is int32 scratch for an image of
three values per pixel (at least 512), `line` int32 scratch for one row plus the kernel's width.
"""

import numpy as np

from loaders.host import layout
from loaders.host.draws import below, child, value
from loaders.host.jit import inner
from loaders.host.memory import get, put
from loaders.host.shifts import reflected


@inner
def blur(words, middle, line, height, width, ops, op, tables, key):
    """Separable Gaussian blur with reflected edges."""
    taps, row = ops[op, layout.C0], 3 * width
    weights = ops[op, layout.OP_TABLE] + taps * below(child(key, ops[op, layout.OP_SLOT]), 64)
    half = taps // 2
    for y in range(height):
        for x in range(width + taps - 1):
            _spread(line, 3 * x, get(words, y * width + reflected(x - half, width)))
        for j in range(row):
            put(middle, y * row + j, np.int32(128))
        for k in range(taps):
            _add(middle, y * row, line, 3 * k, row, np.int32(tables[weights + k]))
        for j in range(row):
            put(middle, y * row + j, get(middle, y * row + j) >> 8)
    for y in range(height):
        for j in range(row):
            put(line, j, np.int32(1 << 19))
        for k in range(taps):
            _add(line, 0, middle, reflected(y + k - half, height) * row, row, np.int32(tables[weights + k]))
        _gather_row(words, y * width, line, width, 20)


@inner
def shrink(words, middle, line, height, width, ops, op, tables):
    """Anti-aliased resize; the table holds a row (first, weights...) for each output row, then for each column."""
    out_height, out_width = ops[op, layout.C0], ops[op, layout.C1]
    taps_y, taps_x = ops[op, layout.C2], ops[op, layout.C3]
    rows = ops[op, layout.OP_TABLE]
    columns = rows + out_height * (taps_y + 1)
    for y in range(height):
        for x in range(out_width):
            entry = columns + x * (taps_x + 1)
            first = y * width + get(tables, entry)
            r = g = b = 128
            for k in range(taps_x):
                weight, word = get(tables, entry + 1 + k), np.int64(get(words, first + k))
                r, g, b = r + weight * (word & 255), g + weight * ((word >> 8) & 255), b + weight * (word >> 16)
            place = 3 * (y * out_width + x)
            put(middle, place, np.int32(r >> 8))
            put(middle, place + 1, np.int32(g >> 8))
            put(middle, place + 2, np.int32(b >> 8))
    for y in range(out_height):
        entry = rows + y * (taps_y + 1)
        for j in range(3 * out_width):
            put(line, j, np.int32(1 << 19))
        for k in range(taps_y):
            first = 3 * out_width * (tables[entry] + k)
            _add(line, 0, middle, first, 3 * out_width, np.int32(tables[entry + 1 + k]))
        _gather_row(words, y * out_width, line, out_width, 20)


@inner
def sharpness(words, middle, line, height, width, ops, op, ranges, key):
    """Blend each inner pixel with its 3 x 3 mean (the centre weighs five times); the outermost pixels do not change."""
    factor, row = np.int32(value(ranges, ops[op, layout.OP_RANGE], key)), 3 * width
    rest = np.int32(65536 - factor)
    for k in range(height * width):
        _spread(middle, 3 * k, get(words, k))
    for y in range(1, height - 1):
        for j in range(row - 6):
            k = y * row + 3 + j
            v = get(middle, k)
            total = np.int32(np.int32(4 * v) + _three(middle, k - row))
            total = np.int32(np.int32(total + _three(middle, k)) + _three(middle, k + row))
            # (2 total + 13) // 26, exact for every total that bytes can give.
            smooth = np.int32(np.int32(np.int32(2 * total) + np.int32(13)) * np.int32(40330)) >> 20
            sharp = np.int32(np.int32(v << 16) + np.int32(rest * np.int32(smooth - v))) >> 16
            sharp = 0 if sharp < 0 else sharp
            put(line, j, np.int32(255 if sharp > 255 else sharp))
        _gather_row(words, y * width + 1, line, width - 2, 0)


@inner
def _three(middle, k):
    """The sum of a value and its two neighbours in the row."""
    return np.int32(np.int32(get(middle, k - 3) + get(middle, k)) + get(middle, k + 3))


@inner
def _spread(line, to, word):
    put(line, to, np.int32(word & 255))
    put(line, to + 1, np.int32((word >> 8) & 255))
    put(line, to + 2, np.int32(word >> 16))


@inner
def _add(target, to, source, first, count, weight):
    for j in range(count):
        put(target, to + j, np.int32(get(target, to + j) + np.int32(weight * get(source, first + j))))


@inner
def _gather_row(words, to, line, width, shift):
    for x in range(width):
        r, g, b = get(line, 3 * x) >> shift, get(line, 3 * x + 1) >> shift, get(line, 3 * x + 2) >> shift
        put(words, to + x, np.uint32(r | (g << 8) | (b << 16)))


@inner
def by_histogram(words, count, equalize, scratch):
    """Equalise each channel, or stretch it to 0..255 (autocontrast), by a table; scratch: int32, at least 512."""
    histogram, table = scratch[:256], scratch[256:512]
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
