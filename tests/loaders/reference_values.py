"""The operations that change or cover pixels, in plain Python, one pixel at a time.

Each takes an image (rows of [r, g, b] lists, which it may change), the operation and the sample whose draws it uses
(`tests.loaders.reference.Reference`), and returns the image.
"""

from loaders.common.counter_rng import child
from loaders.policy.passes import PERMUTATIONS, PixelOp


def below(bits: int, n: int) -> int:
    """An integer in [0, n) from the high half of a draw."""
    return ((bits >> 32) * n) >> 32


def below_low(bits: int, n: int) -> int:
    """Another integer in [0, n), from the low half."""
    return ((bits & 0xFFFFFFFF) * n) >> 32


def clamp(value: int) -> int:
    return 0 if value < 0 else 255 if value > 255 else value


def luma(pixel: list[int]) -> int:
    return (19589 * pixel[0] + 38470 * pixel[1] + 7471 * pixel[2]) >> 16


def map_values(image: list, change) -> list:
    return [[[change(value) for value in pixel] for pixel in row] for row in image]


def hue_turned(pixel: list[int], turn: int) -> list[int]:
    """Hue shifted by turn / 65536 of a circle; the largest and the smallest of the three values stay the same."""
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


def shrink(image: list, op: PixelOp, sample) -> list:
    out_height, out_width = op.constants[:2]
    rows, columns = op.table[:out_height], op.table[out_height:]

    def pass_x(row: list, x: int, c: int) -> int:
        first, *weights = columns[x]
        return (sum(w * row[first + k][c] for k, w in enumerate(weights)) + 128) >> 8

    narrow = [[[pass_x(row, x, c) for c in range(3)] for x in range(out_width)] for row in image]

    def pass_y(y: int, x: int, c: int) -> int:
        first, *weights = rows[y]
        return (sum(w * narrow[first + k][x][c] for k, w in enumerate(weights)) + (1 << 19)) >> 20

    return [[[pass_y(y, x, c) for c in range(3)] for x in range(out_width)] for y in range(out_height)]


def gray(image: list, op: PixelOp, sample) -> list:
    return [[[luma(pixel)] * 3 for pixel in row] for row in image]


def brightness(image: list, op: PixelOp, sample) -> list:
    return scaled(image, 0, sample.value(op.ranges[0]))


def contrast(image: list, op: PixelOp, sample) -> list:
    return scaled(image, 1, sample.value(op.ranges[0]))


def saturation(image: list, op: PixelOp, sample) -> list:
    return scaled(image, 2, sample.value(op.ranges[0]))


def jitter(image: list, op: PixelOp, sample) -> list:
    for which in PERMUTATIONS[below(sample.draw(op.slot + 4), 24)]:
        image = scaled(image, which, sample.value(op.ranges[which]))
    return image


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


def sharpness(image: list, op: PixelOp, sample) -> list:
    factor = sample.value(op.ranges[0])
    out = map_values(image, int)
    for y in range(1, len(image) - 1):
        for x in range(1, len(image[0]) - 1):
            for c in range(3):
                value = image[y][x][c]
                total = 4 * value + sum(image[y + j][x + i][c] for j in (-1, 0, 1) for i in (-1, 0, 1))
                smooth = (2 * total + 13) // 26
                out[y][x][c] = clamp((value * 65536 + (65536 - factor) * (smooth - value)) >> 16)
    return out


def invert(image: list, op: PixelOp, sample) -> list:
    return map_values(image, lambda value: 255 - value)


def solarize(image: list, op: PixelOp, sample) -> list:
    threshold = sample.value(op.ranges[0])
    return map_values(image, lambda value: 255 - value if value << 16 >= threshold else value)


def posterize(image: list, op: PixelOp, sample) -> list:
    bits = (sample.value(op.ranges[0]) + 32768) >> 16
    return map_values(image, lambda value: value & (0xFF << (8 - bits)))


