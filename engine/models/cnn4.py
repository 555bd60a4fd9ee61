"""The four-block CNN of the "CIFAR-10 CNN from scratch" project.

    images      3 x 32 x 32
    block 1    32 x 32 x 32    conv 3x3, BN, ReLU
    block 2    64 x 16 x 16    conv 3x3, BN, ReLU, max-pool 2
    block 3   128 x  8 x  8    the same
    block 4   256 x  4 x  4    the same
    flatten  4096
    fc        512              ReLU, dropout
    fc        128              ReLU
    fc    classes

2,553,994 parameters at 10 classes and 32 px. Weights start as torch's layers start them, as its author's did.
"""

from __future__ import annotations

import torch
from torch import nn

from engine.models.checks import check_at_least, check_dropout, check_poolings

# (channels, whether a max-pool follows)
BLOCKS = ((32, False), (64, True), (128, True), (256, True))
HIDDEN = (512, 128)


class Cnn4(nn.Module):
    """Images (batch, 3, resolution, resolution) float to logits (batch, classes); random: dropout, in training.

    Raises EngineError when resolution is no multiple of 8 px (three poolings halve it) or dropout is not in [0, 1).
    """

    def __init__(self, classes: int, resolution: int = 32, *, dropout: float = 0.1) -> None:
        super().__init__()
        check_at_least("classes", classes, 1)
        check_poolings("cnn4", resolution, 3)
        check_dropout(dropout)
        layers: list[nn.Module] = []
        before = 3
        for channels, pooled in BLOCKS:
            layers += [
                nn.Conv2d(before, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            if pooled:
                layers.append(nn.MaxPool2d(2))
            before = channels
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(before * (resolution // 8) ** 2, HIDDEN[0]),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(HIDDEN[0], HIDDEN[1]),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN[1], classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))
