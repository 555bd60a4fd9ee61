"""How a run reads its image from memory: as it is, by a gather (crops and flips), bilinearly, or shrunk.

`image` points to the first byte of an (in_height, in_width, 3) image; y, x: int32 (BLOCK,), the output's pixels.
"""

import triton
import triton.language as tl

from loaders.kernels.draws import is_active
from loaders.kernels.homography import cropped, homography

BITS = tl.constexpr(11)
UNIT = tl.constexpr(1 << 11)
HALF = tl.constexpr(1 << 21)
FAR_PX = tl.constexpr(32768.0)


@triton.jit
def sampled(image, y, x, inside, mean_rgb, tables, RUN: tl.constexpr, key, alternate):
    """The image as the run's first step makes it: red, green and blue, int32 (BLOCK,)."""
    if RUN.shrink is not None:
        r, g, b = shrunk(image, y, x, inside, tables + RUN.shrink.table, RUN.shrink.op.constants, RUN.in_width)
    elif len(RUN.moves) == 0:
        r, g, b = pixel(image, y * RUN.in_width + x, inside)
    elif RUN.only_shifts:
        r, g, b = shifted(image, y, x, inside, mean_rgb, RUN, key, alternate)
    else:
        r, g, b = warped(image, y, x, inside, mean_rgb, RUN, key, alternate)
    return r, g, b


@triton.jit
def pixel(image, place, mask):
    """The three values at `place`, a pixel's number in the image; 0 outside the mask."""
    at = image + 3 * place
    return (tl.load(at, mask, 0).to(tl.int32), tl.load(at + 1, mask, 0).to(tl.int32),
            tl.load(at + 2, mask, 0).to(tl.int32))


@triton.jit
def shifted(image, y, x, inside, mean_rgb, RUN: tl.constexpr, key, alternate):
    """Whole-pixel moves: output (x, y) is input (dx -+ x, y + dy)."""
    sign, dx, dy = tl.full((), 1, tl.int32), tl.full((), 0, tl.int32), tl.full((), 0, tl.int32)
    for k in tl.static_range(len(RUN.moves)):
        active = is_active(RUN.moves[k].op, key, alternate)
        if RUN.moves[k].op.opcode == "crop":
            more_x, more_y = cropped(RUN.moves[k].op, key)
            dx += tl.where(active, sign * more_x.to(tl.int32), 0)
            dy += tl.where(active, more_y.to(tl.int32), 0)
        else:
            dx += tl.where(active, sign * (RUN.in_width - 1), 0)
            sign = tl.where(active, -sign, sign)
    x, y = dx + sign * x, dy + y
    if RUN.fill == "reflect":
        return pixel(image, folded(y, RUN.in_height - 1) * RUN.in_width + folded(x, RUN.in_width - 1), inside)
    within = (x >= 0) & (x < RUN.in_width) & (y >= 0) & (y < RUN.in_height)
    r, g, b = pixel(image, y * RUN.in_width + x, inside & within)
    if RUN.fill == "mean":
        mean_r, mean_g, mean_b = mean_of(mean_rgb)
        r, g, b = tl.where(within, r, mean_r), tl.where(within, g, mean_g), tl.where(within, b, mean_b)
    return r, g, b


@triton.jit
def mean_of(mean_rgb):
    return tl.load(mean_rgb).to(tl.int32), tl.load(mean_rgb + 1).to(tl.int32), tl.load(mean_rgb + 2).to(tl.int32)


@triton.jit
def folded(k, LAST: tl.constexpr):
    """k folded into [0, LAST] about both ends."""
    k = tl.abs(k) % (2 * LAST)
    return tl.minimum(k, -(k - 2 * LAST))


