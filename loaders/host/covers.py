"""Covers: the rectangles of cutout, erase and coarse_dropout, painted on rgb bytes."""

import math

import numpy as np

from loaders.host import layout
from loaders.host.draws import below, below_low, child, top_24
from loaders.host.jit import inlined, inner
from loaders.host.memory import copy


@inlined
def cover(image, to, ops, op, tables, key, paint):
    """Draw and paint the rectangles of op on the image that begins at byte `to`."""
    opcode, slot = ops[op, layout.OP_CODE], ops[op, layout.OP_SLOT]
    count, place = 1, slot
    height = width = ops[op, layout.C0]
    if opcode == layout.ERASE:
        height, width = _erased(ops, op, tables, key)
        place = slot + 10
    elif opcode == layout.COARSE_DROPOUT:
        low = ops[op, layout.C2]
        count = low + below(child(key, slot + 14), ops[op, layout.C3] - low + 1)
    for k in range(count):
        if opcode == layout.COARSE_DROPOUT:
            bits = child(key, slot + 2 * k)
            low, choices = ops[op, layout.C0], ops[op, layout.C1] - ops[op, layout.C0] + 1
            height, width = low + below(bits, choices), low + below_low(bits, choices)
            place = slot + 2 * k + 1
        bits = child(key, place)
        top = below(bits, ops[op, layout.OP_H] - height + 1)
        left = below_low(bits, ops[op, layout.OP_W] - width + 1)
        first = (top * ops[op, layout.OP_W] + left) * 3
        _paint(image, to, first, 3 * ops[op, layout.OP_W], height, 3 * width, ops[op, layout.OP_FILL], paint,
               child(key, slot + 14))


@inner
def _erased(ops, op, tables, key):
    """Height and width of the first of ten rectangles that is smaller than the image both ways, else (0, 0)."""
    for k in range(10):
        bits = child(key, ops[op, layout.OP_SLOT] + k)
        area = ops[op, layout.C0] + ((ops[op, layout.C1] * top_24(bits)) >> 24)
        row = ops[op, layout.OP_TABLE] + 2 * np.int64(bits & np.uint64(255))
        height = _rounded_root(area * tables[row])
        width = _rounded_root(area * tables[row + 1])
        if height < ops[op, layout.OP_H] and width < ops[op, layout.OP_W]:
            return height, width
    return 0, 0


@inner
def _rounded_root(square):
    """The number of k >= 1 with (2 k - 1)**2 << 30 <= square: the root of square / 2**32, halves rounded up."""
    root = np.int64(math.sqrt(np.float64(square)) / 65536.0 + 0.5)
    while ((2 * root + 1) * (2 * root + 1)) << 30 <= square:
        root += 1
    while root > 0 and ((2 * root - 1) * (2 * root - 1)) << 30 > square:
        root -= 1
    return root


@inlined
def _paint(image, to, first, row, height, length, fill, paint, noise):
    """`height` runs of `length` bytes, `row` bytes apart, from byte to + first; a byte's offset keys its noise."""
    for _ in range(height):
        if fill == layout.NOISE_FILL:
            for k in range(first, first + length):
                image[to + k] = np.uint8(child(noise, k) >> np.uint64(56))
        else:
            copy(image, to + first, paint, paint.size // 2 if fill == layout.MEAN else 0, length)
        first += row
