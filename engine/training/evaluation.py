"""Run a network over a feed without gradients and measure it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from engine.training.forward import ToInput
from engine.training.metrics import Metrics, Result
from engine.training.precision import Precision


def mirrored(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The mean of the logits of images (B, C, H, W) and of their mirror images."""
    return (model(images).float() + model(images.flip(3)).float()) / 2


def shifted(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Half the logits of `mirrored`, and a quarter each of those of images shifted by 1 px up-left and down-right.

    The uncovered edge is reflected. Jordan, cifar10-airbench (arXiv:2404.00498).
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    moved = [mirrored(model, padded[:, :, at: at + height, at: at + width]) for at in (0, 2)]
    return mirrored(model, images) / 2 + (moved[0] + moved[1]) / 4


LOGITS = {"none": lambda model, images: model(images).float(), "flip": mirrored, "shifts": shifted}


def evaluate(model: nn.Module, feed, classes: int, to_input: ToInput, precision: Precision,
             tta: str = "none", add: Callable[[list[torch.Tensor]], None] | None = None,
             between: Callable[[], None] = lambda: None) -> Result:
    """Measure `model` on every sample of `feed` (its epoch 0), each exactly once.

    tta: which predictions are averaged for an image, a key of LOGITS. add: where other processes have the rest of the
    samples, what adds their counters to these in place. between: is called after each batch and may raise to leave.

    The model is in evaluation mode meanwhile and in its former mode afterwards.
    """
    device = next(model.parameters()).device
    metrics, was_training = Metrics(classes, device), model.training
    model.eval()
    try:
        with torch.inference_mode(), feed.epoch(0) as batches:
            for batch in batches:
                images = to_input(batch.images_bhwc)
                with precision.autocast():
                    logits = LOGITS[tta](model, images)
                metrics.update(logits, batch.labels)
                between()
        if add:
            add(metrics.tensors)
        return metrics.result()
    finally:
        model.train(was_training)
