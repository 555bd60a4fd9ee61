"""Sampling through a homography: bilinear, coordinates in 1/2048 px, blended in 32-bit integers."""

import math

import numpy as np

from loaders.host import layout
from loaders.host.jit import inlined, inner
from loaders.host.memory import copy, fill_word, get, get_pair, pack, put

MARGIN = 3


@inner
def pad(padded, image, height, width, fill, paint):
    """Copy an rgbx image into the middle of padded, (height + 3, width + 3) words: 1 before and 2 after of the fill."""
    colour = fill_word(fill, paint)
    stride = width + MARGIN
    for k in range((height + MARGIN) * stride):
        padded[k] = colour
    for y in range(height):
        copy(padded, (y + 1) * stride + 1, image, y * width, width)


@inner
def warp(to_bytes, target, to, scratch, height, width, out_height, out_width, affine, enlarged, fill):
    """Sample the (height, width) image in scratch.padded at the homography scratch.matrix of every output pixel.

    enlarged: (kx, ky), the run's enlargement; 1 without one. Writes rgb bytes to target from `to` on if to_bytes, else
    rgbx words to scratch.words. Taps outside the image see the border of `padded`.
    """
    m, padded, words, upper, lower = scratch.matrix, scratch.padded, scratch.words, scratch.upper, scratch.lower
    places, weights_x, weights_y = scratch.places, scratch.weights_x, scratch.weights_y
    kx, ky = enlarged
    for y in range(out_height):
        # Separate calls with constants: each compiles to a loop without branches.
        if fill == layout.REFLECT:
            _row(y, out_width, m, width, height, 1.0, 1.0, False, True, places, weights_x, weights_y)
        elif not affine:
            _row(y, out_width, m, width, height, kx, ky, False, False, places, weights_x, weights_y)
        elif kx == 1.0 and ky == 1.0:
            _row(y, out_width, m, width, height, 1.0, 1.0, True, False, places, weights_x, weights_y)
        else:
            _row(y, out_width, m, width, height, kx, ky, True, False, places, weights_x, weights_y)
        line = 0 if to_bytes else y * out_width
        stride = width + MARGIN
        for x in range(out_width):
            place = np.int64(get(places, x))
            put(upper, x, get_pair(padded, place))
            put(lower, x, get_pair(padded, place + stride))
        _blend_row(words, line, out_width, upper, lower, weights_x, weights_y)
        if to_bytes:
            pack(target, to + 3 * y * out_width, words, line, out_width)


@inlined
def _row(y, out_width, m, width, height, kx, ky, affine, reflect, places, weights_x, weights_y):
    """The offset in the padded image of each point's four taps in row y, and its fractions of 2048."""
    mx, tx, cx, my, ty, cy = m[0, 0], m[0, 1] * y, m[0, 2], m[1, 0], m[1, 1] * y, m[1, 2]
    mz, tz, cz = m[2, 0], m[2, 1] * y, m[2, 2]
    for x in range(out_width):
        u, v = (mx * x + tx) + cx, (my * x + ty) + cy
        if not affine:
            z = (mz * x + tz) + cz
            u, v = u / z, v / z
            u, v = u if z > 0.0 else -1.0, v if z > 0.0 else -1.0
        if reflect:
            ux, uy = _folded(u, width), _folded(v, height)
        else:
            ux, uy = _fixed(_edged(u, float(width), kx)), _fixed(_edged(v, float(height), ky))
        put(places, x, np.int32(((uy >> 11) + 1) * np.int32(width + MARGIN) + ((ux >> 11) + 1)))
        put(weights_x, x, np.int32(ux & 2047))
        put(weights_y, x, np.int32(uy & 2047))


@inner
def _fixed(u):
    return np.int32(math.floor(u * 2048.0 + 0.5))


@inner
def _edged(u, size, k):
    """u limited to [-1, size], where the fill begins; with enlargement k the transition is 1 / k of a pixel long."""
    if k == 1.0:
        return _limited(u, -1.0, size)
    before = _limited((u + 0.5) * k - 0.5, -1.0, 0.0)
    after = _limited((size - 0.5 - u) * k - 0.5, -1.0, 0.0)
    return (_limited(u, 0.0, size - 1.0) + before) - after


@inner
def _limited(u, low, high):
    return low if u < low else high if u > high else u


@inner
def _folded(u, size):
    u = -32768.0 if u < -32768.0 else 32767.0 if u > 32767.0 else u
    fixed = np.int64(_fixed(u)) % (4096 * (size - 1))
    return np.int32(fixed if fixed <= 2048 * (size - 1) else 4096 * (size - 1) - fixed)


@inner
def _blend_row(target, to, out_width, upper, lower, weights_x, weights_y):
    """Blend the pairs of neighbours above and below each point."""
    for x in range(out_width):
        above, below = get(upper, x), get(lower, x)
        p00, p01 = np.int32(above), np.int32(above >> np.uint64(32))
        p10, p11 = np.int32(below), np.int32(below >> np.uint64(32))
        fx, fy = get(weights_x, x), get(weights_y, x)
        gx, gy = np.int32(2048 - fx), np.int32(2048 - fy)
        r = _mixed(p00 & 255, p01 & 255, p10 & 255, p11 & 255, fx, gx, fy, gy)
        g = _mixed((p00 >> 8) & 255, (p01 >> 8) & 255, (p10 >> 8) & 255, (p11 >> 8) & 255, fx, gx, fy, gy)
        b = _mixed(p00 >> 16, p01 >> 16, p10 >> 16, p11 >> 16, fx, gx, fy, gy)
        put(target, to + x, np.int32(r | (g << 8) | (b << 16)))


@inner
def _mixed(v00, v01, v10, v11, fx, gx, fy, gy):
    top = np.int32(np.int32(v00 * gx) + np.int32(v01 * fx))
    bottom = np.int32(np.int32(v10 * gx) + np.int32(v11 * fx))
    return np.int32(np.int32(np.int32(top * gy) + np.int32(bottom * fy)) + np.int32(1 << 21)) >> 22
