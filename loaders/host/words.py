"""Rows of rgb bytes to rgbx words and back."""

import numpy as np

from loaders.host import layout as at
from loaders.host.jit import inner
from loaders.host.memory import get, half_bits, pack_4, pack_4_exact, put, unpack_4


@inner
def unpack(target, source, start, count):
    """`count` rgb pixels from byte `start` of source to words 0.. of target. Reads up to 16 bytes past them."""
    k = 0
    while k + 4 <= count:
        unpack_4(target, k, source, start + 3 * k)
        k += 4
    while k < count:
        at = start + 3 * k
        target[k] = np.uint32(source[at]) | (np.uint32(source[at + 1]) << 8) | (np.uint32(source[at + 2]) << 16)
        k += 1


@inner
def pack(target, to, source, start, count):
    """`count` rgbx words from word `start` of source to rgb bytes from byte `to` of target; writes nothing else."""
    k = 0
    while k + 6 <= count:
        pack_4(target, to + 3 * k, source, start + k)
        k += 4
    while k + 4 <= count:
        pack_4_exact(target, to + 3 * k, source, start + k)
        k += 4
    while k < count:
        word = source[start + k]
        target[to + 3 * k] = np.uint8(word & 255)
        target[to + 3 * k + 1] = np.uint8((word >> 8) & 255)
        target[to + 3 * k + 2] = np.uint8((word >> 16) & 255)
        k += 1


@inner
def fill_word(fill, paint):
    """The rgbx word of a fill: zero, or the mean colour, with which the second half of `paint` begins."""
    if fill != at.MEAN:
        return np.uint32(0)
    k = paint.size // 2
    return np.uint32(paint[k]) | (np.uint32(paint[k + 1]) << 8) | (np.uint32(paint[k + 2]) << 16)


@inner
def to_float32(target, to, pixels, height, normal):
    """target[to:] (float32) from `height` rows of bytes; normal: the scale of each value of a row, then the shifts."""
    row = normal.size // 2
    for y in range(height):
        for k in range(row):
            number = np.float32(get(pixels, y * row + k)) * get(normal, k) + get(normal, row + k)
            put(target, to + y * row + k, number)


@inner
def to_float16(target, to, pixels, height, normal):
    """The same rounded to float16, as its bits in uint16."""
    row = normal.size // 2
    for y in range(height):
        for k in range(row):
            number = np.float32(get(pixels, y * row + k)) * get(normal, k) + get(normal, row + k)
            put(target, to + y * row + k, half_bits(number))
