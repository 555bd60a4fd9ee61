"""What a step computes of one batch, its loss and what it counts: by operations one at a time, or by tensors alone.

`by_operations` decides on the host what a batch needs, so a batch that is not mixed costs nothing for mixing.
`by_tensors` takes those decisions as the numbers of a row, so that one compiled or captured program serves every
batch; its results are those of `by_operations` up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from engine.training.loss import mixed_cross_entropy
from engine.training.mixing import Mix, apply_mix, partners
from engine.training.precision import Precision

# A row's numbers: the image's weight outside and inside the box, the box, the weight of its label, the smoothing.
ROW = ("outside", "inside", "top", "bottom", "left", "right", "lam", "smoothing")

# An image and its label, (1, ...) each.
Before = tuple[torch.Tensor, torch.Tensor] | None


class ToInput:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), (x / 255 - mean) / std a channel, channels_last or contiguous."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device, channels_last: bool = True):
        as_row = {"device": device, "dtype": torch.float32}
        self.device = device
        self.scale = (1 / (255 * torch.tensor(std, **as_row))).view(1, 3, 1, 1)
        self.shift = (-torch.tensor(mean, **as_row) / torch.tensor(std, **as_row)).view(1, 3, 1, 1)
        self.channels_last = channels_last

    def __call__(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        # The permuted view of a BHWC batch already is a channels_last BCHW one: no bytes move.
        images = normalised(images_bhwc, self.scale, self.shift)
        return images if self.channels_last else images.contiguous()


def normalised(images_bhwc: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), channels_last: x * scale + shift, both float32 (1, 3, 1, 1)."""
    return torch.addcmul(shift, images_bhwc.permute(0, 3, 1, 2).float(), scale)


def resize(images: torch.Tensor, side_px: int) -> torch.Tensor:
    """Float images (B, 3, H, W) to (B, 3, side_px, side_px), bilinear, antialiased where they shrink."""
    return F.interpolate(images, size=(side_px, side_px), mode="bilinear", antialias=True)


class Compute:
    """Normalise, resize, mix, forward, loss and counts of one batch, for `model` in `precision`.

    smoothing: of the labels; mixed batches get it only with `smooth_mixed`. mixes: whether batches may be mixed at all.
    """

    def __init__(self, model: nn.Module, to_input: ToInput, precision: Precision, *, smoothing: float = 0.0,
                 smooth_mixed: bool = True, mixes: bool = False):
        self.model, self.to_input, self.precision = model, to_input, precision
        self.smoothing, self.smooth_mixed, self.mixes = smoothing, smooth_mixed, mixes

    def by_operations(self, images_bhwc: torch.Tensor, labels: torch.Tensor, size_px: int | None,
                      mix: Mix | None, before: Before = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(mean loss, float64 (3,): summed loss, correct answers, images); `mix` as drawn for images of `size_px`.

        before: where the batch is a part of a larger one, what comes before it there, uint8 (1, H, W, 3) and int64
        (1,): the first image's partner.
        """
        images = self._sized(images_bhwc, size_px)
        labels_a, labels_b, lam = labels, labels, 1.0
        if mix is not None:
            images, labels_a, labels_b, lam = apply_mix(images, labels, mix, self._sized_before(before, size_px))
        with self.precision.autocast():
            logits = self.model(images)
        loss = mixed_cross_entropy(logits, labels_a, labels_b, lam, self._smoothing(mix))
        return loss, counted(logits, labels_a, labels_b, lam, loss)

    def by_tensors(self, images_bhwc: torch.Tensor, labels: torch.Tensor, size_px: int | None,
                   row: torch.Tensor | None, before: Before = None) -> tuple[torch.Tensor, torch.Tensor]:
        """As `by_operations`; `row` float32 (8,) as `row_of` makes it, on the device, None where nothing is mixed."""
        images = self._sized(images_bhwc, size_px)
        labels_a, labels_b, lam, smoothing = labels, labels, 1.0, self.smoothing
        if row is not None:
            outside, inside, top, bottom, left, right, lam, smoothing = row.unbind()
            y = torch.arange(images.shape[2], device=row.device)[:, None]
            x = torch.arange(images.shape[3], device=row.device)
            in_box = (y >= top) & (y < bottom) & (x >= left) & (x < right)
            image_before, label_before = self._sized_before(before, size_px) or (None, None)
            images = torch.lerp(partners(images, image_before), images, torch.where(in_box, inside, outside))
            labels_b = partners(labels, label_before)
        with self.precision.autocast():
            logits = self.model(images)
        loss = mixed_cross_entropy(logits, labels_a, labels_b, lam, smoothing)
        return loss, counted(logits, labels_a, labels_b, lam, loss)

    def row_of(self, mix: Mix | None) -> torch.Tensor | None:
        """How a batch is mixed, float32 (8,) on the device in the order of ROW; None where no batch ever is."""
        if not self.mixes:
            return None
        weights, box_px, lam = (1.0, 1.0), (0, 0, 0, 0), 1.0
        if mix is not None:
            weights = (mix.lam, 1.0) if mix.box_px is None else (1.0, 0.0)
            box_px, lam = mix.box_px or box_px, mix.lam
        row = torch.tensor([*weights, *box_px, lam, self._smoothing(mix)], dtype=torch.float32)
        device = self.to_input.device
        return row.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else row

    def _sized(self, images_bhwc: torch.Tensor, size_px: int | None) -> torch.Tensor:
        images = self.to_input(images_bhwc)
        return images if size_px is None else resize(images, size_px)

    def _sized_before(self, before: Before, size_px: int | None) -> Before:
        return None if before is None else (self._sized(before[0], size_px), before[1])

    def _smoothing(self, mix: Mix | None) -> float:
        return self.smoothing if mix is None or self.smooth_mixed else 0.0


def counted(logits: torch.Tensor, labels_a: torch.Tensor, labels_b: torch.Tensor, lam: float | torch.Tensor,
            loss: torch.Tensor) -> torch.Tensor:
    """float64 (3,): loss times images, correct answers, images; a mixed batch counts each label by its share."""
    guess, count = logits.detach().argmax(1), len(labels_a)
    correct = (guess == labels_a).sum()
    if labels_b is not labels_a:
        correct = lam * correct + (1 - lam) * (guess == labels_b).sum()
    return torch.stack([loss.detach().double() * count, correct.double(),
                        torch.full((), count, dtype=torch.float64, device=logits.device)])
