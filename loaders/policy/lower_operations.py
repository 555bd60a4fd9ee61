"""Lowers each operation of the language to pixel ops: its arguments as integers, checked against the image's size."""

from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from loaders.common.counter_rng import FRACTION_BITS
from loaders.common.errors import DataError
from loaders.policy import weight_tables
from loaders.policy.passes import ALTERNATE_SLOT, JITTER_NEUTRAL, ONE, Gate, PixelOp, Range

STRENGTHS = 31
# (height, width) of the input of a move, a photo and a cover op at one position of a policy.
Sizes = namedtuple("Sizes", "move photo cover")


def _q(number: float) -> int:
    return round(number * ONE)


def _uniform(slot: int, low: float, high: float) -> Range:
    return Range(slot, base=_q(low), span=_q(high) - _q(low))


def _fixed(number: float) -> Range:
    return Range(0, base=_q(number))


def _crop(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
    pad = operation.value("pad_px")
    for side, name in zip(sizes.move, ("height", "width"), strict=True):
        if pad >= side:
            raise DataError(f"crop(pad_px={pad}): pad_px must be below the image {name} {side}")
    yield PixelOp("crop", slot, *sizes.move, constants=(pad,), fill=operation.value("fill"))


def _flip(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
    gates = (Gate(ALTERNATE_SLOT, 1, 2),) if operation.name == "flip_alternate" else ()
    yield PixelOp("flip", slot, *sizes.move, gates)


def _affine(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
    angle, shift, scale, shear = map(operation.interval, ("rotate_deg", "translate", "scale", "shear_deg"))
    if (angle, shift, scale, shear) == ((0, 0), (0, 0), (1, 1), (0, 0)):
        raise DataError("affine(): it moves nothing; give rotate_deg, translate, scale or shear_deg")
    height, width = sizes.move
    drawn = (angle, (shift[0] * width, shift[1] * width), (shift[0] * height, shift[1] * height), scale, shear)
    ranges = (*(_uniform(slot + j, low, high) for j, (low, high) in enumerate(drawn)), _fixed(0))
    yield PixelOp("affine", slot, height, width, ranges=ranges, constants=(0, 0), fill=operation.value("fill"))


def _perspective(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
    (height, width), distortion = sizes.move, operation.value("distortion")
    # Below a third of the size the four corners always span a convex quadrilateral.
    most = tuple(min(int(distortion * (side // 2)), (side - 2) // 3) for side in (width, height))
    if most == (0, 0):
        raise DataError(f"perspective(distortion={distortion:g}): no corner of a {width}x{height} px image moves by a "
                        "whole pixel; give more")
    yield PixelOp("perspective", slot, height, width, constants=most, fill=operation.value("fill"))


def _resize(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
    (height, width), px = sizes.move, operation.value("px")
    if (height, width) == (px, px):
        return
    if px >= max(height, width):
        yield PixelOp("enlarge", slot, height, width, constants=(px, px))
        return
    rows, columns = weight_tables.antialiased(height, px), weight_tables.antialiased(width, px)
    constants = (px, px, len(rows[0]) - 1, len(columns[0]) - 1)
    yield PixelOp("shrink", slot, height, width, constants=constants, table=rows + columns)


def _photo(*intervals: str) -> Callable[..., Iterator[PixelOp]]:
    """One photo op with these arguments as ranges, drawn from its slots 0, 1, ..."""
    def lowered(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
        ranges = tuple(_uniform(slot + j, *operation.interval(name)) for j, name in enumerate(intervals))
        yield PixelOp(operation.name, slot, *sizes.photo, ranges=ranges)
    return lowered


def _jitter(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
    [op] = _photo("brightness", "contrast", "saturation", "hue")(operation, slot, sizes)
    if tuple(range_.constant for range_ in op.ranges) == JITTER_NEUTRAL:
        raise DataError("jitter(): it changes nothing; give brightness, contrast, saturation or hue")
    yield op


def _blur(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
    taps = operation.value("kernel_px")
    if taps % 2 == 0 or taps // 2 >= min(sizes.photo):
        raise DataError(f"blur(kernel_px={taps}): kernel_px must be odd and its half below the image's shorter side "
                        f"{min(sizes.photo)}")
    table = weight_tables.gaussian(taps, *operation.interval("sigma"))
    if any(row[taps // 2] != 1 << weight_tables.WEIGHT_BITS for row in table):
        yield PixelOp("blur", slot, *sizes.photo, constants=(taps,), table=table)


def _holes(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
    low, high = operation.interval("hole_px")
    if high > min(sizes.cover):
        raise DataError(f"{operation.name}(hole_px={high}): hole_px must be at most the image's shorter side "
                        f"{min(sizes.cover)}")
    constants = (high,) if operation.name == "cutout" else (low, high, *operation.interval("holes"))
    yield PixelOp(operation.name, slot, *sizes.cover, constants=constants, fill=operation.value("fill"))


def _erase(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
    height, width = sizes.cover
    low, high = (_q(height * width * part) for part in operation.interval("scale"))
    table = weight_tables.log_uniform_ratios(*operation.interval("ratio"))
    yield PixelOp("erase", slot, height, width, constants=(low, high - low), table=table, fill=operation.value("fill"))


def _strength(slot: int, low: float, high: float, base: float = 0.0, signed: bool = True, whole: bool = False) -> Range:
    """One of STRENGTHS equal steps from low to high, added to base; if signed, subtracted with probability 1/2."""
    return Range(slot, _q(base), _q(low), _q(high) - _q(low), STRENGTHS, signed, whole)


def _trivial_wide(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
    draw = partial(_strength, slot + 1)
    yield from _round(slot, sizes, operation.value("fill"), {
        "shear": draw(0, 0.99), "shift_x": draw(0, 32, whole=True), "shift_y": draw(0, 32, whole=True),
        "angle": draw(0, 135), "factor": draw(0, 0.99, base=1.0), "bits": draw(2, 8, signed=False),
        "threshold": draw(0, 255, signed=False),
    })


def _rand_augment(operation, slot: int, sizes: Sizes) -> Iterator[PixelOp]:
    m, (height, width) = operation.value("magnitude") / (STRENGTHS - 1), sizes.move
    strengths = {"shear": 0.3, "shift_x": 150 / 331 * width, "shift_y": 150 / 331 * height, "angle": 30, "factor": 0.9}
    fixed = {"bits": _fixed(8 - round(4 * m)), "threshold": _fixed(255 * (1 - m))}
    for which in range(slot, slot + 2 * operation.value("n"), 2):
        drawn = {name: _strength(which + 1, most * m, most * m, base=float(name == "factor"), whole="shift" in name)
                 for name, most in strengths.items()}
        yield from _round(which, sizes, operation.value("fill"), drawn | fixed)


def _round(slot: int, sizes: Sizes, fill: str, strength: dict[str, Range]) -> Iterator[PixelOp]:
    """One of torchvision's 14 operations: identity, 5 moves and 8 photo ops, behind gates on `slot`."""
    neutral = {"angle": 0, "shift_x": 0, "shift_y": 0, "scale": 1, "shear_x": 0, "shear_y": 0}

    def moved(name: str, drawn: Range, corner: int = 0) -> PixelOp:
        ranges = tuple(drawn if each == name else _fixed(number) for each, number in neutral.items())
        return PixelOp("affine", slot, *sizes.move, ranges=ranges, constants=(corner, 1), fill=fill)

    def changed(opcode: str, *ranges: Range) -> PixelOp:
        return PixelOp(opcode, slot, *sizes.photo, ranges=ranges)

    ops = [
        moved("shear_x", strength["shear"], corner=1), moved("shear_y", strength["shear"], corner=1),
        *(moved(name, strength[name]) for name in ("shift_x", "shift_y", "angle")),
        *(changed(name, strength["factor"]) for name in ("brightness", "saturation", "contrast", "sharpness")),
        changed("posterize", strength["bits"]), changed("solarize", strength["threshold"]),
        changed("autocontrast"), changed("equalize"),
    ]
    edges = [(1 << FRACTION_BITS) * k // (len(ops) + 1) for k in range(1, len(ops) + 2)]
    for op, low, high in zip(ops, edges, edges[1:], strict=False):
        yield replace(op, gates=(Gate(slot, low, high),))


LOWERED = {
    "crop": _crop, "flip": _flip, "flip_alternate": _flip, "affine": _affine, "perspective": _perspective,
    "resize": _resize, "jitter": _jitter, "gray": _photo(), "blur": _blur, "noise": _photo("sigma"), "invert": _photo(),
    "solarize": _photo("threshold"), "posterize": _photo("bits"), "equalize": _photo(), "autocontrast": _photo(),
    "sharpness": _photo("factor"), "cutout": _holes, "erase": _erase, "coarse_dropout": _holes,
    "trivial_wide": _trivial_wide, "rand_augment": _rand_augment,
}
