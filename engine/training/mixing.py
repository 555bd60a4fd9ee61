"""CutMix (Yun et al. 2019) and MixUp (Zhang et al. 2018) on a batch: `draw_mix` decides on the host, `apply_mix` mixes.

An image's partner is the one before it in the batch, the first one's is the last: training batches come in random
order, so every pair is as likely as under the papers' permutation, none is mixed with itself, and no index has to
reach the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from engine.common.errors import EngineError

# Sets these draws apart from any others keyed by (seed, epoch, step).
STREAM = 0x6D6978


@dataclass(frozen=True)
class Mix:
    """How a batch is mixed: for "cutmix" the box of the partner's pixels, for "mixup" no box.

    lam: the image's own share, 0..1; for CutMix the true share of its pixels that stay.
    box_px: (top, bottom, left, right), the second and fourth exclusive; it may be empty.
    """

    kind: str
    lam: float
    box_px: tuple[int, int, int, int] | None = None


def draw_mix(seed: int, epoch: int, step: int, height: int, width: int, *, cutmix_p: float = 0.0,
             mixup_p: float = 0.0, cutmix_alpha: float = 1.0, mixup_alpha: float = 1.0) -> Mix | None:
    """How batch `step` of `epoch` is mixed, or None where it stays as it is: a pure function of its arguments.

    cutmix_p, mixup_p: the probabilities that the batch gets the one or the other; at most 1 in sum. ("Mixed with
    probability p, CutMix in a share s of those" is cutmix_p = p * s, mixup_p = p * (1 - s).) *_alpha: the share is
    drawn from Beta(alpha, alpha). height, width: of the images that will be mixed, in px.

    CutMix's box has sides sqrt(1 - share) of the image's around a uniform centre, cut off at the edges, and lam is
    re-set to the area that is left.

    Raises EngineError for probabilities outside 0..1, a sum above 1, and an alpha that is not above 0.
    """
    for setting, value in (("cutmix", cutmix_p), ("mixup", mixup_p)):
        if not 0 <= value <= 1:
            raise EngineError(f"the probability of {setting}, {value}, must be between 0 and 1")
    if cutmix_p + mixup_p > 1 + 1e-9:
        raise EngineError(f"the probabilities of cutmix, {cutmix_p}, and mixup, {mixup_p}, must not exceed 1 in sum")
    for setting, value in (("cutmix_alpha", cutmix_alpha), ("mixup_alpha", mixup_alpha)):
        if not 0 < value < math.inf:
            raise EngineError(f"mix.{setting}={value} must be above 0 and finite")

    random = np.random.default_rng([seed, epoch, step, STREAM])
    which = random.random()
    if which < cutmix_p:
        share = random.beta(cutmix_alpha, cutmix_alpha)
        return cut(height, width, share, int(random.integers(height)), int(random.integers(width)))
    if which < cutmix_p + mixup_p:
        return Mix("mixup", float(random.beta(mixup_alpha, mixup_alpha)))
    return None


def cut(height: int, width: int, share: float, centre_y_px: int, centre_x_px: int) -> Mix:
    """CutMix's box around a centre, for the share (0..1) that should stay, and the share that does."""
    side = math.sqrt(1 - share)
    half_height, half_width = int(height * side / 2), int(width * side / 2)
    top, bottom = max(centre_y_px - half_height, 0), min(centre_y_px + half_height, height)
    left, right = max(centre_x_px - half_width, 0), min(centre_x_px + half_width, width)
    return Mix("cutmix", 1 - (bottom - top) * (right - left) / (height * width), (top, bottom, left, right))


def apply_mix(images: torch.Tensor, labels: torch.Tensor, mix: Mix,
              before: tuple[torch.Tensor, torch.Tensor] | None = None
              ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Mix a batch as drawn: (images, labels_a, labels_b, lam), where lam weighs labels_a and 1 - lam labels_b.

    images: (batch, channels, height, width), any memory layout, kept; any type for CutMix, floating for MixUp. labels:
    (batch,) class numbers. before: (images (1, channels, height, width), labels (1,)), the first one's partner where
    the batch is a part of a larger one. The images that come in stay as they are; the result is one new batch, written
    once. Nothing waits for the device.

    Raises EngineError for MixUp on whole numbers and for a box drawn for larger images.
    """
    first_partner = images[-1:] if before is None else before[0]
    if mix.box_px is not None:
        top, bottom, left, right = mix.box_px
        if bottom > images.shape[2] or right > images.shape[3]:
            raise EngineError(f"a CutMix box to ({bottom}, {right}) does not fit images of {tuple(images.shape[2:])} "
                              "px: draw it for their size")
        mixed = images.clone()
        mixed[1:, :, top:bottom, left:right] = images[:-1, :, top:bottom, left:right]
        mixed[:1, :, top:bottom, left:right] = first_partner[:, :, top:bottom, left:right]
    else:
        if not images.is_floating_point():
            raise EngineError(f"MixUp needs floating-point images, not {images.dtype}: mix after normalisation")
        mixed = torch.empty_like(images)
        torch.lerp(images[:-1], images[1:], mix.lam, out=mixed[1:])
        torch.lerp(first_partner, images[:1], mix.lam, out=mixed[:1])
    return mixed, labels, partners(labels, before and before[1]), mix.lam


def row_of(mix: Mix | None, smoothing: float) -> torch.Tensor:
    """A batch's mix as float32 (8,), on the CPU."""
    return torch.tensor(numbers_of(mix, smoothing), dtype=torch.float32)


def numbers_of(mix: Mix | None, smoothing: float) -> list[float]:
    """A batch's mix as eight numbers: the weight of the image outside and inside the box, the box (top, bottom, left,
    right), lam, the label smoothing. An unmixed batch keeps its pixels and labels."""
    weights, box_px, lam = (1.0, 1.0), (0, 0, 0, 0), 1.0
    if mix is not None:
        weights = (mix.lam, 1.0) if mix.box_px is None else (1.0, 0.0)
        box_px, lam = mix.box_px or box_px, mix.lam
    return [*weights, *map(float, box_px), lam, smoothing]


def apply_row(images: torch.Tensor, labels: torch.Tensor, row: torch.Tensor,
              before: tuple[torch.Tensor, torch.Tensor] | None = None
              ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `apply_mix` by tensors alone: (images, labels_b, lam, smoothing); row: from `row_of`, on the device."""
    outside, inside, top, bottom, left, right, lam, smoothing = row.unbind()
    y = torch.arange(images.shape[2], device=row.device)[:, None]
    x = torch.arange(images.shape[3], device=row.device)
    in_box = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    image_before, label_before = before or (None, None)
    images = torch.lerp(partners(images, image_before), images, torch.where(in_box, inside, outside))
    return images, partners(labels, label_before), lam, smoothing


def partners(tensor: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
    """Each row's partner, the row before it; the first one's is `before` (1, ...), or the last where that is None."""
    return tensor.roll(1, 0) if before is None else torch.cat([before, tensor[:-1]])
