"""Sampling through a homography: bilinear, coordinates in 1/2048 px, blended in 32-bit integers."""

import math

import numpy as np

from loaders.host import layout
from loaders.host.jit import inner
from loaders.host.memory import copy, get, get_pair, put
from loaders.host.words import fill_word, pack

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

    enlarged: (kx, ky), by which the run of moves enlarges; 1 where it does not.

    Writes rgb bytes to target from `to` where to_bytes, else rgbx words to scratch.words. Taps outside the image
    see the border of `padded`.
    """
    m, padded, words = scratch.matrix, scratch.padded, scratch.words
    places, weights_x, weights_y = scratch.places, scratch.weights_x, scratch.weights_y
    upper, lower = scratch.upper, scratch.lower
    edges = (width, height, enlarged[0], enlarged[1])
    for y in range(out_height):
        if fill == layout.REFLECT:
            _folded_row(y, out_width, m, height, width, places, weights_x, weights_y)
        elif affine:
            _affine_row(y, out_width, m, edges, places, weights_x, weights_y)
        else:
            _projective_row(y, out_width, m, edges, places, weights_x, weights_y)
        line = 0 if to_bytes else y * out_width
        stride = width + MARGIN
        for x in range(out_width):
            place = np.int64(get(places, x))
            put(upper, x, get_pair(padded, place))
            put(lower, x, get_pair(padded, place + stride))
        _blend_row(words, line, out_width, upper, lower, weights_x, weights_y)
        if to_bytes:
            pack(target, to + 3 * y * out_width, words, line, out_width)


@inner
def _affine_row(y, out_width, m, edges, places, weights_x, weights_y):
    mx, tx, cx, my, ty, cy = m[0, 0], m[0, 1] * y, m[0, 2], m[1, 0], m[1, 1] * y, m[1, 2]
    width, height, kx, ky = edges
    right, bottom = float(width), float(height)
    if kx == 1.0 and ky == 1.0:
        for x in range(out_width):
            u, v = _limited((mx * x + tx) + cx, -1.0, right), _limited((my * x + ty) + cy, -1.0, bottom)
            _place(x, u, v, width, places, weights_x, weights_y)
    else:
        for x in range(out_width):
            u, v = _edged((mx * x + tx) + cx, right, kx), _edged((my * x + ty) + cy, bottom, ky)
            _place(x, u, v, width, places, weights_x, weights_y)


@inner
def _projective_row(y, out_width, m, edges, places, weights_x, weights_y):
    mx, tx, cx, my, ty, cy = m[0, 0], m[0, 1] * y, m[0, 2], m[1, 0], m[1, 1] * y, m[1, 2]
    mz, tz, cz = m[2, 0], m[2, 1] * y, m[2, 2]
    width, height, kx, ky = edges
    for x in range(out_width):
        z = (mz * x + tz) + cz
        u, v = ((mx * x + tx) + cx) / z, ((my * x + ty) + cy) / z
        u, v = u if z > 0.0 else -1.0, v if z > 0.0 else -1.0
        _place(x, _edged(u, float(width), kx), _edged(v, float(height), ky), width, places, weights_x, weights_y)


@inner
def _place(x, u, v, width, places, weights_x, weights_y):
    """Where the four taps of a point lie in the padded image, and its fractions of 2048."""
    ux = np.int32(math.floor(u * 2048.0 + 0.5))
    uy = np.int32(math.floor(v * 2048.0 + 0.5))
    put(places, x, np.int32(((uy >> 11) + 1) * np.int32(width + MARGIN) + ((ux >> 11) + 1)))
    put(weights_x, x, np.int32(ux & 2047))
    put(weights_y, x, np.int32(uy & 2047))


@inner
def _edged(u, size, k):
    """u limited to [-1, size], where the fill is reached; with enlargement k the way there is 1 / k of a pixel long."""
    if k == 1.0:
        return _limited(u, -1.0, size)
    before = _limited((u + 0.5) * k - 0.5, -1.0, 0.0)
    after = _limited((size - 0.5 - u) * k - 0.5, -1.0, 0.0)
    return (_limited(u, 0.0, size - 1.0) + before) - after


@inner
def _limited(u, low, high):
    return low if u < low else high if u > high else u


@inner
def _folded_row(y, out_width, m, height, width, places, weights_x, weights_y):
    for x in range(out_width):
        z = (m[2, 0] * x + m[2, 1] * y) + m[2, 2]
        u, v = -1.0, -1.0
        if z > 0.0:
            u = ((m[0, 0] * x + m[0, 1] * y) + m[0, 2]) / z
            v = ((m[1, 0] * x + m[1, 1] * y) + m[1, 2]) / z
        ux, uy = _folded(u, width), _folded(v, height)
        places[x] = ((uy >> 11) + 1) * (width + MARGIN) + (ux >> 11) + 1
        weights_x[x] = ux & 2047
        weights_y[x] = uy & 2047


@inner
def _folded(u, size):
    u = -32768.0 if u < -32768.0 else 32767.0 if u > 32767.0 else u
    fixed = np.int64(math.floor(u * 2048.0 + 0.5)) % (4096 * (size - 1))
    return fixed if fixed <= 2048 * (size - 1) else 4096 * (size - 1) - fixed


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
