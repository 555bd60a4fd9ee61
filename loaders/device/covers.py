"""Covers: the rectangles of cutout, erase and coarse_dropout as one mask per image."""

import torch
from torch import Tensor

from loaders.common.counter_rng import FRACTION_BITS
from loaders.device.draws import Draws, Table, below, below_low, fraction, held
from loaders.policy.passes import PixelOp

TRIES = 10
PLACE_SLOT = 10
FILL_SLOT = 14


def cutout(images: Tensor, op: PixelOp, draws: Draws, table: Table, mean_rgb: Tensor) -> Tensor:
    hole = draws.gated(op, op.constants[0], 0)
    return _painted(images, _rectangle(op, hole, hole, draws.bits(op.slot)), op, draws, mean_rgb)


def erase(images: Tensor, op: PixelOp, draws: Draws, table: Table, mean_rgb: Tensor) -> Tensor:
    """The first of ten drawn rectangles that is smaller than the image; `table` holds (ratio, 1 / ratio), int64."""
    words = draws.words[:, op.slot: op.slot + TRIES]
    area = op.constants[0] + (op.constants[1] * fraction(words) >> FRACTION_BITS)
    ratio, inverse = table[words & 255].unbind(-1)
    heights, widths = _rounded_root(area * ratio, op.height), _rounded_root(area * inverse, op.width)
    fits = (heights < op.height) & (widths < op.width)
    first = fits.to(torch.int32).argmax(1, keepdim=True)
    height, width = (sides.gather(1, first).squeeze(1) for sides in (heights, widths))
    active = draws.active(op)
    acts = fits.any(1) if active is None else fits.any(1) & active
    height, width = torch.where(acts, height, 0), torch.where(acts, width, 0)
    return _painted(images, _rectangle(op, height, width, draws.bits(op.slot + PLACE_SLOT)), op, draws, mean_rgb)


def coarse_dropout(images: Tensor, op: PixelOp, draws: Draws, table: Table, mean_rgb: Tensor) -> Tensor:
    """A drawn number of rectangles, all painted by one mask."""
    low, high, holes_low, holes_high = op.constants
    count = draws.gated(op, holes_low + below(draws.bits(op.slot + FILL_SLOT), holes_high - holes_low + 1), 0)
    mask = None
    for k in range(holes_high):
        bits, place = draws.bits(op.slot + 2 * k), draws.bits(op.slot + 2 * k + 1)
        height, width = low + below(bits, high - low + 1), low + below_low(bits, high - low + 1)
        hole = _rectangle(op, torch.where(k < count, height, 0), width, place)
        mask = hole if mask is None else mask | hole
    return _painted(images, mask, op, draws, mean_rgb)


def _rounded_root(area: Tensor, size: int) -> Tensor:
    """sqrt(area * 2**-32), rounded, at most `size`: the number of half-integers not above the root."""
    odd = 2 * torch.arange(size, device=area.device) + 1
    return torch.bucketize(area, odd * odd << 30, right=True)


def _rectangle(op: PixelOp, height: Tensor, width: Tensor, place: Tensor) -> Tensor:
    """bool (B, H, W): rectangles of these sides (B,), empty if one is 0, at positions drawn from `place` (B,)."""
    top, left = below(place, op.height - height + 1), below_low(place, op.width - width + 1)
    top, left, bottom, right = held(torch.stack((top, left, top + height, left + width))).unsqueeze(-1)
    rows = torch.arange(op.height, device=place.device)
    columns = torch.arange(op.width, device=place.device)
    inside_y, inside_x = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return inside_y[:, :, None] & inside_x[:, None, :]


def _painted(images: Tensor, mask: Tensor, op: PixelOp, draws: Draws, mean_rgb: Tensor) -> Tensor:
    mask = mask.unsqueeze(-1)
    if op.fill == "zero":
        return images.masked_fill(mask, 0)
    if op.fill == "mean":
        return torch.where(mask, mean_rgb, images)
    words = draws.words_per_value(op.slot + FILL_SLOT, op.height, op.width)
    return torch.where(mask, ((words >> 56) & 255).to(torch.uint8), images)
