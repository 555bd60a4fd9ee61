"""A policy's operations -> passes of pixel ops: the flat form that every executor (host, device, reference) runs.

A `PixelOp` is one primitive with its gates (when it acts), ranges (its draws) and tables; a `Pass` is a run of ops that
one pass over the pixels executes. There are four kinds of pass:

    "move"    consecutive moves: one homography, one bilinear sampling of the pass's input; a pixel that leaves the
              frame within the run is not lost; taps outside the input see the run's one fill
    "shrink"  an anti-aliased, separable resize
    "photo"   one op that changes values
    "cover"   one op that paints rectangles

Ops keep their written order, with one exception: if a `resize` enlarges, all photo ops run first (on the few source
pixels), then one move pass with all moves and the enlargement, then the covers at output size. Sizes in px or fractions
keep their meaning: a move written after `resize` counts output pixels.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

from loaders.common.counter_rng import FRACTION_BITS, GATE_SLOT, SLOTS_PER_OPERATION
from loaders.common.errors import DataError
from loaders.policy.lower_operations import LOWERED, Sizes
from loaders.policy.passes import Gate, Pass, PixelOp


def lower(operations: tuple, height: int, width: int) -> tuple[Pass, ...]:
    """The passes of `loaders.policy.syntax.Operation`s for height x width images; DataError for sizes or fills that do
    not fit."""
    resizes = [operation for operation in operations if operation.name == "resize"]
    if len(resizes) > 1:
        raise DataError(f"policy: {len(resizes)} resize operations; keep one")
    px = resizes[0].value("px") if resizes else 0
    enlarges = px >= max(height, width) and (px, px) != (height, width)
    ops: list[PixelOp] = []
    here = (height, width)
    for operation in operations:
        sizes = Sizes(here, (height, width), (px, px)) if enlarges else Sizes(here, here, here)
        new = list(_ops(operation, sizes, ()))
        if enlarges and here != (px, px) and any(op.kind == "cover" for op in new):
            raise DataError(f"policy: {operation.text} stands before resize(px={px}), but covers act at the enlarged "
                            "size; write it after resize")
        ops += new
        if operation.name == "resize":
            here = (px, px)
    if enlarges:
        ops.sort(key=lambda op: ("photo", "move", "cover").index(op.kind))
    runs = itertools.groupby(enumerate(ops), key=lambda entry: "move" if entry[1].kind == "move" else entry[0])
    return tuple(_pass([op for _, op in run]) for _, run in runs)


def _pass(ops: list[PixelOp]) -> Pass:
    fills = sorted({op.fill for op in ops if op.fill})
    if len(fills) > 1:
        raise DataError(f"policy: {', '.join(op.opcode for op in ops)} are sampled as one but fill differently "
                        f"({', '.join(fills)}); give each the same fill")
    first, last = ops[0], ops[-1]
    return Pass(first.kind, tuple(ops), first.height, first.width, *last.out_size, *(fills or ["zero"]))


def _ops(operation, sizes: Sizes, gates: tuple[Gate, ...]) -> Iterator[PixelOp]:
    """The ops of one operation that can act."""
    slot = operation.position * SLOTS_PER_OPERATION
    p = operation.value("p") if operation.spec.parameter("p") else 1.0
    limit = round(p * (1 << FRACTION_BITS))
    if operation.name == "one_of":
        n = len(operation.children)
        for k, child in enumerate(operation.children):
            yield from _ops(child, sizes, (*gates, Gate(slot + GATE_SLOT, limit * k // n, limit * (k + 1) // n)))
        return
    if p != 1.0:
        gates = (*gates, Gate(slot + GATE_SLOT, 0, limit))
    if operation.name == "maybe":
        for child in operation.children:
            yield from _ops(child, sizes, gates)
        return
    for op in LOWERED[operation.name](operation, slot, sizes):
        op = replace(op, gates=gates + op.gates)
        if all(gate.low < gate.high for gate in op.gates):
            yield op
