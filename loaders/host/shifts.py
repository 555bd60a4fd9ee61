"""Whole-pixel moves: crop and flip as block copies of rgb bytes."""

from loaders.host import layout
from loaders.host.jit import inlined, inner
from loaders.host.memory import copy, mirror_5, mirror_5_exact, mirror_21, mirror_21_exact


@inlined
def shift(target, to, source, start, height, width, mirrored, dx, dy, fill, paint):
    """target (x, y) = source (x + dx, y + dy), or (dx - x, y + dy) if mirrored; `to` and `start` are byte offsets.

    paint: uint8, a row of zeros, then a row of the mean colour, each at least as long as the image's rows. Reads up to
    16 bytes past the image, writes none outside it.
    """
    row = 3 * width
    low, high = (max(0, dx - width + 1), min(width, dx + 1)) if mirrored else (max(0, -dx), min(width, width - dx))
    if low >= high or abs(dy) >= height:
        low = high = 0
    if fill == layout.REFLECT:
        _shift_reflected(target, to, source, start, height, width, mirrored, dx, dy, low, high)
        return
    colour = paint.size // 2 if fill == layout.MEAN else 0
    top, bottom = (max(0, -dy), min(height, height - dy)) if high > 0 else (0, 0)
    for y in range(top):
        copy(target, to + y * row, paint, colour, row)
    for y in range(bottom, height):
        copy(target, to + y * row, paint, colour, row)
    if mirrored:
        _mirror_rows(target, to + top * row, source, start + (top + dy) * row, bottom - top, row, dx, low, high)
    elif bottom > top:
        # One block: bytes taken from a neighbouring row are painted over below.
        count = (bottom - top - 1) * row + 3 * (high - low)
        copy(target, to + top * row + 3 * low, source, start + (top + dy) * row + 3 * (low + dx), count)
    if low > 0:
        for y in range(top, bottom):
            copy(target, to + y * row, paint, colour, 3 * low)
    if high < width:
        for y in range(top, bottom):
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


@inlined
def _mirror_rows(target, to, source, line, rows, row, dx, low, high):
    """`rows` rows from byte `to` on; rows of 22 to 42 pixels take two shuffles and no inner loop."""
    if 21 < high - low <= 42:
        first_to, first_line = to + 3 * low, line + 3 * (dx - low - 20)
        last_to, last_line = to + 3 * (high - 21), line + 3 * (dx - high + 1)
        for _ in range(rows):
            mirror_21(target, first_to, source, first_line)
            mirror_21_exact(target, last_to, source, last_line)
            first_to, first_line, last_to, last_line = first_to + row, first_line + row, last_to + row, last_line + row
        return
    for y in range(rows):
        _mirror_row(target, to + y * row, source, line + y * row, dx, low, high)


@inner
def _mirror_row(target, to, source, line, dx, low, high):
    """Pixels low..high - 1 of one row, 21 or five at a time; the last ones by an exact store, which ends there."""
    x = low
    if high - low >= 21:
        while x + 21 < high:
            mirror_21(target, to + 3 * x, source, line + 3 * (dx - x - 20))
            x += 21
        mirror_21_exact(target, to + 3 * (high - 21), source, line + 3 * (dx - high + 1))
        return
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
    for c in range(3):
        target[to + c] = source[start + c]
