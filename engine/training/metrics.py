"""Loss, top-1, top-5, confusion and calibration from logits and labels, counted on the device.

`Metrics.update` never waits for the device; `result` does, once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engine.common.errors import EngineError

BINS = 15


@dataclass(frozen=True)
class Result:
    """The result of an evaluation. Shares are fractions 0..1; NaN where there is nothing to divide by.

    loss: mean cross-entropy, NaN if any sample was non-finite. top5: among the min(5, classes) likeliest.
    per_class: (classes,) accuracy of each true class. confusion: (classes, classes) int64, rows true, columns
    predicted. nonfinite: samples whose logits were not all finite: wrong in every accuracy, in no column of the
    confusion and in no bin. ece: expected calibration error (Guo et al. 2017) over 15 equally wide bins of
    confidence; bin_count, bin_accuracy, bin_confidence: (15,), the reliability diagram.
    """

    count: int
    loss: float
    top1: float
    top5: float
    per_class: np.ndarray
    confusion: np.ndarray
    nonfinite: int
    ece: float
    bin_count: np.ndarray
    bin_accuracy: np.ndarray
    bin_confidence: np.ndarray


class Metrics:
    """Counters on `device` for a network of `classes` classes; `tensors` holds all of its state."""

    def __init__(self, classes: int, device: torch.device | str) -> None:
        self.classes = classes
        # The last column, the last bin: samples whose logits are not finite, which have no prediction.
        self.confusion = torch.zeros(classes, classes + 1, dtype=torch.int64, device=device)
        self.among_top5 = torch.zeros((), dtype=torch.int64, device=device)
        self.bin_count = torch.zeros(BINS + 1, dtype=torch.int64, device=device)
        self.bin_correct = torch.zeros(BINS + 1, dtype=torch.int64, device=device)
        self.bin_confidence = torch.zeros(BINS + 1, dtype=torch.float64, device=device)
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The live counters, always in this order: summed over processes they are the counters of the whole split."""
        return [self.confusion, self.among_top5, self.bin_count, self.bin_correct, self.bin_confidence, self.loss_sum]

    @torch.no_grad()
    def update(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Count a batch: logits (batch, classes), any floating type, and labels (batch,) int64, on the device.

        Equal logits rank by class number, the lowest first, so that a constant output is right for one class only.
        """
        logits = logits.float()
        finite = logits.isfinite().all(dim=1)
        logits = logits.where(finite[:, None], 0.0)
        log_probs = logits.log_softmax(dim=1)
        labels_column = labels[:, None]
        losses = -log_probs.gather(1, labels_column)[:, 0]
        self.loss_sum += (losses.double() * finite).sum()

        own = logits.gather(1, labels_column)
        classes = torch.arange(self.classes, device=logits.device)
        ahead = (logits > own) | ((logits == own) & (classes < labels_column))
        rank = ahead.sum(dim=1)
        self.among_top5 += ((rank < min(5, self.classes)) & finite).sum()

        predicted = logits.argmax(dim=1)
        cell = labels * (self.classes + 1) + torch.where(finite, predicted, self.classes)
        # bincount would wait for the device to learn the largest cell.
        self.confusion.view(-1).index_add_(0, cell, torch.ones_like(cell))

        confidence = log_probs.gather(1, predicted[:, None])[:, 0].double().exp()
        bins = torch.where(finite, ((confidence * BINS).ceil().long() - 1).clamp(0, BINS - 1), BINS)
        # Sums over a mask instead of additions by index, whose order, and so the last bit, varies on a GPU.
        member = bins[:, None] == torch.arange(BINS + 1, device=logits.device)
        self.bin_count += member.sum(dim=0)
        self.bin_correct += (member & (predicted == labels)[:, None]).sum(dim=0)
        self.bin_confidence += (member * confidence[:, None]).sum(dim=0)

    def result(self) -> Result:
        """The result so far, in one transfer from the device. EngineError if no sample was counted."""
        flat = torch.cat([tensor.double().flatten() for tensor in self.tensors]).cpu()
        parts = flat.split([tensor.numel() for tensor in self.tensors])
        confusion = parts[0].view(self.classes, self.classes + 1).long().numpy()
        count = int(confusion.sum())
        if count == 0:
            raise EngineError("no sample was counted: the split to be evaluated is empty")
        nonfinite = int(confusion[:, -1].sum())
        correct = confusion.diagonal()
        bin_count, bin_correct, bin_confidence = (part[:BINS].numpy() for part in parts[2:5])
        with np.errstate(invalid="ignore"):
            return Result(
                count=count,
                loss=float("nan") if nonfinite else float(parts[5]) / count,
                top1=float(correct.sum() / count),
                top5=float(parts[1]) / count,
                per_class=correct / confusion.sum(axis=1),
                confusion=confusion[:, :-1].copy(),
                nonfinite=nonfinite,
                ece=float(np.abs(bin_confidence - bin_correct).sum() / np.float64(count - nonfinite)),
                bin_count=bin_count.astype(np.int64),
                bin_accuracy=bin_correct / bin_count,
                bin_confidence=bin_confidence / bin_count,
            )
