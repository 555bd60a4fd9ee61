"""Normalising rgb bytes to floats, the last part of the one pass: v * scale + shift of the value's channel, in float32."""

import numpy as np

from .jit import inner
from .memory import half_bits


@inner
def to_float32(target, to, pixels, height, normal):
    """target[to:] (float32) from the bytes of `height` rows; normal (2, 3 * width) repeats scale and shift along one."""
    row = normal.shape[1]
    for y in range(height):
        for k in range(row):
            target[to + y * row + k] = np.float32(pixels[y * row + k]) * normal[0, k] + normal[1, k]


@inner
def to_float16(target, to, pixels, height, normal):
    """The same rounded to float16, as its bits in uint16."""
    row = normal.shape[1]
    for y in range(height):
        for k in range(row):
            target[to + y * row + k] = half_bits(np.float32(pixels[y * row + k]) * normal[0, k] + normal[1, k])
