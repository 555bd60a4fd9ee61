"""Normalising rgb bytes to floats, the last part of the one pass: v * scale + shift in float32."""

import numpy as np

from .jit import inner
from .memory import get, half_bits, put


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
