"""Moves: the homography of a run of moves for one sample, and its sampling, bilinear or by whole pixels.

Coordinates are quantised to 1/2048 px and blended in integers; a run of whole-pixel moves is an exact copy.
"""

import math

from loaders.host import layout as at
from loaders.host.draws import below, below_low, child, value
from loaders.host.jit import inlined, inner

DEGREE = math.pi / 180.0


@inlined
def whole_move(stages, s, steps, active, key):
    """(is whole, mirrored, dx, dy): output (x, y) is input (dx -+ x, dy + y) if only crops and flips act in stage s."""
    sign, dx, dy = 1, 0, 0
    for t in range(stages[s, at.STAGE_FIRST], stages[s, at.STAGE_LAST]):
        if active[t] == 0:
            continue
        opcode = steps[t, at.STEP_OPCODE]
        if opcode == at.CROP:
            pad = steps[t, at.C0]
            bits = child(key, steps[t, at.STEP_SLOT])
            dy += below(bits, 2 * pad + 1) - pad
            dx += sign * (below_low(bits, 2 * pad + 1) - pad)
        elif opcode == at.FLIP:
            dx += sign * (steps[t, at.STEP_W] - 1)
            sign = -sign
        else:
            return False, 0, 0, 0
    return True, sign < 0, dx, dy


@inner
def homography(m, p, stages, s, steps, ranges, active, key):
    """Fill m, float64 (3, 3): output pixel to input pixel of stage s; p is scratch of the same shape.

    Returns whether m is affine, and by how much the stage enlarges along x and y (1 where it does not).
    """
    m[:] = 0.0
    m[0, 0] = m[1, 1] = m[2, 2] = 1.0
    affine, kx, ky = True, 1.0, 1.0
    for t in range(stages[s, at.STAGE_FIRST], stages[s, at.STAGE_LAST]):
        if active[t] == 0:
            continue
        opcode, height, width = steps[t, at.STEP_OPCODE], steps[t, at.STEP_H], steps[t, at.STEP_W]
        p[:] = 0.0
        p[0, 0] = p[1, 1] = p[2, 2] = 1.0
        if opcode == at.CROP:
            pad = steps[t, at.C0]
            bits = child(key, steps[t, at.STEP_SLOT])
            p[0, 2] = below_low(bits, 2 * pad + 1) - pad
            p[1, 2] = below(bits, 2 * pad + 1) - pad
        elif opcode == at.FLIP:
            p[0, 0] = -1.0
            p[0, 2] = width - 1.0
        elif opcode == at.ENLARGE:
            kx, ky = steps[t, at.C1] / width, steps[t, at.C0] / height
            p[0, 0] = width / steps[t, at.C1]
            p[1, 1] = height / steps[t, at.C0]
            p[0, 2] = (p[0, 0] - 1.0) / 2.0
            p[1, 2] = (p[1, 1] - 1.0) / 2.0
        elif opcode == at.AFFINE:
            _affine(p, steps, t, ranges, key)
        else:
            affine = False
            _perspective(p, steps, t, key)
        for i in range(3):
            m0, m1, m2 = m[i, 0], m[i, 1], m[i, 2]
            for j in range(3):
                m[i, j] = (m0 * p[0, j] + m1 * p[1, j]) + m2 * p[2, j]
    return affine, (kx, ky)


@inner
def _affine(p, steps, t, ranges, key):
    first = steps[t, at.STEP_RANGE]
    angle = value(ranges, first, key) / 65536.0 * DEGREE
    tx = value(ranges, first + 1, key) / 65536.0
    ty = value(ranges, first + 2, key) / 65536.0
    scale = value(ranges, first + 3, key) / 65536.0
    kx = value(ranges, first + 4, key) / 65536.0
    ky = value(ranges, first + 5, key) / 65536.0
    if steps[t, at.C1] == 0:
        kx, ky = math.tan(kx * DEGREE), math.tan(ky * DEGREE)
    co, si = math.cos(angle), math.sin(angle)
    a, c = co + si * ky, si - co * ky
    b, e = -(a * kx + si), co - c * kx
    cx, cy = (steps[t, at.STEP_W] - 1) / 2.0, (steps[t, at.STEP_H] - 1) / 2.0
    if steps[t, at.C0] == 1:
        cx, cy = -0.5, -0.5
    p[0, 0], p[0, 1], p[1, 0], p[1, 1] = e / scale, -b / scale, -c / scale, a / scale
    p[0, 2] = cx - (p[0, 0] * (cx + tx) + p[0, 1] * (cy + ty))
    p[1, 2] = cy - (p[1, 0] * (cx + tx) + p[1, 1] * (cy + ty))


@inner
def _perspective(p, steps, t, key):
    """The square-to-quadrilateral map of Heckbert (1989), inverted and carried to the image's rectangle."""
    slot, right, bottom = steps[t, at.STEP_SLOT], steps[t, at.STEP_W] - 1, steps[t, at.STEP_H] - 1
    most_x, most_y = steps[t, at.C0] + 1, steps[t, at.C1] + 1
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
