"""The policy language: text in Python's call syntax -> a checked, frozen Policy. Nothing is evaluated.

    parse("crop(pad_px=4), flip(), maybe(.5, affine(rotate_deg=15)), one_of(.3, cutout(hole_px=8), gray(p=1))")

A named policy (`named_policies`) stands for its text; "" and "none" mean no augmentation. Every mistake is a DataError
of one line. This imports neither numba nor torch, so a plan is shown in milliseconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from loaders.common.counter_rng import SLOTS_PER_OPERATION
from loaders.common.errors import DataError
from loaders.policy.lowering import lower
from loaders.policy.passes import Pass
from loaders.policy.syntax import Operation, read

MIN_PX = 4
MAX_PX = 512


@dataclass(frozen=True)
class Policy:
    """A policy for images of height x width: the operations as written, and the passes that executors run."""

    operations: tuple[Operation, ...]
    height: int
    width: int
    passes: tuple[Pass, ...] = field(compare=False, repr=False)

    @property
    def text(self) -> str:
        """Canonical text: `parse(policy.text, height, width) == policy`; "none" without operations."""
        return ", ".join(operation.text for operation in self.operations) or "none"

    @property
    def output_height(self) -> int:
        return self.passes[-1].out_height if self.passes else self.height

    @property
    def output_width(self) -> int:
        return self.passes[-1].out_width if self.passes else self.width

    @property
    def output_px(self) -> int:
        """The longer side of the images after the policy."""
        return max(self.output_height, self.output_width)

    def describe(self) -> list[str]:
        """One line per operation as written, then one per pass in execution order."""
        if not self.operations:
            return ["none: the images are left as they are"]
        acting = {op.slot // SLOTS_PER_OPERATION for pass_ in self.passes for op in pass_.ops}
        lines = []
        for operation in _walk(self.operations):
            acts = operation.spec.kind == "wrapper" or operation.position in acting
            lines.append(f"{operation.text}: {operation.spec.summary if acts else 'changes nothing, is not computed'}")
        return lines + [f"pass {k}: {pass_.describe()}" for k, pass_ in enumerate(self.passes, 1)]


def check_mean_rgb(mean_rgb: tuple[int, int, int]) -> None:
    """DataError unless `mean_rgb`, the colour that fill=mean paints, is three integers from 0 to 255."""
    if not (len(mean_rgb) == 3 and all(0 <= value <= 255 for value in mean_rgb)):
        raise DataError(f"mean_rgb={tuple(mean_rgb)}: it must be three integers from 0 to 255")


def parse(text: str, height: int = 32, width: int = 32) -> Policy:
    """Read a policy for images of height x width pixels. Raises DataError; see the module's docstring."""
    if not (MIN_PX <= height <= MAX_PX and MIN_PX <= width <= MAX_PX):
        raise DataError(f"images of {height}x{width} px: height and width must be from {MIN_PX} to {MAX_PX}")
    operations = tuple(read(text))
    return Policy(operations, height, width, lower(operations, height, width))


def _walk(operations: tuple[Operation, ...]) -> Iterator[Operation]:
    for operation in operations:
        yield operation
        yield from _walk(operation.children)