def autocontrast(image: list, op: PixelOp, sample) -> list:
    def stretch(low: int, high: int) -> list[int]:
        return [v if low == high else clamp((v - low) * 255 // (high - low)) for v in range(256)]

    return by_table(image, lambda values: stretch(min(values), max(values)))


def equalize(image: list, op: PixelOp, sample) -> list:
    def table(values: list[int]) -> list[int]:
        spread = (len(values) - values.count(max(values))) // 255
        if spread == 0:
            return list(range(256))
        return [min(255, (sum(v < k for v in values) + spread // 2) // spread) for k in range(256)]

    return by_table(image, table)


def by_table(image: list, table_of) -> list:
    tables = [table_of([pixel[c] for row in image for pixel in row]) for c in range(3)]
    return [[[tables[c][pixel[c]] for c in range(3)] for pixel in row] for row in image]


def blur(image: list, op: PixelOp, sample) -> list:
    weights = op.table[below(sample.draw(op.slot), 64)]
    half, height, width = len(weights) // 2, len(image), len(image[0])

    def at(k: int, size: int) -> int:
        return -k if k < 0 else 2 * (size - 1) - k if k >= size else k

    wide = [[[(sum(w * row[at(x + k - half, width)][c] for k, w in enumerate(weights)) + 128) >> 8
              for c in range(3)] for x in range(width)] for row in image]
    return [[[(sum(w * wide[at(y + k - half, height)][x][c] for k, w in enumerate(weights)) + (1 << 19)) >> 20
              for c in range(3)] for x in range(width)] for y in range(height)]


def noise(image: list, op: PixelOp, sample) -> list:
    amplitude, key = (sample.value(op.ranges[0]) * 79953) >> 16, sample.draw(op.slot + 1)

    def noisy(value: int, index: int) -> int:
        spread = sum(child(key, index).to_bytes(8, "little")) - 1020
        return clamp(value + ((spread * amplitude + 32768) >> 16))

    width = len(image[0])
    return [[[noisy(image[y][x][c], (y * width + x) * 3 + c) for c in range(3)] for x in range(width)]
            for y in range(len(image))]


def cutout(image: list, op: PixelOp, sample) -> list:
    hole = op.constants[0]
    return covered(image, op, sample, hole, hole, op.slot)


def erase(image: list, op: PixelOp, sample) -> list:
    for k in range(10):
        bits = sample.draw(op.slot + k)
        area = op.constants[0] + (op.constants[1] * (bits >> 40) >> 24)
        ratio, inverse = op.table[bits & 255]
        height = sum((2 * n - 1) ** 2 << 30 <= area * ratio for n in range(1, op.height + 1))
        width = sum((2 * n - 1) ** 2 << 30 <= area * inverse for n in range(1, op.width + 1))
        if height < op.height and width < op.width:
            return covered(image, op, sample, height, width, op.slot + 10)
    return image


def coarse_dropout(image: list, op: PixelOp, sample) -> list:
    low, high, holes_low, holes_high = op.constants
    for k in range(holes_low + below(sample.draw(op.slot + 14), holes_high - holes_low + 1)):
        bits = sample.draw(op.slot + 2 * k)
        height, width = low + below(bits, high - low + 1), low + below_low(bits, high - low + 1)
        image = covered(image, op, sample, height, width, op.slot + 2 * k + 1)
    return image


def covered(image: list, op: PixelOp, sample, height: int, width: int, place_slot: int) -> list:
    bits, key = sample.draw(place_slot), sample.draw(op.slot + 14)
    top, left = below(bits, op.height - height + 1), below_low(bits, op.width - width + 1)
    for y in range(top, top + height):
        for x in range(left, left + width):
            first = (y * op.width + x) * 3
            image[y][x] = {
                "zero": [0, 0, 0],
                "mean": sample.mean_rgb,
                "noise": [child(key, first + c) >> 56 for c in range(3)],
            }[op.fill]
    return image


OPS = {
    function.__name__: function for function in (
        shrink, gray, brightness, contrast, saturation, jitter, sharpness, invert, solarize, posterize, autocontrast,
        equalize, blur, noise, cutout, erase, coarse_dropout,
    )
}
