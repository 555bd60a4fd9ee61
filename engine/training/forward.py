"""What a step calculates of one batch: normalise, resize, mix, forward, loss, counts, backward.

`ForwardPass` takes a batch's mix in either of two forms. As a `Mix`, decided on the host, an unmixed batch costs
nothing for mixing; as a row of numbers on the device, one compiled or captured program serves every batch. Both give
the same results up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from engine.training.loss import mixed_cross_entropy
from engine.training.mixing import Mix, apply_mix, apply_row, numbers_of, row_of
from engine.training.precision import Precision

# An image and its label, (1, ...) each: the partner of the first image of one process's block of a batch.
Before = tuple[torch.Tensor, torch.Tensor] | None


class ToInput:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W): (x / 255 - mean) / std per channel, channels_last or contiguous."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device, channels_last: bool = True):
        mean, std = torch.tensor([mean, std], device=device).view(2, 1, 3, 1, 1)
        self.device, self.channels_last = device, channels_last
        self.scale, self.shift = 1 / (255 * std), -mean / std

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


class ForwardPass:
    """Loss, counts and gradients of one batch for `model` in `precision`. Called, it is the eager executor.

    smoothing: of the labels; mixed batches get it only with `smooth_mixed`. mixes: whether any batch is mixed.
    """

    def __init__(self, model: nn.Module, to_input: ToInput, precision: Precision, *, smoothing: float = 0.0,
                 smooth_mixed: bool = True, mixes: bool = False):
        self.model, self.to_input, self.precision = model, to_input, precision
        self.smoothing, self.smooth_mixed, self.mixes = smoothing, smooth_mixed, mixes

    def start_stage(self) -> None:
        """Nothing is prepared per stage; other executors re-record here."""

    def __call__(self, images_bhwc: torch.Tensor, labels: torch.Tensor, size_px: int | None, mix: Mix | None,
                 share: float, before: Before = None) -> torch.Tensor:
        """Add the gradients of share * loss to the parameters' and return the counts; arguments as for `loss`."""
        loss, counts = self.loss(images_bhwc, labels, size_px, mix, before)
        self.backward(loss, share)
        return counts

    def loss(self, images_bhwc: torch.Tensor, labels: torch.Tensor, size_px: int | None,
             mix: Mix | torch.Tensor | None, before: Before = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(mean loss, counts); counts: float64 (3,), the summed loss, correct predictions and images.

        images_bhwc: uint8 (B, H, W, 3); labels: int64 (B,). size_px: side that the images are resized to, None for
        none. mix: drawn for images of that size, or its row float32 (8,). before: uint8 (1, H, W, 3) and int64 (1,),
        the partner of the first image where the batch is a block of a larger one.
        """
        images = self._sized(images_bhwc, size_px)
        before = before and (self._sized(before[0], size_px), before[1])
        labels_b, lam, smoothing = labels, 1.0, self._smoothing(None)
        if isinstance(mix, Mix):
            images, _, labels_b, lam = apply_mix(images, labels, mix, before)
            smoothing = self._smoothing(mix)
        elif mix is not None:
            images, labels_b, lam, smoothing = apply_row(images, labels, mix, before)
        with self.precision.autocast():
            logits = self.model(images)
        loss = mixed_cross_entropy(logits, labels, labels_b, lam, smoothing)
        return loss, counted(logits, labels, labels_b, lam, loss)

    def backward(self, loss: torch.Tensor, share: float) -> None:
        """Add the gradients of share * loss, scaled where fp16 needs it."""
        self.precision.backward(loss * share if share != 1 else loss)

    def row_of(self, mix: Mix | None) -> torch.Tensor | None:
        """`mix` as a row float32 (8,) on the device; None where no batch is ever mixed."""
        return to_device(row_of(mix, self._smoothing(mix)), self.to_input.device) if self.mixes else None

    def mix_numbers(self, mix: Mix | None) -> list[float]:
        """The numbers of `row_of`."""
        return numbers_of(mix, self._smoothing(mix))

    def _sized(self, images_bhwc: torch.Tensor, size_px: int | None) -> torch.Tensor:
        images = self.to_input(images_bhwc)
        return images if size_px is None else resize(images, size_px)

    def _smoothing(self, mix: Mix | None) -> float:
        return self.smoothing if mix is None or self.smooth_mixed else 0.0


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A host tensor on the device, copied without waiting."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def counted(logits: torch.Tensor, labels_a: torch.Tensor, labels_b: torch.Tensor, lam: float | torch.Tensor,
            loss: torch.Tensor) -> torch.Tensor:
    """float64 (3,): loss times images, correct predictions, images; a mixed batch counts each label by its share."""
    guess, count = logits.detach().argmax(1), len(labels_a)
    correct = (guess == labels_a).sum()
    if labels_b is not labels_a:
        correct = lam * correct + (1 - lam) * (guess == labels_b).sum()
    return torch.stack([loss.detach().double() * count, correct.double(),
                        torch.full((), count, dtype=torch.float64, device=logits.device)])
