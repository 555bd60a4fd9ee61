"""The homography of a run of moves: the float64 matrix from output to input pixels of each sample of a batch.

A matrix is three rows of three entries; an entry is a Python float if it is the same for all samples, else a float64
tensor (B,). Products with a constant 0 or 1 are skipped, so a run of shifts and mirrors costs a few additions, and
unneeded terms (shear, perspective) are known before any pixel is read. All other sums are in the reference's order.
"""

import math

import torch

from loaders.device.draws import Draws, below, below_low, held
from loaders.policy.passes import ONE, PixelOp

Entry = float | torch.Tensor
Matrix = tuple[tuple[Entry, Entry, Entry], ...]
IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def times(a: Entry, b: Entry) -> Entry:
    """a * b; exactly 0.0 or the other factor if one is the constant 0 or 1."""
    for factor, other in ((a, b), (b, a)):
        if isinstance(factor, float) and factor in (0.0, 1.0):
            return other if factor else 0.0
    return a * b


def plus(a: Entry, b: Entry) -> Entry:
    """a + b; exactly the other summand if one is the constant 0."""
    for summand, other in ((a, b), (b, a)):
        if isinstance(summand, float) and summand == 0.0:
            return other
    return a + b


def product(m: Matrix, p: Matrix) -> Matrix:
    return tuple(
        tuple(plus(plus(times(row[0], p[0][j]), times(row[1], p[1][j])), times(row[2], p[2][j])) for j in range(3))
        for row in m
    )


def homography(ops: tuple[PixelOp, ...], draws: Draws) -> Matrix:
    """The matrix of a run of moves: the product of the ops' inverses; the identity for ops that do not act."""
    matrix = IDENTITY
    for op in ops:
        inverse, active = INVERSES[op.opcode](op, draws), draws.active(op)
        if active is not None:
            inverse = tuple(
                tuple(_where(active, entry, neutral) for entry, neutral in zip(row, neutrals, strict=True))
                for row, neutrals in zip(inverse, IDENTITY, strict=True)
            )
        matrix = product(matrix, inverse)
    drawn = [entry for row in matrix for entry in row if isinstance(entry, torch.Tensor)]
    kept = iter(held(torch.stack(drawn)).unbind() if drawn else ())
    return tuple(tuple(next(kept) if isinstance(entry, torch.Tensor) else entry for entry in row) for row in matrix)


def _where(active: torch.Tensor, entry: Entry, neutral: float) -> Entry:
    if isinstance(entry, float):
        if entry == neutral:
            return neutral
        entry = torch.full(active.shape, entry, dtype=torch.float64, device=active.device)
    return torch.where(active, entry, neutral)


def _crop(op: PixelOp, draws: Draws) -> Matrix:
    pad, bits = op.constants[0], draws.bits(op.slot)
    dx, dy = ((draw(bits, 2 * pad + 1) - pad).to(torch.float64) for draw in (below_low, below))
    return ((1.0, 0.0, dx), (0.0, 1.0, dy), (0.0, 0.0, 1.0))


def _flip(op: PixelOp, draws: Draws) -> Matrix:
    return ((-1.0, 0.0, op.width - 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def _enlarge(op: PixelOp, draws: Draws) -> Matrix:
    ky, kx = op.height / op.constants[0], op.width / op.constants[1]
    return ((kx, 0.0, (kx - 1) / 2), (0.0, ky, (ky - 1) / 2), (0.0, 0.0, 1.0))


def _affine(op: PixelOp, draws: Draws) -> Matrix:
    angle, tx, ty, scale, shear_x, shear_y = (_number(draws.value(range_)) for range_ in op.ranges)
    corner, tangent = op.constants
    degree = math.pi / 180.0
    kx, ky = (shear_x, shear_y) if tangent else (_function("tan", shear * degree) for shear in (shear_x, shear_y))
    co, si = _function("cos", angle * degree), _function("sin", angle * degree)
    a, c = plus(co, times(si, ky)), plus(si, -times(co, ky))
    b, e = -plus(times(a, kx), si), plus(co, -times(c, kx))
    ia, ib, ic, ie = (_ratio(part, scale) for part in (e, -b, -c, a))
    cx, cy = (-0.5, -0.5) if corner else ((op.width - 1) / 2, (op.height - 1) / 2)
    x = cx - plus(times(ia, cx + tx), times(ib, cy + ty))
    y = cy - plus(times(ic, cx + tx), times(ie, cy + ty))
    return ((ia, ib, x), (ic, ie, y), (0.0, 0.0, 1.0))


def _perspective(op: PixelOp, draws: Draws) -> Matrix:
    right, bottom = op.width - 1, op.height - 1
    corners = []
    for k in range(4):
        bits = draws.bits(op.slot + k)
        x, y = below(bits, op.constants[0] + 1), below_low(bits, op.constants[1] + 1)
        x, y = right - x if k in (1, 2) else x, bottom - y if k in (2, 3) else y
        corners.append((x.to(torch.float64) - 0.5, y.to(torch.float64) - 0.5))
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
    sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    dx1, dx2, dy1, dy2 = x1 - x2, x3 - x2, y1 - y2, y3 - y2
    den = dx1 * dy2 - dx2 * dy1
    g, h = (sx * dy2 - dx2 * sy) / den, (dx1 * sy - sx * dy1) / den
    # The map of the unit square onto the quadrilateral (Heckbert 1989), then its adjugate, the inverse up to a factor.
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    u = (e - f * h, c * h - b, b * f - c * e)
    v = (f * g - d, a - c * g, c * d - a * f)
    w = (d * h - e * g, b * g - a * h, a * e - b * d)
    return (tuple(right * u[k] - 0.5 * w[k] for k in range(3)), tuple(bottom * v[k] - 0.5 * w[k] for k in range(3)), w)


def _number(value: int | torch.Tensor) -> Entry:
    return value.to(torch.float64) / float(ONE) if isinstance(value, torch.Tensor) else value / ONE


def _function(name: str, x: Entry) -> Entry:
    return getattr(torch if isinstance(x, torch.Tensor) else math, name)(x)


def _ratio(part: Entry, scale: Entry) -> Entry:
    return 0.0 if isinstance(part, float) and part == 0.0 else part / scale


INVERSES = {"crop": _crop, "flip": _flip, "enlarge": _enlarge, "affine": _affine, "perspective": _perspective}
