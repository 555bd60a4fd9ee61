"""The CNN family of the "CIFAR-10 and CIFAR-100 CNN study": depth, width, kernel, norm and dropout are parameters.

    images    3 x R x R
    stage 1   w x R/2 x R/2     convs (kernel, norm, ReLU), then max-pool 2
    stage 2  2w x R/4 x R/4     the same
    stage 3  4w x R/8 x R/8     the same
    head     "average": mean over the pixels, dropout, fc to the classes
             "flatten": flatten, fc 8w, ReLU, dropout, fc to the classes

`depth` convolutions are dealt to the stages as evenly as they go, the later stages first (depth 4: 1, 1, 2; 6:
2, 2, 2); a depth of 2 has two stages. Convolutions start as Kaiming fan-out (He et al. 2015). The study names 4 to 6
convolutions with batch norm. Parameters at width 32, 10 classes, average head: 288,746 at depth 6.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from engine.common.errors import EngineError
from engine.models.checks import check_at_least, check_dropout, check_poolings

NORMS = ("batch", "group", "none")
HEADS = ("average", "flatten")


class Cnn(nn.Module):
    """Images (batch, 3, resolution, resolution) float to logits (batch, classes); random: dropout, in training.

    width: channels of the first stage, doubled at each next. kernel_px: odd. norm: "batch", "group" (at most 8 groups)
    or "none". Raises EngineError for values outside these, a depth below 2, and a resolution that the poolings don't
    divide.
    """

    def __init__(
        self,
        classes: int,
        resolution: int = 32,
        *,
        depth: int = 6,
        width: int = 32,
        kernel_px: int = 3,
        dropout: float = 0.1,
        norm: str = "batch",
        head: str = "average",
    ) -> None:
        super().__init__()
        check_at_least("classes", classes, 1)
        check_at_least("depth", depth, 2)
        check_at_least("width", width, 1)
        check_dropout(dropout)
        if kernel_px < 1 or kernel_px % 2 == 0:
            raise EngineError(f"model.kernel_px={kernel_px} must be odd and positive")
        if norm not in NORMS:
            raise EngineError(f"model.norm={norm} must be one of {', '.join(NORMS)}")
        if head not in HEADS:
            raise EngineError(f"model.head={head} must be one of {', '.join(HEADS)}")
        stages = min(3, depth)
        check_poolings("cnn", resolution, stages)

        layers: list[nn.Module] = []
        before = 3
        for stage in range(stages):
            channels = width * 2**stage
            for _ in range((depth + stage) // stages):
                layers.append(nn.Conv2d(before, channels, kernel_px, padding=kernel_px // 2, bias=norm == "none"))
                if norm != "none":
                    layers.append(_norm(norm, channels))
                layers.append(nn.ReLU(inplace=True))
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        if head == "average":
            self.head = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(before, classes)
            )
        else:
            self.head = nn.Sequential(
                nn.Flatten(),
                nn.Linear(before * (resolution // 2**stages) ** 2, 8 * width),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(8 * width, classes),
            )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(math.gcd(8, channels), channels)
