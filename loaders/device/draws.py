"""The draws of `loaders.common.counter_rng` for a batch, in torch int64: the same 64 bits, read as signed numbers.

Sums and products wrap modulo 2**64; masking the copies of the sign makes a right shift logical.
"""

import functools

import numpy as np
import torch

from loaders.common.counter_rng import FIRST_MULTIPLIER, FRACTION_BITS, GOLDEN, SECOND_MULTIPLIER, epoch_state
from loaders.policy.passes import ALTERNATE_SLOT, Gate, PixelOp, Range

# An op's table on the device; None without one.
Table = torch.Tensor | None
_GOLDEN, _FIRST, _SECOND = np.array([GOLDEN, FIRST_MULTIPLIER, SECOND_MULTIPLIER], np.uint64).view(np.int64).tolist()


def keys_of(seed: int, epoch: int, device: torch.device | str) -> torch.Tensor:
    """The device's form of (seed, epoch): int64 (3,), the bits of `loaders.common.counter_rng.epoch_state`."""
    return to_device(torch.from_numpy(epoch_state(seed, epoch).view(np.int64)), torch.device(device))


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A host tensor on the device, from pinned memory, so that the host does not wait for what a GPU still has to do.
    """
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def shifted(words: torch.Tensor, bits: int) -> torch.Tensor:
    """words >> bits, filled with zeros from the left (1 <= bits <= 63)."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def mix(words: torch.Tensor) -> torch.Tensor:
    """`loaders.common.counter_rng.mix` of every element."""
    words = (words ^ shifted(words, 30)) * _FIRST
    words = (words ^ shifted(words, 27)) * _SECOND
    return words ^ shifted(words, 31)


def child(keys: torch.Tensor, counters: torch.Tensor) -> torch.Tensor:
    """`loaders.common.counter_rng.child` of tensors that broadcast."""
    return mix(keys + (counters + 1) * _GOLDEN)


def below(bits: torch.Tensor, n: int | torch.Tensor) -> torch.Tensor:
    """Integers in [0, n) from the high halves (1 <= n < 2**31)."""
    return (shifted(bits, 32) * n) >> 32


def below_low(bits: torch.Tensor, n: int | torch.Tensor) -> torch.Tensor:
    """Integers in [0, n) from the low halves."""
    return ((bits & 0xFFFFFFFF) * n) >> 32


def fraction(bits: torch.Tensor) -> torch.Tensor:
    """The top 24 bits as integers."""
    return shifted(bits, 64 - FRACTION_BITS)


@torch.library.custom_op("cadence::copied", mutates_args=())
def _copied(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.clone()


@_copied.register_fake
def _(numbers):
    return torch.empty_like(numbers)


def held(numbers: torch.Tensor) -> torch.Tensor:
    """The same numbers, stored in memory by compiled code; eagerly the tensor itself.

    A compiler that fuses everything would recompute per-sample numbers, sines included, at every pixel.
    """
    return _copied(numbers) if torch.compiler.is_compiling() else numbers


class Draws:
    """The draws of a batch: `words` int64 (B, slots), column s for slot s, all made at once.

    keys: `keys_of(seed, epoch)`; indices: int64 (B,), positions in the data set; counters: int64, 0, 1, 2, ..., stored:
    inductor would multiply an `arange` by a 64-bit constant in unbounded integers, and fail.
    """

    def __init__(self, keys: torch.Tensor, indices: torch.Tensor, slots: int, counters: torch.Tensor):
        self.keys, self.indices, self.counters = keys, indices, counters
        self.words = held(child(child(keys[0], indices)[:, None], counters[:slots]))

    def bits(self, slot: int) -> torch.Tensor:
        """64 random bits per sample, int64 (B,)."""
        return self.words[:, slot]

    def words_per_value(self, slot: int, height: int, width: int) -> torch.Tensor:
        """64 random bits for each value of each image, int64 (B, height, width, 3), keyed by the slot's draw."""
        places = self.counters[: height * width * 3].view(height, width, 3)
        return child(self.bits(slot).view(-1, 1, 1, 1), places)

    def open(self, gate: Gate) -> torch.Tensor:
        """bool (B,): whether the gate is open."""
        if gate.slot == ALTERNATE_SLOT:
            top = shifted(child(self.keys[1], self.indices), 63) ^ self.keys[2]
        else:
            top = fraction(self.bits(gate.slot))
        return (top >= gate.low) & (top < gate.high)

    def active(self, op: PixelOp) -> torch.Tensor | None:
        """bool (B,): whether all gates of the op are open; None for an op without gates."""
        return functools.reduce(torch.logical_and, map(self.open, op.gates)) if op.gates else None

    def value(self, range_: Range) -> int | torch.Tensor:
        """The drawn numbers in 2**-16 units, int64 (B,); an int if nothing is drawn."""
        if range_.constant is not None:
            return range_.constant
        bits = self.bits(range_.slot)
        if range_.steps:
            amount = range_.offset + range_.span * below(bits, range_.steps) // (range_.steps - 1)
        else:
            amount = range_.offset + (range_.span * fraction(bits) >> FRACTION_BITS)
        if range_.whole:
            amount = amount & ~0xFFFF
        if range_.signed:
            amount = torch.where((bits & 1) == 1, -amount, amount)
        return range_.base + amount

    def gated(self, op: PixelOp, value: int | torch.Tensor, neutral: int) -> torch.Tensor:
        """int64 (B,): `value` where the op acts, else `neutral`."""
        active = self.active(op)
        if active is None:
            return held(value) if isinstance(value, torch.Tensor) else torch.full_like(self.indices, value)
        return held(torch.where(active, value, neutral))
