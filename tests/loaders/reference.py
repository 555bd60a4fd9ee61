"""The law in plain Python, one pixel at a time: what every executor must give, written to be read, not to be fast.

An image is a list of rows of [r, g, b] lists. Only the policy's stages, the draws and Python's own numbers are used.
"""

import math

from loaders.draws import alternate_bit, below, below_low, child, draw, epoch_key, sample_key
from loaders.policy import Policy
from loaders.steps import ALTERNATE_SLOT, PERMUTATIONS, Gate, Range, Stage, Step


def augment(image: list, policy: Policy, seed: int, epoch: int, sample: int, mean_rgb: tuple[int, int, int]) -> list:
    """The pixels of one sample of one epoch."""
    return Reference(policy, seed, epoch, sample, mean_rgb).image(image)


def clamp(value: int) -> int:
    return 0 if value < 0 else 255 if value > 255 else value


def luma(pixel: list[int]) -> int:
    return (19589 * pixel[0] + 38470 * pixel[1] + 7471 * pixel[2]) >> 16


def map_values(image: list, change) -> list:
    return [[[change(value) for value in pixel] for pixel in row] for row in image]


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
                    image = getattr(self, step.opcode)([[list(pixel) for pixel in row] for row in image], step)
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
        m = self.matrix(stage)
        return [[self.sampled(image, m, x, y, stage.fill) for x in range(stage.out_width)]
                for y in range(stage.out_height)]

    def sampled(self, image: list, m: list, x: int, y: int, fill: str) -> list[int]:
        height, width = len(image), len(image[0])
        px, py, pz = ((m[i][0] * x + m[i][1] * y) + m[i][2] for i in range(3))
        u, v = (px / pz, py / pz) if pz > 0 else (-1.0, -1.0)
        ux, uy = self.fixed(u, width, fill), self.fixed(v, height, fill)
        fx, fy = ux & 2047, uy & 2047
        taps = [[self.tap(image, (ux >> 11) + i, (uy >> 11) + j, fill) for i in (0, 1)] for j in (0, 1)]
        out = []
        for c in range(3):
            top, bottom = (row[0][c] * (2048 - fx) + row[1][c] * fx for row in taps)
            out.append((top * (2048 - fy) + bottom * fy + (1 << 21)) >> 22)
        return out

    @staticmethod
    def fixed(u: float, size: int, fill: str) -> int:
        if fill != "reflect":
            return math.floor(min(max(u, -1.0), float(size)) * 2048 + 0.5)
        folded = math.floor(min(max(u, -32768.0), 32767.0) * 2048 + 0.5) % (4096 * (size - 1))
        return folded if folded <= 2048 * (size - 1) else 4096 * (size - 1) - folded

    def tap(self, image: list, ix: int, iy: int, fill: str) -> list[int]:
        if 0 <= iy < len(image) and 0 <= ix < len(image[0]):
            return image[iy][ix]
        return self.mean_rgb if fill == "mean" else [0, 0, 0]

    def shrink(self, image: list, step: Step) -> list:
        out_height, out_width = step.constants[:2]
        rows, columns = step.table[:out_height], step.table[out_height:]

        def pass_x(row: list, x: int, c: int) -> int:
            first, *weights = columns[x]
            return (sum(w * row[first + k][c] for k, w in enumerate(weights)) + 128) >> 8

        narrow = [[[pass_x(row, x, c) for c in range(3)] for x in range(out_width)] for row in image]

        def pass_y(y: int, x: int, c: int) -> int:
            first, *weights = rows[y]
            return (sum(w * narrow[first + k][x][c] for k, w in enumerate(weights)) + (1 << 19)) >> 20

        return [[[pass_y(y, x, c) for c in range(3)] for x in range(out_width)] for y in range(out_height)]

    # Photometric steps.

    def gray(self, image: list, step: Step) -> list:
        return [[[luma(pixel)] * 3 for pixel in row] for row in image]

    def brightness(self, image: list, step: Step) -> list:
        return self.scaled(image, 0, self.value(step.ranges[0]))

    def contrast(self, image: list, step: Step) -> list:
        return self.scaled(image, 1, self.value(step.ranges[0]))

    def saturation(self, image: list, step: Step) -> list:
        return self.scaled(image, 2, self.value(step.ranges[0]))

    def jitter(self, image: list, step: Step) -> list:
        for which in PERMUTATIONS[below(self.draw(step.slot + 4), 24)]:
            image = self.scaled(image, which, self.value(step.ranges[which]))
        return image

    @staticmethod
    def scaled(image: list, which: int, factor: int) -> list:
        if which == 3:
            return [[hue_turned(pixel, factor) for pixel in row] for row in image]
        if which == 0:
            return map_values(image, lambda value: clamp(value * factor >> 16))
        rest = 65536 - factor
        if which == 2:
            return [[[clamp((v * factor + luma(pixel) * rest) >> 16) for v in pixel] for pixel in row] for row in image]
        mean = (sum(luma(pixel) for row in image for pixel in row) << 16) // (len(image) * len(image[0]))
        return map_values(image, lambda value: clamp((value * factor + (mean * rest >> 16)) >> 16))

    def sharpness(self, image: list, step: Step) -> list:
        factor = self.value(step.ranges[0])
        out = map_values(image, int)
        for y in range(1, len(image) - 1):
            for x in range(1, len(image[0]) - 1):
                for c in range(3):
                    value = image[y][x][c]
                    total = 4 * value + sum(image[y + j][x + i][c] for j in (-1, 0, 1) for i in (-1, 0, 1))
                    smooth = (2 * total + 13) // 26
                    out[y][x][c] = clamp((value * 65536 + (65536 - factor) * (smooth - value)) >> 16)
        return out

    def invert(self, image: list, step: Step) -> list:
        return map_values(image, lambda value: 255 - value)

    def solarize(self, image: list, step: Step) -> list:
        threshold = self.value(step.ranges[0])
        return map_values(image, lambda value: 255 - value if value << 16 >= threshold else value)

    def posterize(self, image: list, step: Step) -> list:
        bits = (self.value(step.ranges[0]) + 32768) >> 16
        return map_values(image, lambda value: value & (0xFF << (8 - bits)))

    def autocontrast(self, image: list, step: Step) -> list:
        def stretch(low: int, high: int) -> list[int]:
            return [v if low == high else clamp((v - low) * 255 // (high - low)) for v in range(256)]

        return self.by_table(image, lambda values: stretch(min(values), max(values)))

    def equalize(self, image: list, step: Step) -> list:
        def table(values: list[int]) -> list[int]:
            spread = (len(values) - values.count(max(values))) // 255
            if spread == 0:
                return list(range(256))
            return [min(255, (sum(v < k for v in values) + spread // 2) // spread) for k in range(256)]

        return self.by_table(image, table)

    @staticmethod
    def by_table(image: list, table_of) -> list:
        tables = [table_of([pixel[c] for row in image for pixel in row]) for c in range(3)]
        return [[[tables[c][pixel[c]] for c in range(3)] for pixel in row] for row in image]

    def blur(self, image: list, step: Step) -> list:
        weights = step.table[below(self.draw(step.slot), 64)]
        half, height, width = len(weights) // 2, len(image), len(image[0])

        def at(k: int, size: int) -> int:
            return -k if k < 0 else 2 * (size - 1) - k if k >= size else k

        wide = [[[(sum(w * row[at(x + k - half, width)][c] for k, w in enumerate(weights)) + 128) >> 8
                  for c in range(3)] for x in range(width)] for row in image]
        return [[[(sum(w * wide[at(y + k - half, height)][x][c] for k, w in enumerate(weights)) + (1 << 19)) >> 20
                  for c in range(3)] for x in range(width)] for y in range(height)]

    def noise(self, image: list, step: Step) -> list:
        amplitude, key = (self.value(step.ranges[0]) * 79953) >> 16, self.draw(step.slot + 1)

        def noisy(value: int, index: int) -> int:
            spread = sum(child(key, index).to_bytes(8, "little")) - 1020
            return clamp(value + ((spread * amplitude + 32768) >> 16))

        width = len(image[0])
        return [[[noisy(image[y][x][c], (y * width + x) * 3 + c) for c in range(3)] for x in range(width)]
                for y in range(len(image))]

    # Covers.

    def cutout(self, image: list, step: Step) -> list:
        hole = step.constants[0]
        return self.covered(image, step, hole, hole, step.slot)

    def erase(self, image: list, step: Step) -> list:
        for k in range(10):
            bits = self.draw(step.slot + k)
            area = step.constants[0] + (step.constants[1] * (bits >> 40) >> 24)
            ratio, inverse = step.table[bits & 255]
            height = sum((2 * n - 1) ** 2 << 30 <= area * ratio for n in range(1, step.height + 1))
            width = sum((2 * n - 1) ** 2 << 30 <= area * inverse for n in range(1, step.width + 1))
            if height < step.height and width < step.width:
                return self.covered(image, step, height, width, step.slot + 10)
        return image

    def coarse_dropout(self, image: list, step: Step) -> list:
        low, high, holes_low, holes_high = step.constants
        for k in range(holes_low + below(self.draw(step.slot + 14), holes_high - holes_low + 1)):
            bits = self.draw(step.slot + 2 * k)
            height, width = low + below(bits, high - low + 1), low + below_low(bits, high - low + 1)
            image = self.covered(image, step, height, width, step.slot + 2 * k + 1)
        return image

    def covered(self, image: list, step: Step, height: int, width: int, place_slot: int) -> list:
        bits, key = self.draw(place_slot), self.draw(step.slot + 14)
        top, left = below(bits, step.height - height + 1), below_low(bits, step.width - width + 1)
        for y in range(top, top + height):
            for x in range(left, left + width):
                first = (y * step.width + x) * 3
                image[y][x] = {
                    "zero": [0, 0, 0],
                    "mean": self.mean_rgb,
                    "noise": [child(key, first + c) >> 56 for c in range(3)],
                }[step.fill]
        return image


def hue_turned(pixel: list[int], turn: int) -> list[int]:
    """Hue shifted by turn / 65536 of a circle; the largest and the smallest of the three values stay what they are."""
    r, g, b = pixel
    high, spread = max(pixel), max(pixel) - min(pixel)
    sector = (g - b) % (6 * spread) if high == r and spread else b - r + 2 * spread if high == g else r - g + 4 * spread
    unit = spread * 65536
    place = sector * 65536 + turn * 6 * spread
    out = []
    for n in (5, 3, 1):
        k = (n * unit + place) % (6 * unit) if spread else 0
        out.append(high - ((max(0, min(k, 4 * unit - k, unit)) + 32768) >> 16))
    return out
