"""The law in plain Python, one pixel at a time: what every executor must give, written to be read, not to be fast.

An image is a list of rows of [r, g, b] lists. Only the policy's stages, the draws and Python's own numbers are used.
"""

import math

from loaders.common.counter_rng import alternate_bit, below, below_low, draw, epoch_key, sample_key
from loaders.policy.policy import Policy
from loaders.policy.steps import ALTERNATE_SLOT, Gate, Range, Stage, Step
from tests.loaders.reference_values import STEPS


def augment(image: list, policy: Policy, seed: int, epoch: int, sample: int, mean_rgb: tuple[int, int, int]) -> list:
    """The pixels of one sample of one epoch."""
    return Reference(policy, seed, epoch, sample, mean_rgb).image(image)


class Reference:
    """One sample's augmentation: the draws of (seed, epoch, sample) and the steps of the policy's stages."""

    def __init__(self, policy: Policy, seed: int, epoch: int, sample: int, mean_rgb: tuple[int, int, int]) -> None:
        self.policy, self.mean_rgb = policy, list(mean_rgb)
        self.key = sample_key(epoch_key(seed, epoch), sample)
        self.alternate = alternate_bit(seed, epoch, sample)

    def image(self, image: list) -> list:
        for stage in self.policy.stages:
            if stage.kind == "move":
                image = self.moved(image, stage)
            else:
                step = stage.steps[0]
                if self.active(step):
                    image = STEPS[step.opcode]([[list(pixel) for pixel in row] for row in image], step, self)
        return image

    def draw(self, slot: int) -> int:
        return draw(self.key, slot)

    def open(self, gate: Gate) -> bool:
        if gate.slot == ALTERNATE_SLOT:
            return self.alternate == 1
        return gate.low <= self.draw(gate.slot) >> 40 < gate.high

    def active(self, step: Step) -> bool:
        return all(self.open(gate) for gate in step.gates)

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

    def matrix(self, stage: Stage) -> list[list[float]]:
        m = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        for step in stage.steps:
            if self.active(step):
                p = getattr(self, step.opcode + "_inverse")(step)
                m = [[(m[i][0] * p[0][j] + m[i][1] * p[1][j]) + m[i][2] * p[2][j] for j in range(3)] for i in range(3)]
        return m

    def crop_inverse(self, step: Step) -> list[list[float]]:
        pad, bits = step.constants[0], self.draw(step.slot)
        return [[1.0, 0.0, below_low(bits, 2 * pad + 1) - pad], [0.0, 1.0, below(bits, 2 * pad + 1) - pad],
                [0.0, 0.0, 1.0]]

    def flip_inverse(self, step: Step) -> list[list[float]]:
        return [[-1.0, 0.0, step.width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    def enlarge_inverse(self, step: Step) -> list[list[float]]:
        ky, kx = step.height / step.constants[0], step.width / step.constants[1]
        return [[kx, 0.0, (kx - 1) / 2], [0.0, ky, (ky - 1) / 2], [0.0, 0.0, 1.0]]

    def affine_inverse(self, step: Step) -> list[list[float]]:
        angle, tx, ty, scale, shear_x, shear_y = (self.value(range_) / 65536.0 for range_ in step.ranges)
        corner, tangent = step.constants
        degree = math.pi / 180.0
        kx, ky = (shear_x, shear_y) if tangent else (math.tan(shear_x * degree), math.tan(shear_y * degree))
        co, si = math.cos(angle * degree), math.sin(angle * degree)
        a, c = co + si * ky, si - co * ky
        b, e = -(a * kx + si), co - c * kx
        ia, ib, ic, ie = e / scale, -b / scale, -c / scale, a / scale
        cx, cy = (-0.5, -0.5) if corner else ((step.width - 1) / 2, (step.height - 1) / 2)
        return [[ia, ib, cx - (ia * (cx + tx) + ib * (cy + ty))], [ic, ie, cy - (ic * (cx + tx) + ie * (cy + ty))],
                [0.0, 0.0, 1.0]]

    def perspective_inverse(self, step: Step) -> list[list[float]]:
        right, bottom = step.width - 1, step.height - 1
        corners = []
        for k in range(4):
            bits = self.draw(step.slot + k)
            x, y = below(bits, step.constants[0] + 1), below_low(bits, step.constants[1] + 1)
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

    def moved(self, image: list, stage: Stage) -> list:
        m, enlarged = self.matrix(stage), (1.0, 1.0)
        for step in stage.steps:
            if step.opcode == "enlarge":
                enlarged = step.constants[1] / step.width, step.constants[0] / step.height
        return [[self.sampled(image, m, x, y, stage.fill, *enlarged) for x in range(stage.out_width)]
                for y in range(stage.out_height)]

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
        """The coordinate in 1/2048 px: folded, or limited to [-1, size], where the fill is reached."""
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
