"""Whole-pixel moves: crop and flip as block copies of rgb bytes."""

from . import layout as at
from .jit import inner
from .memory import copy, mirror_5, mirror_5_exact


@inner
def shift(target, to, source, start, height, width, mirrored, dx, dy, fill, paint):
    """target (x, y) = source (x + dx, y + dy), or (dx - x, y + dy) where mirrored; `to` and `start` are byte offsets.

    paint: uint8, a row of zeros, then a row of the mean colour, each at least as long as the image's rows. Reads up to
    16 bytes past the image, writes none outside it.
    """
    row = 3 * width
    low, high = (max(0, dx - width + 1), min(width, dx + 1)) if mirrored else (max(0, -dx), min(width, width - dx))
    if low >= high or abs(dy) >= height:
        low = high = 0
    if fill == at.REFLECT:
        _shift_reflected(target, to, source, start, height, width, mirrored, dx, dy, low, high)
        return
    colour = paint.size // 2 if fill == at.MEAN else 0
    top, bottom = (max(0, -dy), min(height, height - dy)) if high > 0 else (0, 0)
    for y in range(top):
        copy(target, to + y * row, paint, colour, row)
    for y in range(bottom, height):
        copy(target, to + y * row, paint, colour, row)
    if not mirrored and bottom > top:
        # One block: what each row takes from its neighbour is painted over below.
        count = (bottom - top - 1) * row + 3 * (high - low)
        copy(target, to + top * row + 3 * low, source, start + (top + dy) * row + 3 * (low + dx), count)
    for y in range(top, bottom):
        if mirrored:
            _mirror_row(target, to + y * row, source, start + (y + dy) * row, dx, low, high)
        if low > 0:
            copy(target, to + y * row, paint, colour, 3 * low)
        if high < width:
            copy(target, to + y * row + 3 * high, paint, colour, 3 * (width - high))


@inner
def _shift_reflected(target, to, source, start, height, width, mirrored, dx, dy, low, high):
    row, sign = 3 * width, -1 if mirrored else 1
    for y in range(height):
        line = start + reflected(y + dy, height) * row
        if mirrored:
            _mirror_row(target, to + y * row, source, line, dx, low, high)
        else:
            copy(target, to + y * row + 3 * low, source, line + 3 * (low + dx), 3 * (high - low))
        for k in range(width - high + low):
            x = k if k < low else k - low + high
            _one_pixel(target, to + y * row + 3 * x, source, line + 3 * reflected(dx + sign * x, width))


@inner
def reflected(k, size):
    """Index k folded into [0, size) about the centres of the outermost pixels (size >= 2)."""
    period = 2 * (size - 1)
    while k < 0:
        k += period
    while k >= period:
        k -= period
    return period - k if k >= size else k


@inner
def _mirror_row(target, to, source, line, dx, low, high):
    """Pixels low..high - 1 of one row, five at a time; the last five again, exactly, as they may not write on."""
    x = low
    while x + 5 < high:
        mirror_5(target, to + 3 * x, source, line + 3 * (dx - x - 4))
        x += 5
    if high - low >= 5:
        mirror_5_exact(target, to + 3 * (high - 5), source, line + 3 * (dx - high + 1))
        return
    while x < high:
        _one_pixel(target, to + 3 * x, source, line + 3 * (dx - x))
        x += 1


@inner
def _one_pixel(target, to, source, start):
    target[to] = source[start]
    target[to + 1] = source[start + 1]
    target[to + 2] = source[start + 2]
