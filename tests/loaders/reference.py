"""Augmentation in plain Python, one pixel at a time: the reference for every executor, written for clarity, not speed.

An image is a list of rows of [r, g, b] lists. It uses only the policy's passes, the draws and Python's numbers.
"""

import math

from loaders.common.counter_rng import ALTERNATE, child, epoch_key, mix
from loaders.policy.passes import ALTERNATE_SLOT, Gate, Pass, PixelOp, Range
from loaders.policy.policy import Policy
from tests.loaders.reference_values import OPS, below, below_low


def augment(image: list, policy: Policy, seed: int, epoch: int, sample: int, mean_rgb: tuple[int, int, int]) -> list:
    """The pixels of one sample of one epoch."""
    return Reference(policy, seed, epoch, sample, mean_rgb).image(image)


class Reference:
    """One sample's augmentation: the draws of (seed, epoch, sample) and the operations of the policy's passes."""

    def __init__(self, policy: Policy, seed: int, epoch: int, sample: int, mean_rgb: tuple[int, int, int]) -> None:
        self.policy, self.mean_rgb = policy, list(mean_rgb)
        self.key = child(epoch_key(seed, epoch), sample)
        self.alternate = (child(mix(seed + ALTERNATE), sample) >> 63) ^ (epoch & 1)

    def image(self, image: list) -> list:
        for pass_ in self.policy.passes:
            if pass_.kind == "move":
                image = self.moved(image, pass_)
            else:
                op = pass_.ops[0]
                if self.active(op):
                    image = OPS[op.opcode]([[list(pixel) for pixel in row] for row in image], op, self)
        return image

    def draw(self, slot: int) -> int:
        return child(self.key, slot)

    def open(self, gate: Gate) -> bool:
        bits = self.alternate if gate.slot == ALTERNATE_SLOT else self.draw(gate.slot) >> 40
        return gate.low <= bits < gate.high

    def active(self, op: PixelOp) -> bool:
        return all(self.open(gate) for gate in op.gates)

    def value(self, range_: Range) -> int:
        bits = self.draw(range_.slot)
        if range_.steps:
            strength = range_.offset + range_.span * ((bits >> 32) * range_.steps >> 32) // (range_.steps - 1)
        else:
            strength = range_.offset + (range_.span * (bits >> 40) >> 24)
        if range_.whole:
            strength = strength >> 16 << 16
        return range_.base + (-strength if range_.signed and bits & 1 else strength)

    # Moves.

    def matrix(self, pass_: Pass) -> list[list[float]]:
        m = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        for op in pass_.ops:
            if self.active(op):
                p = getattr(self, op.opcode + "_inverse")(op)
                m = [[(m[i][0] * p[0][j] + m[i][1] * p[1][j]) + m[i][2] * p[2][j] for j in range(3)] for i in range(3)]
        return m

    def crop_inverse(self, op: PixelOp) -> list[list[float]]:
        pad, bits = op.constants[0], self.draw(op.slot)
        return [[1.0, 0.0, below_low(bits, 2 * pad + 1) - pad], [0.0, 1.0, below(bits, 2 * pad + 1) - pad],
                [0.0, 0.0, 1.0]]

    def flip_inverse(self, op: PixelOp) -> list[list[float]]:
        return [[-1.0, 0.0, op.width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    def enlarge_inverse(self, op: PixelOp) -> list[list[float]]:
        ky, kx = op.height / op.constants[0], op.width / op.constants[1]
        return [[kx, 0.0, (kx - 1) / 2], [0.0, ky, (ky - 1) / 2], [0.0, 0.0, 1.0]]

    def affine_inverse(self, op: PixelOp) -> list[list[float]]:
        angle, tx, ty, scale, shear_x, shear_y = (self.value(range_) / 65536.0 for range_ in op.ranges)
        corner, tangent = op.constants
        degree = math.pi / 180.0
        kx, ky = (shear_x, shear_y) if tangent else (math.tan(shear_x * degree), math.tan(shear_y * degree))
        co, si = math.cos(angle * degree), math.sin(angle * degree)
        a, c = co + si * ky, si - co * ky
        b, e = -(a * kx + si), co - c * kx
        ia, ib, ic, ie = e / scale, -b / scale, -c / scale, a / scale
        cx, cy = (-0.5, -0.5) if corner else ((op.width - 1) / 2, (op.height - 1) / 2)
        return [[ia, ib, cx - (ia * (cx + tx) + ib * (cy + ty))], [ic, ie, cy - (ic * (cx + tx) + ie * (cy + ty))],
                [0.0, 0.0, 1.0]]

    def perspective_inverse(self, op: PixelOp) -> list[list[float]]:
        right, bottom = op.width - 1, op.height - 1
        corners = []
        for k in range(4):
            bits = self.draw(op.slot + k)
            x, y = below(bits, op.constants[0] + 1), below_low(bits, op.constants[1] + 1)
            corners.append(((right - x if k in (1, 2) else x) - 0.5, (bottom - y if k in (2, 3) else y) - 0.5))
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = corners
        sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
        dx1, dx2, dy1, dy2 = x1 - x2, x3 - x2, y1 - y2, y3 - y2
        den = dx1 * dy2 - dx2 * dy1
        g, h = (sx * dy2 - dx2 * sy) / den, (dx1 * sy - sx * dy1) / den
        a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
        d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
        u = (e - f * h, c * h - b, b * f - c * e)
        v = (f * g - d, a - c * g, c * d - a * f)
        w = (d * h - e * g, b * g - a * h, a * e - b * d)
        return [[right * u[k] - 0.5 * w[k] for k in range(3)], [bottom * v[k] - 0.5 * w[k] for k in range(3)], list(w)]

    def moved(self, image: list, pass_: Pass) -> list:
        m, enlarged = self.matrix(pass_), (1.0, 1.0)
        for op in pass_.ops:
            if op.opcode == "enlarge":
                enlarged = op.constants[1] / op.width, op.constants[0] / op.height
        return [[self.sampled(image, m, x, y, pass_.fill, *enlarged) for x in range(pass_.out_width)]
                for y in range(pass_.out_height)]

    def sampled(self, image: list, m: list, x: int, y: int, fill: str, kx: float, ky: float) -> list[int]:
        height, width = len(image), len(image[0])
        px, py, pz = ((m[i][0] * x + m[i][1] * y) + m[i][2] for i in range(3))
        u, v = (px / pz, py / pz) if pz > 0 else (-1.0, -1.0)
        ux, uy = self.fixed(u, width, fill, kx), self.fixed(v, height, fill, ky)
        fx, fy = ux & 2047, uy & 2047
        taps = [[self.tap(image, (ux >> 11) + i, (uy >> 11) + j, fill) for i in (0, 1)] for j in (0, 1)]
        out = []
        for c in range(3):
            top, bottom = (row[0][c] * (2048 - fx) + row[1][c] * fx for row in taps)
            out.append((top * (2048 - fy) + bottom * fy + (1 << 21)) >> 22)
        return out

    @staticmethod
    def fixed(u: float, size: int, fill: str, k: float) -> int:
        """The coordinate in 1/2048 px: folded, or limited to [-1, size], where the fill starts."""
        if fill != "reflect" and k == 1:
            return math.floor(min(max(u, -1.0), float(size)) * 2048 + 0.5)
        if fill != "reflect":
            # The fill blends in over one pixel of the enlarged image, 1 / k of a source pixel.
            before = min(max((u + 0.5) * k - 0.5, -1.0), 0.0)
            after = min(max((size - 0.5 - u) * k - 0.5, -1.0), 0.0)
            return math.floor(((min(max(u, 0.0), size - 1.0) + before) - after) * 2048 + 0.5)
        folded = math.floor(min(max(u, -32768.0), 32767.0) * 2048 + 0.5) % (4096 * (size - 1))
        return folded if folded <= 2048 * (size - 1) else 4096 * (size - 1) - folded

    def tap(self, image: list, ix: int, iy: int, fill: str) -> list[int]:
        if 0 <= iy < len(image) and 0 <= ix < len(image[0]):
            return image[iy][ix]
        return self.mean_rgb if fill == "mean" else [0, 0, 0]
