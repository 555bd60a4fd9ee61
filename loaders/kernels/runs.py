"""Splits a policy's passes into runs that one kernel each executes.

A run is a sampling (a move or a shrink), or a plain copy, and the ops on values that follow it. The image stays on the
chip from the first to the last, so a run reads each image once and writes it once.
"""

import itertools
from dataclasses import dataclass, replace

from loaders.policy.passes import Pass, PixelOp, jitter_orders
from loaders.policy.policy import Policy

# The largest image that fits on the chip whole, for ops that read all of it: 64 x 64.
MOST_PIXELS = 4096
# Pixels per thread block where ops need no other pixel, and at least: no thread is without pixels of its own.
TILE_PIXELS, FEWEST_PIXELS = 1024, 256
FILTERS = ("blur", "sharpness", "autocontrast", "equalize")
CONTRAST = 1


@dataclass(frozen=True)
class Step:
    """An op without its table, and where that begins among the policy's tables; parts: those of a jitter."""

    op: PixelOp
    table: int
    parts: tuple[int, ...] = ()

    @property
    def family(self) -> str:
        """The file of the op: "cover", "filter" or "photo"."""
        return "cover" if self.op.kind == "cover" else "filter" if self.op.opcode in FILTERS else "photo"


@dataclass(frozen=True)
class Run:
    """What one kernel does: a sampling by `moves` (of one pass, with its fill) or by `shrink`, then `changes`."""

    moves: tuple[Step, ...]
    shrink: Step | None
    changes: tuple[Step, ...]
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    fill: str

    @property
    def only_shifts(self) -> bool:
        return all(step.op.opcode in ("crop", "flip") for step in self.moves)

    @property
    def is_projective(self) -> bool:
        return any(step.op.opcode == "perspective" for step in self.moves)

    @property
    def enlargement(self) -> tuple[float, float]:
        """The factors by which the moves enlarge width and height; 1 without an enlargement."""
        for step in self.moves:
            if step.op.opcode == "enlarge":
                return step.op.constants[1] / step.op.width, step.op.constants[0] / step.op.height
        return 1.0, 1.0

    @property
    def needs_whole_image(self) -> bool:
        return any(map(needs_whole_image, (step.op for step in self.changes)))

    def has_room_for(self, op: PixelOp) -> bool:
        """Whether registers hold what the run and the op need; not a bilinear sampling and a large image whole."""
        return self.only_shifts or not needs_whole_image(op) or self.out_height * self.out_width <= TILE_PIXELS

    @property
    def block(self) -> int:
        """Pixels per thread block, a power of two."""
        pixels = self.out_height * self.out_width
        whole = max(FEWEST_PIXELS, 1 << (pixels - 1).bit_length())
        return whole if self.needs_whole_image else min(whole, TILE_PIXELS)

    @property
    def tiles(self) -> int:
        """Thread blocks per image."""
        return -(-self.out_height * self.out_width // self.block)

    @property
    def warps(self) -> int:
        """Warps per thread block: a bilinear sampling's float64 numbers leave registers for half as many pixels."""
        pixels_per_warp = 128 if self.moves and not self.only_shifts else 256
        return max(1, self.block // pixels_per_warp)

    @property
    def steps(self) -> tuple[Step, ...]:
        return (*self.moves, *((self.shrink,) if self.shrink else ()), *self.changes)


def needs_whole_image(op: PixelOp) -> bool:
    """Whether a value depends on pixels besides its own."""
    return op.opcode in FILTERS or op.opcode == "contrast" or CONTRAST in parts_of(op)


def runs_of(policy: Policy) -> tuple[Run | int, ...]:
    """The policy's passes in order: runs, and the numbers of the passes that no kernel serves."""
    found: list[Run | int] = []
    starts = itertools.accumulate((len(table_of(pass_)) for pass_ in policy.passes), initial=0)
    for k, (pass_, start) in enumerate(zip(policy.passes, starts, strict=False)):
        steps = tuple(Step(replace(op, table=()), start, parts_of(op)) for op in pass_.ops)
        size = pass_.in_height, pass_.in_width, pass_.out_height, pass_.out_width
        if pass_.kind == "move":
            found.append(Run(steps, None, (), *size, pass_.fill))
        elif pass_.kind == "shrink":
            found.append(Run((), steps[0], (), *size, pass_.fill))
        elif needs_whole_image(pass_.ops[0]) and pass_.in_height * pass_.in_width > MOST_PIXELS:
            found.append(k)
        elif found and isinstance(found[-1], Run) and found[-1].has_room_for(pass_.ops[0]):
            found[-1] = replace(found[-1], changes=found[-1].changes + steps)
        else:
            found.append(Run((), None, steps, *size, pass_.fill))
    return tuple(found)


def table_of(pass_: Pass) -> list[int]:
    """The integers that the pass's kernel reads from memory."""
    op = pass_.ops[0]
    return list(itertools.chain(*(jitter_orders(op) if op.opcode == "jitter" else op.table)))


def parts_of(op: PixelOp) -> tuple[int, ...]:
    return jitter_orders(op)[0] if op.opcode == "jitter" else ()


def tables_of(policy: Policy) -> list[int]:
    """All passes' tables, one after the other; at least one number."""
    return [*itertools.chain(*map(table_of, policy.passes))] or [0]
