"""The two sides of a roofline: a device's measured peak rates, and the counted work of a training step.

After Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009.
"""

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from engine.training.precision import DTYPES

# Large enough to keep the device busy with arithmetic, and for the copied bytes to exceed its caches.
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
COPIED_BYTES = {"cpu": 1 << 27, "cuda": 1 << 29}
# The device waits for the host if issuing a step takes this share of the step.
ISSUE_SHARE = 0.9
# Below this share of the roofline, neither arithmetic nor memory is the limit.
LITTLE = 0.3


@dataclass(frozen=True)
class Peaks:
    """`flops_s`: precision -> FLOP/s of a large matrix product; `bytes_s`: bytes per second that a copy moves."""

    flops_s: dict[str, float]
    bytes_s: float

    def attainable(self, precision: str, flops_per_byte: float) -> float:
        """The roofline: the FLOP/s that arithmetic in `precision` and memory allow at this intensity."""
        return min(self.flops_s[precision], flops_per_byte * self.bytes_s)

    def or_better(self, other: "Peaks") -> "Peaks":
        """The higher of each figure, as other load on the machine can only lower one."""
        flops_s = {name: max(flops_s, other.flops_s[name]) for name, flops_s in self.flops_s.items()}
        return Peaks(flops_s, max(self.bytes_s, other.bytes_s))


@dataclass(frozen=True)
class StepWork:
    """The work of a training step per image: FLOPs (two per multiply-add) and, estimated, bytes moved."""

    flops: float
    bytes: float

    @property
    def flops_per_byte(self) -> float:
        """The arithmetic intensity."""
        return self.flops / self.bytes


def waiter(device: torch.device) -> Callable[[], None]:
    """A function that returns once the device has finished its work."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)


def best_rate(call: Callable[[], object], amount: float, seconds: float, wait: Callable[[], None]) -> float:
    """`amount` per second of the fastest of the calls that fill `seconds` (at least one) after a warm-up call, as other
    load on the machine can only slow a call."""
    call()
    wait()
    best, end = 0.0, time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        call()
        wait()
        now = time.perf_counter()
        best = max(best, amount / (now - began))
        if now >= end:
            return best


def measure_peaks(device: torch.device, precisions: Iterable[str], seconds: float) -> Peaks:
    """Measure matrix products in each precision (keys of precision.DTYPES) and a copy, each for about `seconds`. Leaves
    torch's threads and TF32 setting alone; takes up to 1 GiB of a GPU's memory, 256 MiB of a CPU's."""
    wait, side = waiter(device), MATRIX_SIDE[device.type]

    def product_rate(dtype: torch.dtype) -> float:
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        product = torch.empty_like(left)
        return best_rate(lambda: torch.mm(left, right, out=product), 2 * side**3, seconds, wait)

    flops_s = {name: product_rate(DTYPES[name]) for name in dict.fromkeys(precisions)}
    source = torch.zeros(COPIED_BYTES[device.type], dtype=torch.uint8, device=device)
    copied = torch.zeros_like(source)
    return Peaks(flops_s, best_rate(lambda: copied.copy_(source), 2 * source.numel(), seconds, wait))


def count_work(model: nn.Module, side_px: int, batch: int, element_bytes: int) -> StepWork:
    """The work per image (3, side_px, side_px) of a training step of `batch` images; frozen parameters cost less.

    FLOPs are those of the convolutions and matrix products, forward and backward. Bytes are an estimate: what each leaf
    module reads and writes, `element_bytes` per element, once forward and twice backward, and three times the trained
    weights at 4 bytes. Fused operations move less; functions between modules and the optimiser's state are not counted.
    Runs on a copy on the meta device, without arithmetic.
    """
    shadow, images, elements = copy.deepcopy(model).to("meta").eval(), 2, 0

    def note(module: nn.Module, inputs: tuple, output: object) -> None:
        nonlocal elements
        tensors = [each for each in (*inputs, output) if isinstance(each, torch.Tensor)]
        elements += (3 if tensors[-1].requires_grad else 1) * sum(map(torch.Tensor.numel, tensors))

    for module in shadow.modules():
        if not any(module.children()):
            module.register_forward_hook(note)
    with FlopCounterMode(display=False) as counter:
        shadow(torch.empty(images, 3, side_px, side_px, device="meta")).sum().backward()
    weights = sum(p.numel() for p in shadow.parameters() if p.requires_grad)
    return StepWork(counter.get_total_flops() / images, element_bytes * elements / images + 12 * weights / batch)


def limit_of(work: StepWork, peaks: Peaks, precision: str, images_s: float,
             issue_share: float | None) -> tuple[str, float]:
    """(what limits a step at `images_s`, the share of the roofline that it reaches).

    The limit is a key of advice.LIMITS. issue_share: the host's time to issue a step as a share of the step's, None
    if the host computes it.
    """
    attainable = peaks.attainable(precision, work.flops_per_byte)
    reached = images_s * work.flops / attainable
    if issue_share is not None and issue_share >= ISSUE_SHARE:
        return "launches", reached
    if reached < LITTLE:
        return "overhead", reached
    return ("memory" if attainable < peaks.flops_s[precision] else "arithmetic"), reached
