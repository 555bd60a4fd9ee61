"""The homography of a run of moves for one sample, or its shift and mirror if only whole pixels move."""

import math

from loaders.host import layout
from loaders.host.draws import below, below_low, child, value
from loaders.host.jit import inlined, inner

DEGREE = math.pi / 180.0


@inlined
def whole_move(passes, pass_, ops, active, key):
    """(is whole, mirrored, dx, dy): output (x, y) is input (dx -+ x, dy + y) if only crops and flips act."""
    sign, dx, dy = 1, 0, 0
    for op in range(passes[pass_, layout.PASS_FIRST], passes[pass_, layout.PASS_LAST]):
        if active[op] == 0:
            continue
        opcode = ops[op, layout.OP_CODE]
        if opcode == layout.CROP:
            cropped_x, cropped_y = _cropped(ops, op, key)
            dx, dy = dx + sign * cropped_x, dy + cropped_y
        elif opcode == layout.FLIP:
            dx += sign * (ops[op, layout.OP_W] - 1)
            sign = -sign
        else:
            return False, 0, 0, 0
    return True, sign < 0, dx, dy


@inner
def homography(m, p, passes, pass_, ops, ranges, active, key):
    """Fill m, float64 (3, 3): output pixel to input pixel of the pass; p is scratch of the same shape.

    Returns whether m is affine, and the factors by which the pass enlarges along x and y (1 if it does not).
    """
    m[:] = 0.0
    m[0, 0] = m[1, 1] = m[2, 2] = 1.0
    affine, kx, ky = True, 1.0, 1.0
    for op in range(passes[pass_, layout.PASS_FIRST], passes[pass_, layout.PASS_LAST]):
        if active[op] == 0:
            continue
        opcode, height, width = ops[op, layout.OP_CODE], ops[op, layout.OP_H], ops[op, layout.OP_W]
        p[:] = 0.0
        p[0, 0] = p[1, 1] = p[2, 2] = 1.0
        if opcode == layout.CROP:
            p[0, 2], p[1, 2] = _cropped(ops, op, key)
        elif opcode == layout.FLIP:
            p[0, 0] = -1.0
            p[0, 2] = width - 1.0
        elif opcode == layout.ENLARGE:
            kx, ky = ops[op, layout.C1] / width, ops[op, layout.C0] / height
            p[0, 0] = width / ops[op, layout.C1]
            p[1, 1] = height / ops[op, layout.C0]
            p[0, 2] = (p[0, 0] - 1.0) / 2.0
            p[1, 2] = (p[1, 1] - 1.0) / 2.0
        elif opcode == layout.AFFINE:
            _affine(p, ops, op, ranges, key)
        else:
            affine = False
            _perspective(p, ops, op, key)
        for i in range(3):
            m0, m1, m2 = m[i, 0], m[i, 1], m[i, 2]
            for j in range(3):
                m[i, j] = (m0 * p[0, j] + m1 * p[1, j]) + m2 * p[2, j]
    return affine, (kx, ky)


@inner
def _cropped(ops, op, key):
    pad, bits = ops[op, layout.C0], child(key, ops[op, layout.OP_SLOT])
    return below_low(bits, 2 * pad + 1) - pad, below(bits, 2 * pad + 1) - pad


@inner
def _affine(p, ops, op, ranges, key):
    first = ops[op, layout.OP_RANGE]
    angle = value(ranges, first, key) / 65536.0 * DEGREE
    tx = value(ranges, first + 1, key) / 65536.0
    ty = value(ranges, first + 2, key) / 65536.0
    scale = value(ranges, first + 3, key) / 65536.0
    kx = value(ranges, first + 4, key) / 65536.0
    ky = value(ranges, first + 5, key) / 65536.0
    if ops[op, layout.C1] == 0:
        kx, ky = math.tan(kx * DEGREE), math.tan(ky * DEGREE)
    co, si = math.cos(angle), math.sin(angle)
    a, c = co + si * ky, si - co * ky
    b, e = -(a * kx + si), co - c * kx
    cx, cy = (ops[op, layout.OP_W] - 1) / 2.0, (ops[op, layout.OP_H] - 1) / 2.0
    if ops[op, layout.C0] == 1:
        cx, cy = -0.5, -0.5
    p[0, 0], p[0, 1], p[1, 0], p[1, 1] = e / scale, -b / scale, -c / scale, a / scale
    p[0, 2] = cx - (p[0, 0] * (cx + tx) + p[0, 1] * (cy + ty))
    p[1, 2] = cy - (p[1, 0] * (cx + tx) + p[1, 1] * (cy + ty))


@inner
def _perspective(p, ops, op, key):
    """The square-to-quadrilateral map of Heckbert (1989), inverted and scaled to the image's rectangle."""
    slot, right, bottom = ops[op, layout.OP_SLOT], ops[op, layout.OP_W] - 1, ops[op, layout.OP_H] - 1
    most_x, most_y = ops[op, layout.C0] + 1, ops[op, layout.C1] + 1
    d0, d1, d2, d3 = child(key, slot), child(key, slot + 1), child(key, slot + 2), child(key, slot + 3)
    x0, y0 = below(d0, most_x) - 0.5, below_low(d0, most_y) - 0.5
    x1, y1 = right - below(d1, most_x) - 0.5, below_low(d1, most_y) - 0.5
    x2, y2 = right - below(d2, most_x) - 0.5, bottom - below_low(d2, most_y) - 0.5
    x3, y3 = below(d3, most_x) - 0.5, bottom - below_low(d3, most_y) - 0.5
    sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    dx1, dx2, dy1, dy2 = x1 - x2, x3 - x2, y1 - y2, y3 - y2
    den = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / den, (dx1 * sy - sx * dy1) / den
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    p[2, 0], p[2, 1], p[2, 2] = d * h - e * g, b * g - a * h, a * e - b * d
    p[0, 0] = right * (e - f * h) - 0.5 * p[2, 0]
    p[0, 1] = right * (c * h - b) - 0.5 * p[2, 1]
    p[0, 2] = right * (b * f - c * e) - 0.5 * p[2, 2]
    p[1, 0] = bottom * (f * g - d) - 0.5 * p[2, 0]
    p[1, 1] = bottom * (a - c * g) - 0.5 * p[2, 1]
    p[1, 2] = bottom * (c * d - a * f) - 0.5 * p[2, 2]
