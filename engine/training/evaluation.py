"""Run a network over a feed without gradients and measure it."""

import torch
from torch import nn

from engine.training.metrics import Metrics, Result
from engine.training.precision import Precision
from engine.training.step import ToInput


def evaluate(model: nn.Module, feed, classes: int, to_input: ToInput, precision: Precision) -> Result:
    """Measure `model` on every sample of `feed` (its epoch 0), each exactly once.

    The model is in evaluation mode meanwhile and in its former mode afterwards.
    """
    device = next(model.parameters()).device
    metrics, was_training = Metrics(classes, device), model.training
    model.eval()
    try:
        with torch.inference_mode(), feed.epoch(0) as batches:
            for batch in batches:
                with precision.autocast():
                    logits = model(to_input(batch.images_bhwc))
                metrics.update(logits.float(), batch.labels)
        return metrics.result()
    finally:
        model.train(was_training)
