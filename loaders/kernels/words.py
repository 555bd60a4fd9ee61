"""Rows of rgb bytes to rgbx words and back."""

import numpy as np

from . import layout as at
from .jit import inner
from .memory import pack_4, pack_4_exact, unpack_4


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
