"""Run a network over a feed without gradients and measure it."""

import torch
from torch import nn

from engine.training.metrics import Metrics, Result
from engine.training.precision import Precision
from engine.training.step import ToInput


def evaluate(model: nn.Module, feed, classes: int, to_input: ToInput, precision: Precision,
             flip: bool = False) -> Result:
    """Measure `model` on every sample of `feed` (its epoch 0), each exactly once.

    With `flip` an image's logits are the mean of those of the image and of its mirror image.

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
                    logits = model(images).float()
                    if flip:
                        logits = (logits + model(images.flip(3)).float()) / 2
                metrics.update(logits, batch.labels)
        return metrics.result()
    finally:
        model.train(was_training)
