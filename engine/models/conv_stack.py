"""The base of baseline, cnn and cnn4: stages of convolutions, each ending in a max-pool, and a linear head."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from engine.common.errors import check, check_share
from engine.kernels.fused_norm import NormActStack

NORMS = {
    "batch": lambda channels: [nn.BatchNorm2d(channels)],
    "group": lambda channels: [nn.GroupNorm(math.gcd(8, channels), channels)],
    "none": lambda channels: [],
}


class ConvStack(nn.Module):
    """Images (batch, 3, resolution, resolution) float to logits (batch, classes); random: dropout, in training.

    stages: the output channels of each stage's convolutions, each followed by `norm` and ReLU. hidden: the sizes of the
    head's hidden layers, with dropout after the first; without any, the head averages over the pixels. Weights start
    with torch's defaults. Raises EngineError, naming the network, for a resolution that the poolings do not divide, and
    for dropout outside [0, 1).
    """

    def __init__(self, name: str, classes: int, resolution: int, *, stages: Sequence[Sequence[int]],
                 hidden: Sequence[int], dropout: float, kernel_px: int = 3, norm: str = "batch",
                 bias: bool = True) -> None:
        super().__init__()
        multiple_px = 2 ** len(stages)
        check("model.classes", classes, classes >= 1, "1 or more")
        check("data.resolution", resolution, resolution >= multiple_px and resolution % multiple_px == 0,
              f"a multiple of {multiple_px} px: {name} halves it {len(stages)} times")
        check_share("model.dropout", dropout)
        features: list[nn.Module] = []
        before = 3
        for stage in stages:
            for channels in stage:
                features += [nn.Conv2d(before, channels, kernel_px, padding=kernel_px // 2, bias=bias),
                             *NORMS[norm](channels), nn.ReLU(inplace=True)]
                before = channels
            features.append(nn.MaxPool2d(2))
        self.features = NormActStack(*features)
        if hidden:
            head = [nn.Flatten(), nn.Linear(before * (resolution // multiple_px) ** 2, hidden[0]),
                    nn.ReLU(inplace=True), nn.Dropout(dropout)]
            for inputs, outputs in pairwise((*hidden, classes)):
                head += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
            head.pop()
        else:
            head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(before, classes)]
        self.head = nn.Sequential(*head)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def start_kaiming(model: nn.Module) -> None:
    """Initialise every convolution of `model` as Kaiming fan-out (He et al. 2015)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
