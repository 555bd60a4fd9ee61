"""Each operation of the language as primitive steps: arguments to integers, and checks against the image's size."""

from collections.abc import Iterator
from dataclasses import dataclass

from loaders.common.counter_rng import FRACTION_BITS
from loaders.common.errors import DataError
from loaders.policy import weight_tables
from loaders.policy.steps import ALTERNATE_SLOT, ONE, Gate, Range, Step

STRENGTHS = 31


@dataclass(frozen=True)
class Sizes:
    """(height, width) that a move, a photo and a cover step meet at one place of a policy."""

    move: tuple[int, int]
    photo: tuple[int, int]
    cover: tuple[int, int]


def _q(number: float) -> int:
    return round(number * ONE)


def _uniform(slot: int, low: float, high: float) -> Range:
    return Range(slot, base=_q(low), span=_q(high) - _q(low))


def _fixed(number: float) -> Range:
    return Range(0, base=_q(number))


def _crop(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    pad = op.value("pad_px")
    for side, name in zip(sizes.move, ("height", "width"), strict=True):
        if pad >= side:
            raise DataError(f"crop(pad_px={pad}): pad_px must be below the image {name} {side}")
    yield Step("crop", slot, *sizes.move, constants=(pad,), fill=op.value("fill"))


def _flip(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    yield Step("flip", slot, *sizes.move)


def _flip_alternate(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    yield Step("flip", slot, *sizes.move, gates=(Gate(ALTERNATE_SLOT, 0, 1),))


def _affine(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    angle, shift, scale, shear = (op.interval(name) for name in ("rotate_deg", "translate", "scale", "shear_deg"))
    if (angle, shift, scale, shear) == ((0, 0), (0, 0), (1, 1), (0, 0)):
        raise DataError("affine(): it moves nothing; give rotate_deg, translate, scale or shear_deg")
    height, width = sizes.move
    ranges = (
        _uniform(slot, *angle),
        _uniform(slot + 1, shift[0] * width, shift[1] * width),
        _uniform(slot + 2, shift[0] * height, shift[1] * height),
        _uniform(slot + 3, *scale),
        _uniform(slot + 4, *shear),
        _fixed(0),
    )
    yield Step("affine", slot, height, width, ranges=ranges, constants=(0, 0), fill=op.value("fill"))


def _perspective(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    height, width = sizes.move
    # Below a third of the size the four corners always span a convex quadrilateral.
    most = tuple(min(int(op.value("distortion") * (side // 2)), (side - 2) // 3) for side in (width, height))
    if most == (0, 0):
        raise DataError(f"perspective(distortion={op.value('distortion'):g}): no corner of a {width}x{height} px image "
                        "moves by a whole pixel; give more")
    yield Step("perspective", slot, height, width, constants=most, fill=op.value("fill"))


def _resize(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    (height, width), px = sizes.move, op.value("px")
    if (height, width) == (px, px):
        return
    if px >= max(height, width):
        yield Step("enlarge", slot, height, width, constants=(px, px))
        return
    rows, columns = weight_tables.antialiased(height, px), weight_tables.antialiased(width, px)
    constants = (px, px, len(rows[0]) - 1, len(columns[0]) - 1)
    yield Step("shrink", slot, height, width, constants=constants, table=rows + columns)


def _jitter(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    names = ("brightness", "contrast", "saturation", "hue")
    ranges = tuple(_uniform(slot + j, *op.interval(name)) for j, name in enumerate(names))
    if all(range_.constant == neutral for range_, neutral in zip(ranges, (ONE, ONE, ONE, 0), strict=True)):
        raise DataError(f"jitter(): it changes nothing; give {', '.join(names[:-1])} or hue")
    yield Step("jitter", slot, *sizes.photo, ranges=ranges)


def _plain(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    yield Step(op.name, slot, *sizes.photo)


def _one_value(name: str):
    def lowered(op, slot: int, sizes: Sizes) -> Iterator[Step]:
        yield Step(op.name, slot, *sizes.photo, ranges=(_uniform(slot, *op.interval(name)),))
    return lowered


def _posterize(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    yield Step("posterize", slot, *sizes.photo, ranges=(_fixed(op.value("bits")),))


def _blur(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    taps = op.value("kernel_px")
    if taps % 2 == 0 or taps // 2 >= min(sizes.photo):
        raise DataError(f"blur(kernel_px={taps}): kernel_px must be odd and its half below the image's shorter side "
                        f"{min(sizes.photo)}")
    table = weight_tables.gaussian(taps, *op.interval("sigma"))
    if any(row[taps // 2] != 1 << weight_tables.WEIGHT_BITS for row in table):
        yield Step("blur", slot, *sizes.photo, constants=(taps,), table=table)


def _cutout(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    hole = op.value("hole_px")
    _fits(f"cutout(hole_px={hole})", hole, sizes.cover)
    yield Step("cutout", slot, *sizes.cover, constants=(hole,), fill=op.value("fill"))


def _erase(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    height, width = sizes.cover
    low, high = (_q(height * width * part) for part in op.interval("scale"))
    table = weight_tables.log_uniform_ratios(*op.interval("ratio"))
    yield Step("erase", slot, height, width, constants=(low, high - low), table=table, fill=op.value("fill"))


def _coarse_dropout(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    px, holes = op.interval("hole_px"), op.interval("holes")
    _fits(f"coarse_dropout(hole_px={px[1]})", px[1], sizes.cover)
    yield Step("coarse_dropout", slot, *sizes.cover, constants=(*px, *holes), fill=op.value("fill"))


def _fits(what: str, hole_px: int, size: tuple[int, int]) -> None:
    if hole_px > min(size):
        raise DataError(f"{what}: hole_px must be at most the image's shorter side {min(size)}")


def _trivial_wide(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    def strength(low: float, high: float, signed: bool = True, base: float = 0.0, whole: bool = False) -> Range:
        return Range(slot + 1, _q(base), _q(low), _q(high) - _q(low), STRENGTHS, signed, whole)

    yield from _round(slot, sizes, op.value("fill"), {
        "shear": strength(0, 0.99), "shift_x": strength(0, 32, whole=True), "shift_y": strength(0, 32, whole=True),
        "angle": strength(0, 135), "factor": strength(0, 0.99, base=1.0), "bits": strength(2, 8, signed=False),
        "threshold": strength(0, 255, signed=False),
    })


def _rand_augment(op, slot: int, sizes: Sizes) -> Iterator[Step]:
    m = op.value("magnitude") / (STRENGTHS - 1)
    height, width = sizes.move
    for k in range(op.value("n")):
        def strength(most: float, base: float = 0.0, whole: bool = False, at: int = slot + 2 * k + 1) -> Range:
            return Range(at, _q(base), _q(most * m), signed=True, whole=whole)

        yield from _round(slot + 2 * k, sizes, op.value("fill"), {
            "shear": strength(0.3), "shift_x": strength(150 / 331 * width, whole=True),
            "shift_y": strength(150 / 331 * height, whole=True), "angle": strength(30),
            "factor": strength(0.9, base=1.0), "bits": _fixed(8 - round(4 * m)), "threshold": _fixed(255 * (1 - m)),
        })


def _round(slot: int, sizes: Sizes, fill: str, strength: dict[str, Range]) -> Iterator[Step]:
    """One choice of torchvision's 14 operations: identity, 5 moves and 8 photo steps, behind gates on `slot`."""
    none, one = _fixed(0), _fixed(1)

    def moved(corner: int = 0, **ranges: Range) -> Step:
        names = ("angle", "shift_x", "shift_y", "scale", "shear_x", "shear_y")
        row = tuple(ranges.get(name, one if name == "scale" else none) for name in names)
        return Step("affine", slot, *sizes.move, ranges=row, constants=(corner, 1), fill=fill)

    def changed(opcode: str, *ranges: Range) -> Step:
        return Step(opcode, slot, *sizes.photo, ranges=ranges)

    steps = [
        moved(1, shear_x=strength["shear"]), moved(1, shear_y=strength["shear"]),
        moved(shift_x=strength["shift_x"]), moved(shift_y=strength["shift_y"]), moved(angle=strength["angle"]),
        *(changed(name, strength["factor"]) for name in ("brightness", "saturation", "contrast", "sharpness")),
        changed("posterize", strength["bits"]), changed("solarize", strength["threshold"]),
        changed("autocontrast"), changed("equalize"),
    ]
    n = len(steps) + 1
    for k, step in enumerate(steps, 1):
        low, high = (1 << FRACTION_BITS) * k // n, (1 << FRACTION_BITS) * (k + 1) // n
        yield Step(step.opcode, step.slot, step.height, step.width, (Gate(slot, low, high),), step.ranges,
                   step.constants, fill=step.fill)


LOWERED = {
    "crop": _crop, "flip": _flip, "flip_alternate": _flip_alternate, "affine": _affine, "perspective": _perspective,
    "resize": _resize, "jitter": _jitter, "gray": _plain, "blur": _blur, "noise": _one_value("sigma"),
    "invert": _plain, "solarize": _one_value("threshold"), "posterize": _posterize, "equalize": _plain,
    "autocontrast": _plain, "sharpness": _one_value("factor"), "cutout": _cutout, "erase": _erase,
    "coarse_dropout": _coarse_dropout, "trivial_wide": _trivial_wide, "rand_augment": _rand_augment,
}
