"""A policy's operations -> stages of steps: the flat program that every executor runs, host, device and reference.

A `Step` is one primitive with its gates (when it acts), its ranges (what it draws) and its tables; a `Stage` is a run
of steps that is one pass over the pixels. Stage kinds, in the order in which executors meet them:

    "move"    consecutive moves: one homography, one bilinear sampling of the stage's input; what leaves the frame in
              the middle of the run is not lost; taps outside the input see the run's one fill
    "shrink"  an anti-aliased, separable resize
    "photo"   one step that changes values
    "cover"   one step that paints rectangles

Steps keep the order in which they were written, with one exception: when a `resize` enlarges, all photo steps run
first (on the few source pixels), then one move stage with every move and the enlargement, then the covers at output
size. Sizes given in px or as fractions keep their meaning: a move written after `resize` counts output pixels.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace

from loaders.common.counter_rng import FRACTION_BITS, GATE_SLOT, SLOTS_PER_OPERATION
from loaders.common.errors import DataError
from loaders.policy.lower_operations import LOWERED, Sizes
from loaders.policy.steps import COVERS, MOVES, Gate, Stage, Step


def lower(operations: tuple, height: int, width: int) -> tuple[Stage, ...]:
    """The stages of the operations (`loaders.policy.policy.Operation`) for height x width images.

    Raises DataError where an operation does not fit the size it meets, or where moves of one run disagree on fill.
    """
    resizes = [operation for operation in operations if operation.name == "resize"]
    if len(resizes) > 1:
        raise DataError(f"policy: {len(resizes)} resize operations; keep one")
    px = resizes[0].value("px") if resizes else 0
    enlarges = px >= max(height, width) and (px, px) != (height, width)
    steps: list[Step] = []
    here = (height, width)
    for operation in operations:
        at_photo, at_cover = ((height, width), (px, px)) if enlarges else (here, here)
        new = list(_steps(operation, Sizes(here, at_photo, at_cover), ()))
        if enlarges and here != (px, px) and any(step.opcode in COVERS for step in new):
            raise DataError(f"policy: {operation.text} stands before resize(px={px}): what covers acts at the enlarged "
                            "size; write it after resize")
        steps += new
        if operation.name == "resize":
            here = (px, px)
    if enlarges:
        steps.sort(key=lambda step: 1 if step.opcode in MOVES else 2 if step.opcode in COVERS else 0)
    return tuple(_stages(steps))


def _stages(steps: list[Step]) -> Iterator[Stage]:
    for is_move, group in itertools.groupby(steps, key=lambda step: step.opcode in MOVES):
        run = tuple(group)
        if not is_move:
            for step in run:
                out = step.constants[:2] if step.opcode == "shrink" else (step.height, step.width)
                kind = "shrink" if step.opcode == "shrink" else "cover" if step.opcode in COVERS else "photo"
                yield Stage(kind, (step,), step.height, step.width, *out)
            continue
        fills = sorted({step.fill for step in run if step.fill})
        if len(fills) > 1:
            raise DataError(f"policy: {', '.join(step.opcode for step in run)} are sampled as one but fill differently "
                            f"({', '.join(fills)}); give each the same fill")
        last = run[-1]
        out = last.constants if last.opcode == "enlarge" else (last.height, last.width)
        yield Stage("move", run, run[0].height, run[0].width, *out, fills[0] if fills else "zero")


def _steps(operation, sizes: Sizes, gates: tuple[Gate, ...]) -> Iterator[Step]:
    """The steps of one operation; those that can never act, or change nothing, are left out."""
    slot = operation.position * SLOTS_PER_OPERATION
    if operation.name == "maybe":
        opened = _opened(gates, slot + GATE_SLOT, operation.value("p"))
        for child in operation.children:
            yield from _steps(child, sizes, opened)
        return
    if operation.name == "one_of":
        limit, n = round(operation.value("p") * (1 << FRACTION_BITS)), len(operation.children)
        for k, child in enumerate(operation.children):
            gate = Gate(slot + GATE_SLOT, limit * k // n, limit * (k + 1) // n)
            yield from _steps(child, sizes, (*gates, gate))
        return
    if operation.spec.parameter("p"):
        gates = _opened(gates, slot + GATE_SLOT, operation.value("p"))
    for step in LOWERED[operation.name](operation, slot, sizes):
        step = replace(step, gates=gates + step.gates)
        if all(gate.low < gate.high for gate in step.gates):
            yield step


def _opened(gates: tuple[Gate, ...], slot: int, p: float) -> tuple[Gate, ...]:
    return gates if p == 1.0 else (*gates, Gate(slot, 0, round(p * (1 << FRACTION_BITS))))
