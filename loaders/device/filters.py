"""Ops that read more than one pixel: blur, shrink (the anti-aliased resize), sharpness, autocontrast and equalize.

uint8 (B, H, W, 3) in and out; integers throughout, weights of 14 bits. An op that does not act uses neutral weights,
limits or tables.
"""

import torch
from torch import Tensor

from loaders.device.draws import Draws, Table, below
from loaders.device.photo import per_image
from loaders.policy.passes import ONE, PixelOp
from loaders.policy.weight_tables import WEIGHT_BITS

LEVELS = 256
HALFWAY = 8
# (rounding term, shift): 6 bits are kept between the passes, so that rounding twice costs nothing.
_FIRST_PASS = (1 << (HALFWAY - 1), HALFWAY)
_SECOND_PASS = (1 << (2 * WEIGHT_BITS - HALFWAY - 1), 2 * WEIGHT_BITS - HALFWAY)


def blur_table(op: PixelOp) -> tuple[tuple[int, ...], ...]:
    """The op's rows of weights, then the neutral row."""
    taps = op.constants[0]
    return (*op.table, tuple(1 << WEIGHT_BITS if k == taps // 2 else 0 for k in range(taps)))


def blur(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
    """Gaussian blur along x, then along y, with reflected edges; `table` is `blur_table(op)`, int64."""
    row = below(draws.bits(op.slot), len(op.table))
    weights = table[draws.gated(op, row, len(op.table))]
    for axis, (half, shift) in ((2, _FIRST_PASS), (1, _SECOND_PASS)):
        images = _blurred(images, axis, weights, half, shift)
    return images.to(torch.uint8)


def _blurred(images: Tensor, axis: int, weights: Tensor, half: int, shift: int) -> Tensor:
    size, taps = images.shape[axis], weights.shape[1]
    places = (torch.arange(size + taps - 1, device=images.device) - taps // 2).abs()
    wide = images.index_select(axis, torch.minimum(places, 2 * (size - 1) - places))
    total = half
    for k in range(taps):
        total = total + wide.narrow(axis, k, size) * per_image(weights[:, k])
    return total >> shift


def shrink_table(op: PixelOp) -> tuple[tuple[int, ...], ...]:
    """The op's rows (first, weights...), all of one length."""
    longest = max(len(row) for row in op.table)
    return tuple(row + (0,) * (longest - len(row)) for row in op.table)


def shrink(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
    """The anti-aliased resize to (op.constants[0], op.constants[1]); `table` is `shrink_table(op)`, int64."""
    out_height, _, taps_y, taps_x = op.constants
    passes = ((2, table[out_height:], taps_x, _FIRST_PASS), (1, table[:out_height], taps_y, _SECOND_PASS))
    for axis, rows, taps, (half, shift) in passes:
        shape = (1, 1, -1, 1) if axis == 2 else (1, -1, 1, 1)
        total = half
        for k in range(taps):
            weights = rows[:, 1 + k].to(torch.int32).view(shape)
            total = total + images.index_select(axis, rows[:, 0] + k) * weights
        images = total >> shift
    return images.to(torch.uint8)


def sharpness(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
    """Blends with a 3x3 smoothing by the drawn factor; the outermost pixels do not change."""
    factor = per_image(draws.gated(op, draws.value(op.ranges[0]), ONE))
    images = images.to(torch.int32)
    total = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    total = total[:, :, :-2] + total[:, :, 1:-1] + total[:, :, 2:]
    smooth = images.clone()
    smooth[:, 1:-1, 1:-1] = (2 * (total + 4 * images[:, 1:-1, 1:-1]) + 13) // 26
    return ((images * ONE + (ONE - factor) * (smooth - images)) >> 16).clamp(0, 255).to(torch.uint8)


def autocontrast(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
    """(v - low) * 255 // (high - low) in each channel; a flat channel does not change."""
    wide = images.to(torch.int32)
    low, high = wide.amin((1, 2), keepdim=True), wide.amax((1, 2), keepdim=True)
    stays = _stays(low == high, draws, op)
    low, high = low.masked_fill(stays, 0), high.masked_fill(stays, 255)
    return ((wide - low) * 255 // (high - low)).to(torch.uint8)


def equalize(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
    """Equalises each channel's histogram as Pillow does."""
    samples, height, width, _ = images.shape
    channels = torch.arange(samples * 3, device=images.device).view(samples, 1, 1, 3)
    places = channels * LEVELS + images
    counts = torch.zeros(samples * 3 * LEVELS, dtype=torch.int32, device=images.device)
    counts = counts.scatter_add(0, places.flatten(), torch.ones_like(places, dtype=torch.int32).flatten())
    counts = counts.view(samples, 3, LEVELS)
    brightest = images.amax((1, 2)).to(torch.int64)
    spread = (height * width - counts.gather(2, brightest.unsqueeze(-1))) // 255
    below_it = counts.cumsum(2, dtype=torch.int32) - counts
    lookup = ((below_it + spread // 2) // spread.clamp(min=1)).clamp(max=255)
    stays = _stays((spread == 0).view(samples, 1, 1, 3), draws, op).view(samples, 3, 1)
    lookup = torch.where(stays, torch.arange(LEVELS, dtype=torch.int32, device=images.device), lookup)
    return lookup.flatten()[places].to(torch.uint8)


def _stays(flat: Tensor, draws: Draws, op: PixelOp) -> Tensor:
    """bool (B, 1, 1, 3): `flat` channels, and all channels of samples on which the op does not act."""
    active = draws.active(op)
    return flat if active is None else flat | ~active.view(-1, 1, 1, 1)
