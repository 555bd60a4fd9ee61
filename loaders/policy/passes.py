"""The executors' form of a policy: pixel ops, grouped into passes over the pixels.

Opcodes, with slot = the first slot of the op, c = constants, r = ranges (values in 2**-16 units), all integers:

    crop            c (pad,)                 d = draw(slot): dy = below(d, 2 pad + 1) - pad, dx from d's low half
    flip                                     x -> width - 1 - x
    affine          c (corner, tangent)      r angle (degrees), shift x, shift y (px), scale, shear x, shear y (degrees,
                                             or tangents where c[1]); about the centre, or the corner (-1/2, -1/2)
    perspective     c (max_dx, max_dy)       draws slot..slot+3: inward moves of the corners, below(max + 1)
    enlarge         c (out_height, out_width)
    shrink          c (out_height, out_width, taps_y, taps_x)   table: rows (first, weights...) for y, then for x
    brightness, contrast, saturation, hue, sharpness, solarize   r (value,)
    posterize       r (bits,), rounded: (value + 32768) >> 16
    jitter          r brightness, contrast, saturation, hue; order PERMUTATIONS[below(draw(slot + 4), 24)]
    gray, invert, equalize, autocontrast
    blur            c (taps,)                table row below(draw(slot), 64)
    noise           r (sigma,)               key draw(slot + 1)
    cutout          c (hole,)                d = draw(slot): top = below(d, height - hole + 1), left from the low half
    erase           c (area_low, area_span)  draws slot..slot+9: tries; slot + 10: place; table of 256 (ratio, 1/ratio)
    coarse_dropout  c (px_low, px_high, holes_low, holes_high)  draw slot + 14: count; slot + 2k, + 2k + 1: hole k
"""

import itertools
import math
from dataclasses import dataclass

from loaders.common.counter_rng import FRACTION_BITS

ALTERNATE_SLOT = -1
ONE = 1 << 16
# jitter's order: entry k is the k-th permutation of (brightness, contrast, saturation, hue), applied left to right.
PERMUTATIONS = tuple(itertools.permutations(range(4)))
# The neutral values of these four.
JITTER_NEUTRAL = (ONE, ONE, ONE, 0)
# noise: the sum of 8 uniform bytes has mean 1020 and standard deviation sqrt(8 * (256**2 - 1) / 12); 255 grey levels
# over the latter, in 2**-16 units.
NOISE_MEAN, NOISE_UNIT = 1020, 79953
# The kind of pass of each opcode; all others are "photo".
KINDS = {
    **dict.fromkeys(("crop", "flip", "affine", "perspective", "enlarge"), "move"), "shrink": "shrink",
    **dict.fromkeys(("cutout", "erase", "coarse_dropout"), "cover"),
}


@dataclass(frozen=True)
class Gate:
    """Open where low <= (draw(slot) >> 40) < high; the draw of ALTERNATE_SLOT is the alternating-flip bit, 0 or 1."""

    slot: int
    low: int
    high: int


@dataclass(frozen=True)
class Range:
    """How a draw d = draw(slot) becomes a number in 2**-16 units.

    steps == 0: m = offset + (span * (d >> 40) >> 24); steps > 0: m = offset + span * k // (steps - 1) with
    k = (d >> 32) * steps >> 32. If whole, m loses its fraction (m & ~0xFFFF). If signed and d is odd, m = -m.
    The value is base + m. span >= 0 always.
    """

    slot: int
    base: int
    offset: int = 0
    span: int = 0
    steps: int = 0
    signed: bool = False
    whole: bool = False

    @property
    def constant(self) -> int | None:
        """The value if nothing is drawn, else None."""
        return self.base + self.offset if self.span == 0 and not (self.signed and self.offset) else None


@dataclass(frozen=True)
class PixelOp:
    """One primitive on a (height, width) image; acts on the samples for which all gates are open.

    slot is the first of its operation's 16; the list of opcodes explains constants and table (rows of integers).
    """

    opcode: str
    slot: int
    height: int
    width: int
    gates: tuple[Gate, ...] = ()
    ranges: tuple[Range, ...] = ()
    constants: tuple[int, ...] = ()
    table: tuple[tuple[int, ...], ...] = ()
    fill: str = ""

    @property
    def kind(self) -> str:
        return KINDS.get(self.opcode, "photo")

    @property
    def out_size(self) -> tuple[int, int]:
        return self.constants[:2] if self.opcode in ("enlarge", "shrink") else (self.height, self.width)


def jitter_orders(op: PixelOp) -> tuple[tuple[int, ...], ...]:
    """24 rows: the parts of a jitter that can change anything, in the order of each permutation."""
    parts = [part for part in range(4) if op.ranges[part].constant != JITTER_NEUTRAL[part]]
    return tuple(tuple(part for part in order if part in parts) for order in PERMUTATIONS)


@dataclass(frozen=True)
class Pass:
    """One pass over the pixels: its kind, its ops (several only in a "move"), its input and output size, its fill."""

    kind: str
    ops: tuple[PixelOp, ...]
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    fill: str

    def describe(self) -> str:
        """A line for a plan."""
        names = ", ".join(op.opcode + _when(op) for op in self.ops)
        size, out_size = f"{self.in_width}x{self.in_height} px", f"{self.out_width}x{self.out_height} px"
        size += f" -> {out_size}" if out_size != size else ""
        sampled = f", sampled once, outside: {self.fill}" if self.kind == "move" else ""
        return f"{self.kind} at {size}: {names}{sampled}"


def _when(op: PixelOp) -> str:
    """" (p=...)" for an op behind gates."""
    chance = math.prod((gate.high - gate.low) / (1 << FRACTION_BITS) for gate in op.gates if gate.slot >= 0)
    if any(gate.slot == ALTERNATE_SLOT for gate in op.gates):
        return " (every other epoch)" if chance == 1 else f" (every other epoch, p={chance:.3g})"
    return f" (p={chance:.3g})" if op.gates else ""