@triton.jit
def warped(image, y, x, inside, mean_rgb, RUN: tl.constexpr, key, alternate):
    """One bilinear sampling through the moves' homography; weights of 11 bits each way."""
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = homography(RUN.moves, key, alternate)
    u, v = x.to(tl.float64), y.to(tl.float64)
    across, down = (m00 * u + m01 * v) + m02, (m10 * u + m11 * v) + m12
    if RUN.is_projective:
        depth = (m20 * u + m21 * v) + m22
        across, down = tl.where(depth > 0, across / depth, -1.0), tl.where(depth > 0, down / depth, -1.0)
    x0, x1, left, right = taps(across, RUN.in_width, RUN.fill, RUN.enlargement[0])
    y0, y1, top, bottom = taps(down, RUN.in_height, RUN.fill, RUN.enlargement[1])
    y0, y1 = y0 * RUN.in_width, y1 * RUN.in_width
    r, g, b = pixel_row(image, y0, x0, x1, left, right, inside)
    below_r, below_g, below_b = pixel_row(image, y1, x0, x1, left, right, inside)
    r, g, b = r * top + below_r * bottom, g * top + below_g * bottom, b * top + below_b * bottom
    if RUN.fill == "mean":
        # Taps outside have weight 0; the missing weight is theirs.
        missing = UNIT * UNIT - (left + right) * (top + bottom)
        mean_r, mean_g, mean_b = mean_of(mean_rgb)
        r, g, b = r + missing * mean_r, g + missing * mean_g, b + missing * mean_b
    return (r + HALF) >> (2 * BITS), (g + HALF) >> (2 * BITS), (b + HALF) >> (2 * BITS)


@triton.jit
def pixel_row(image, row, x0, x1, left, right, mask):
    """Two neighbours in a row, blended."""
    r0, g0, b0 = pixel(image, row + x0, mask)
    r1, g1, b1 = pixel(image, row + x1, mask)
    return r0 * left + r1 * right, g0 * left + g1 * right, b0 * left + b1 * right


@triton.jit
def taps(position, SIZE: tl.constexpr, FILL: tl.constexpr, ENLARGEMENT: tl.constexpr):
    """Both neighbours along one axis, limited to the image, and their weights, 0 for one outside."""
    place = fixed(position, SIZE, FILL, ENLARGEMENT)
    first, part = place >> BITS, place & (UNIT - 1)
    second = first + 1
    left = tl.where((first >= 0) & (first < SIZE), UNIT - part, 0)
    right = tl.where((second >= 0) & (second < SIZE), part, 0)
    return limited(first, 0, SIZE - 1), limited(second, 0, SIZE - 1), left, right


@triton.jit
def fixed(position, SIZE: tl.constexpr, FILL: tl.constexpr, ENLARGEMENT: tl.constexpr):
    """Positions in 2**-11 pixels, int32, as `loaders.device.warp` has them."""
    if FILL == "reflect":
        place = folded(rounded(limited(position, -FAR_PX, FAR_PX - 1)), (SIZE - 1) * UNIT)
    elif ENLARGEMENT == 1:
        place = rounded(limited(position, -1.0, SIZE))
    else:
        before = limited((position + 0.5) * ENLARGEMENT - 0.5, -1.0, 0.0)
        after = limited(((SIZE - 0.5) - position) * ENLARGEMENT - 0.5, -1.0, 0.0)
        place = rounded((limited(position, 0.0, SIZE - 1) + before) - after)
    return place


@triton.jit
def limited(v, LOW: tl.constexpr, HIGH: tl.constexpr):
    return tl.minimum(tl.maximum(v, LOW), HIGH)


@triton.jit
def rounded(position):
    return tl.floor(position * UNIT + 0.5).to(tl.int32)


@triton.jit
def shrunk(image, y, x, inside, table, SHAPE: tl.constexpr, IN_WIDTH: tl.constexpr):
    """The anti-aliased resize; SHAPE: (out_height, out_width, taps_y, taps_x), as the op's constants."""
    TAPS_Y: tl.constexpr = SHAPE[2]
    TAPS_X: tl.constexpr = SHAPE[3]
    line = table + tl.minimum(y, SHAPE[0] - 1) * (TAPS_Y + 1)
    column = table + SHAPE[0] * (TAPS_Y + 1) + x * (TAPS_X + 1)
    first = tl.load(line).to(tl.int32) * IN_WIDTH + tl.load(column).to(tl.int32)
    r = tl.full(x.shape, 1 << 19, tl.int32)
    g, b = r, r
    for j in range(TAPS_Y):
        row_r = tl.full(x.shape, 128, tl.int32)
        row_g, row_b = row_r, row_r
        for k in range(TAPS_X):
            weight = tl.load(column + 1 + k).to(tl.int32)
            more_r, more_g, more_b = pixel(image, first + j * IN_WIDTH + k, inside)
            row_r, row_g, row_b = row_r + weight * more_r, row_g + weight * more_g, row_b + weight * more_b
        weight = tl.load(line + 1 + j).to(tl.int32)
        r, g, b = r + weight * (row_r >> 8), g + weight * (row_g >> 8), b + weight * (row_b >> 8)
    return r >> 20, g >> 20, b >> 20
