"""The homography of a run of moves for one sample, as nine float64 scalars, row by row; the order of `loaders.host`.

Kernels are compiled without fusing a product and a sum (`enable_fp_fusion`), which would round once instead of twice.
"""

import math

import triton
import triton.language as tl
from triton.language.extra import libdevice

from loaders.kernels.draws import below, below_low, draw, is_active, value

DEGREE = tl.constexpr(math.pi / 180.0)
ONE = tl.constexpr(65536.0)


@triton.jit
def homography(MOVES: tl.constexpr, key, alternate):
    """The product of the inverses of the moves that act: from output to input pixels."""
    zero, one = tl.full((), 0.0, tl.float64), tl.full((), 1.0, tl.float64)
    a, b, c, d, e, f, g, h, i = one, zero, zero, zero, one, zero, zero, zero, one
    for k in tl.static_range(len(MOVES)):
        if is_active(MOVES[k].op, key, alternate):
            if MOVES[k].op.opcode == "perspective":
                p, q, r, s, t, u, v, w, z = perspective(MOVES[k].op, key)
                a, b, c = projective_row(a, b, c, p, q, r, s, t, u, v, w, z)
                d, e, f = projective_row(d, e, f, p, q, r, s, t, u, v, w, z)
                g, h, i = projective_row(g, h, i, p, q, r, s, t, u, v, w, z)
            else:
                p, q, r, s, t, u = affine_inverse(MOVES[k].op, key)
                a, b, c = affine_row(a, b, c, p, q, r, s, t, u)
                d, e, f = affine_row(d, e, f, p, q, r, s, t, u)
                g, h, i = affine_row(g, h, i, p, q, r, s, t, u)
    return a, b, c, d, e, f, g, h, i


@triton.jit
def affine_row(a, b, c, p, q, r, s, t, u):
    """(a, b, c) times the matrix of rows (p, q, r), (s, t, u), (0, 0, 1)."""
    return a * p + b * s, a * q + b * t, (a * r + b * u) + c


@triton.jit
def projective_row(a, b, c, p, q, r, s, t, u, v, w, z):
    """(a, b, c) times the matrix of rows (p, q, r), (s, t, u), (v, w, z)."""
    return (a * p + b * s) + c * v, (a * q + b * t) + c * w, (a * r + b * u) + c * z


@triton.jit
def affine_inverse(OP: tl.constexpr, key):
    """The inverse of a crop, flip, enlargement or affine: the first two rows of its matrix."""
    zero, one = tl.full((), 0.0, tl.float64), tl.full((), 1.0, tl.float64)
    if OP.opcode == "crop":
        dx, dy = cropped(OP, key)
        matrix = one, zero, dx.to(tl.float64), zero, one, dy.to(tl.float64)
    elif OP.opcode == "flip":
        matrix = -one, zero, one * (OP.width - 1), zero, one, zero
    elif OP.opcode == "enlarge":
        KX: tl.constexpr = OP.width / OP.constants[1]
        KY: tl.constexpr = OP.height / OP.constants[0]
        matrix = one * KX, zero, one * ((KX - 1) / 2), zero, one * KY, one * ((KY - 1) / 2)
    else:
        matrix = affine(OP, key)
    return matrix


@triton.jit
def cropped(OP: tl.constexpr, key):
    """The drawn move of a crop in whole pixels, int64: (dx, dy)."""
    PAD: tl.constexpr = OP.constants[0]
    bits = draw(key, OP.slot)
    return below_low(bits, 2 * PAD + 1) - PAD, below(bits, 2 * PAD + 1) - PAD


@triton.jit
def affine(OP: tl.constexpr, key):
    angle, tx, ty = number(OP.ranges[0], key) * DEGREE, number(OP.ranges[1], key), number(OP.ranges[2], key)
    scale, kx, ky = number(OP.ranges[3], key), number(OP.ranges[4], key), number(OP.ranges[5], key)
    if OP.constants[1] == 0:
        if OP.ranges[4].constant != 0:
            kx = libdevice.tan(kx * DEGREE)
        if OP.ranges[5].constant != 0:
            ky = libdevice.tan(ky * DEGREE)
    if OP.ranges[0].constant == 0:
        co, si = tl.full((), 1.0, tl.float64), tl.full((), 0.0, tl.float64)
    else:
        co, si = tl.cos(angle), tl.sin(angle)
    a, c = co + si * ky, si - co * ky
    b, e = -(a * kx + si), co - c * kx
    if OP.constants[0] == 1:
        CX: tl.constexpr = -0.5
        CY: tl.constexpr = -0.5
    else:
        CX: tl.constexpr = (OP.width - 1) / 2
        CY: tl.constexpr = (OP.height - 1) / 2
    p, q, s, t = e / scale, -b / scale, -c / scale, a / scale
    return p, q, CX - (p * (CX + tx) + q * (CY + ty)), s, t, CY - (s * (CX + tx) + t * (CY + ty))


@triton.jit
def number(RANGE: tl.constexpr, key):
    return value(RANGE, key).to(tl.float64) / ONE


@triton.jit
def perspective(OP: tl.constexpr, key):
    """The square-to-quadrilateral map of Heckbert (1989), inverted and scaled to the image's rectangle."""
    RIGHT: tl.constexpr = OP.width - 1
    BOTTOM: tl.constexpr = OP.height - 1
    mx, my = OP.constants[0] + 1, OP.constants[1] + 1
    d0, d1, d2, d3 = draw(key, OP.slot), draw(key, OP.slot + 1), draw(key, OP.slot + 2), draw(key, OP.slot + 3)
    x0, y0 = below(d0, mx).to(tl.float64) - 0.5, below_low(d0, my).to(tl.float64) - 0.5
    x1, y1 = (RIGHT - below(d1, mx)).to(tl.float64) - 0.5, below_low(d1, my).to(tl.float64) - 0.5
    x2, y2 = (RIGHT - below(d2, mx)).to(tl.float64) - 0.5, (BOTTOM - below_low(d2, my)).to(tl.float64) - 0.5
    x3, y3 = below(d3, mx).to(tl.float64) - 0.5, (BOTTOM - below_low(d3, my)).to(tl.float64) - 0.5
    sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    dx1, dx2, dy1, dy2 = x1 - x2, x3 - x2, y1 - y2, y3 - y2
    den = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / den, (dx1 * sy - sx * dy1) / den
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    v, w, z = d * h - e * g, b * g - a * h, a * e - b * d
    p, q, r = RIGHT * (e - f * h) - 0.5 * v, RIGHT * (c * h - b) - 0.5 * w, RIGHT * (b * f - c * e) - 0.5 * z
    s, t, u = BOTTOM * (f * g - d) - 0.5 * v, BOTTOM * (a - c * g) - 0.5 * w, BOTTOM * (c * d - a * f) - 0.5 * z
    return p, q, r, s, t, u, v, w, z
