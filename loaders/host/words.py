"""Rows of rgb bytes to rgbx words and back."""

import numpy as np

from loaders.host import layout
from loaders.host.jit import inner
from loaders.host.memory import pack_4, pack_4_exact, unpack_4


@inner
def unpack(target, source, start, count):
    """`count` rgb pixels from byte `start` of source to words 0.. of target. Reads up to 16 bytes past them."""
    k = 0
    while k + 4 <= count:
        unpack_4(target, k, source, start + 3 * k)
        k += 4
    while k < count:
        target[k] = _word(source, start + 3 * k)
        k += 1


@inner
def _word(source, start):
    r, g, b = np.uint32(source[start]), np.uint32(source[start + 1]), np.uint32(source[start + 2])
    return np.uint32(r | (g << 8) | (b << 16))


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
        for c in range(3):
            target[to + 3 * k + c] = np.uint8((source[start + k] >> (8 * c)) & 255)
        k += 1


@inner
def fill_word(fill, paint):
    """The rgbx word of a fill: zero, or the mean colour, which starts the second half of `paint`."""
    return _word(paint, paint.size // 2) if fill == layout.MEAN else np.uint32(0)
