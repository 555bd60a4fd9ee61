"""Ops that read one pixel at a time (contrast also a mean): uint8 (B, H, W, 3) in and out.

An op that does not act uses its neutral factor, which is cheaper than choosing between two images. All pixel arithmetic
is int32; products that could overflow it (a mean in 2**-16 units times a factor) are int64, once per sample.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from loaders.device.draws import Draws, Table, below, held, shifted
from loaders.policy.passes import JITTER_NEUTRAL, NOISE_MEAN, NOISE_UNIT, ONE, PERMUTATIONS, PixelOp, jitter_orders

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def per_image(numbers: Tensor) -> Tensor:
    """Numbers (B,) as int32 (B, 1, 1, 1)."""
    return numbers.to(torch.int32).view(-1, 1, 1, 1)


def luma(images: Tensor) -> Tensor:
    """Grey levels, int32 (B, H, W, 1), of int32 (B, H, W, 3)."""
    red, green, blue = images.unbind(-1)
    return ((19589 * red + 38470 * green + 7471 * blue) >> 16).unsqueeze(-1)


def _chosen(draws: Draws, op: PixelOp, changed: Tensor, images: Tensor) -> Tensor:
    active = draws.active(op)
    return changed if active is None else torch.where(active.view(-1, 1, 1, 1), changed, images)


def gray(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
    """r = g = b = luma."""
    return _chosen(draws, op, luma(images.to(torch.int32)).to(torch.uint8).expand(-1, -1, -1, 3), images)


def invert(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
    """255 - v."""
    return _chosen(draws, op, 255 - images, images)


def solarize(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
    """255 - v where v is at or above the drawn threshold."""
    threshold = per_image(draws.gated(op, draws.value(op.ranges[0]), 256 * ONE))
    return torch.where(images.to(torch.int32) * ONE >= threshold, 255 - images, images)


def posterize(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
    """v with its lowest 8 - bits bits cleared."""
    bits = (per_image(draws.gated(op, draws.value(op.ranges[0]), 8 * ONE)) + ONE // 2) >> 16
    return images & ((255 << (8 - bits)) & 255).to(torch.uint8)


def _single(which: int) -> Callable[..., Tensor]:
    def changed(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
        factor = draws.gated(op, draws.value(op.ranges[0]), JITTER_NEUTRAL[which])
        images = images.to(torch.int32)
        if which == HUE:
            return hue_turned(images, per_image(factor)).to(torch.uint8)
        return blended(images, per_image(factor), _rest(images, factor, (which,), None)).to(torch.uint8)
    return changed


brightness, contrast, saturation, hue = map(_single, range(4))


def jitter(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
    """Brightness, contrast, saturation and hue in a drawn order; `table` is `jitter_orders(op)`, int64.

    The three blends differ only in their second image, so each round is one blend (and one turn of hue) for all.
    """
    parts = sorted(jitter_orders(op)[0])
    blends = tuple(part for part in parts if part != HUE)
    factors = {part: draws.gated(op, draws.value(op.ranges[part]), JITTER_NEUTRAL[part]) for part in parts}
    order = held(table[below(draws.bits(op.slot + 4), len(PERMUTATIONS))])
    images = images.to(torch.int32)
    for k in range(len(parts)):
        now = order[:, k]
        before = images
        if blends:
            factor = torch.full_like(now, ONE)
            for part in blends:
                factor = torch.where(now == part, factors[part], factor)
            images = blended(before, per_image(factor), _rest(before, factor, blends, now))
        if HUE in parts:
            turned = hue_turned(before, per_image(factors[HUE]))
            images = torch.where((now == HUE).view(-1, 1, 1, 1), turned, images)
    return images.to(torch.uint8)


def blended(images: Tensor, factor: Tensor, rest: Tensor | int) -> Tensor:
    """clamp((v * factor + rest) >> 16), int32."""
    return ((images * factor + rest) >> 16).clamp(0, 255)


def _rest(images: Tensor, factor: Tensor, parts: tuple[int, ...], now: Tensor | None):
    """The term added in a blend: 0, or a share of the mean (contrast) or of each pixel's luma (saturation).

    `now` (B,): each sample's one of `parts`; None: `parts` has one entry, for all.
    """
    if CONTRAST not in parts and SATURATION not in parts:
        return 0
    grey, rest = luma(images), 0
    if CONTRAST in parts:
        pixels = images.shape[1] * images.shape[2]
        mean = (grey.sum((1, 2, 3), dtype=torch.int64) << 16) // pixels
        share = (mean * (ONE - factor)) >> 16
        rest = per_image(share if now is None else torch.where(now == CONTRAST, share, 0))
    if SATURATION in parts:
        share = ONE - factor
        rest = rest + grey * per_image(share if now is None else torch.where(now == SATURATION, share, 0))
    return rest


def hue_turned(images: Tensor, turn: Tensor) -> Tensor:
    """Hue shifted by turn / 65536 of a circle (int32 (B, 1, 1, 1), at most half of one); int32 (B, H, W, 3)."""
    red, green, blue = images.unbind(-1)
    high = torch.maximum(torch.maximum(red, green), blue)
    spread = high - torch.minimum(torch.minimum(red, green), blue)
    sector = torch.where(high == red, green - blue,
                         torch.where(high == green, blue - red + 2 * spread, red - green + 4 * spread))
    unit = spread * ONE
    place = sector * ONE + turn.squeeze(-1) * 6 * spread
    channels = []
    for n in (5, 3, 1):
        # min(k, 4 unit - k) with k modulo 6 unit is 2 unit less the distance to the nearest of -4, 2, 8 and 14 units,
        # and k without the modulo lies between -4 and 14: three folds find that distance.
        distance = (((place + (n - 5) * unit).abs() - 6 * unit).abs() - 3 * unit).abs()
        fall = torch.minimum(2 * unit - distance, unit).clamp(min=0)
        channels.append(high - ((fall + ONE // 2) >> 16))
    return torch.stack(channels, -1)


def noise(images: Tensor, op: PixelOp, draws: Draws, table: Table) -> Tensor:
    """Gaussian noise of the drawn sigma: the sum of the 8 bytes of each value's own 64 bits."""
    amplitude = (draws.gated(op, draws.value(op.ranges[0]), 0) * NOISE_UNIT) >> 16
    words = draws.words_per_value(op.slot + 1, op.height, op.width)
    # Bytes in four 16-bit lanes; the multiplication adds the lanes up in the highest.
    lanes = (words & 0x00FF00FF00FF00FF) + ((words >> 8) & 0x00FF00FF00FF00FF)
    total = shifted(lanes * 0x0001000100010001, 48).to(torch.int32) - NOISE_MEAN
    return (images + ((total * per_image(amplitude) + ONE // 2) >> 16)).clamp(0, 255).to(torch.uint8)
