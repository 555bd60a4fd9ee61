"""The baseline CNN of the "CIFAR-100 baseline CNN" project: three conv blocks and a two-layer head.

    images      3 x 32 x 32
    block 1    64 x 16 x 16    conv 3x3, BN, ReLU, max-pool 2
    block 2   128 x  8 x  8    the same
    block 3   256 x  4 x  4    the same
    flatten  4096
    fc        512              ReLU, dropout
    fc    classes

2,520,676 parameters at 100 classes and 32 px. Weights start as torch's layers start them, as its author's did.
"""

from __future__ import annotations

import torch
from torch import nn

from engine.models.checks import check_at_least, check_dropout, check_poolings

CHANNELS = (64, 128, 256)
HIDDEN = 512


class Baseline(nn.Module):
    """Images (batch, 3, resolution, resolution) float to logits (batch, classes); random: dropout, in training.

    Raises EngineError when resolution is no multiple of 8 px (three poolings halve it) or dropout is not in [0, 1).
    """

    def __init__(self, classes: int, resolution: int = 32, *, dropout: float = 0.5) -> None:
        super().__init__()
        check_at_least("classes", classes, 1)
        check_poolings("baseline", resolution, 3)
        check_dropout(dropout)
        layers: list[nn.Module] = []
        before = 3
        for channels in CHANNELS:
            layers += [
                nn.Conv2d(before, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            ]
            before = channels
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(before * (resolution // 8) ** 2, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))
