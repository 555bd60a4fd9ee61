"""The size of a network: parameters, and floating-point operations per image."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> tuple[int, int]:
    """(total, trainable) parameters; shared ones count once, buffers (running statistics) do not."""
    return sum(p.numel() for p in model.parameters()), sum(p.numel() for p in model.parameters() if p.requires_grad)


def flops_per_image(model: nn.Module, resolution: int) -> int:
    """Forward FLOPs per image (3, resolution, resolution), two per multiply-add; a training step takes about 3 times.

    Convolutions and matrix products are counted; norms, activations and pooling are not. Computed on a copy on the
    meta device: no arithmetic is done, and `model` does not change.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    image = torch.empty(1, 3, resolution, resolution, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(image)
    return counter.get_total_flops()
