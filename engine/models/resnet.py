"""The "Enhanced ResNet-34" for 32 px: basic residual blocks (He et al. 2016), [5, 5, 5, 5] of them.

    images    3 x 32 x 32
    stem     64 x 32 x 32    conv 3x3, BN, ReLU; no max-pool
    layer1   64 x 32 x 32    5 blocks
    layer2  128 x 16 x 16    5 blocks, the first with stride 2 and a 1x1 downsample
    layer3  256 x  8 x  8    the same
    layer4  512 x  4 x  4    the same
    mean     512             over the pixels; dropout
    fc   classes

    block: x -> conv 3x3, BN, ReLU, conv 3x3, BN -> + x -> ReLU

With stochastic depth (Huang et al. 2016) block l of L is left out of a training step, for each image by itself, with
probability l / L of the last block's; where it stays, its branch is divided by the chance that it does.

30,032,292 parameters at 100 classes, at any resolution. Convolutions start as Kaiming fan-out (He et al. 2015),
norms as 1 and 0. The names are torchvision's, so patterns such as `layer3` mean the same in every residual network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.ops import StochasticDepth

from engine.common.errors import EngineError
from engine.models.checks import check_at_least, check_dropout


class BasicBlock(nn.Module):
    """(batch, before, h, w) to (batch, channels, h / stride, w / stride), both sides rounded up."""

    def __init__(self, before: int, channels: int, stride: int, skip: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.skip = StochasticDepth(skip, "row") if skip else nn.Identity()
        self.downsample = None
        if stride != 1 or before != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.skip(self.bn2(self.conv2(x))) + shortcut)


class ResNet(nn.Module):
    """Images (batch, 3, resolution, resolution) float to logits (batch, classes).

    Random, in training: dropout, stochastic depth (`stochastic_depth`: the chance that the last block is skipped).

    blocks: how many in each of the four layers; width: channels of the first, doubled at each next. Images of
    another size than `resolution` work too. Raises EngineError for a resolution below 8 px, dropout outside [0, 1),
    or blocks that are not four positive numbers.
    """

    def __init__(
        self,
        classes: int,
        resolution: int = 32,
        *,
        dropout: float = 0.3,
        stochastic_depth: float = 0.0,
        blocks: Sequence[int] = (5, 5, 5, 5),
        width: int = 64,
    ) -> None:
        super().__init__()
        check_at_least("classes", classes, 1)
        if resolution < 8:
            raise EngineError(f"data.resolution={resolution} must be 8 px or more for resnet34")
        check_dropout(dropout)
        check_at_least("width", width, 1)
        if not 0 <= stochastic_depth < 1:
            raise EngineError(f"model.stochastic_depth={stochastic_depth} must be at least 0 and below 1")
        if len(blocks) != 4 or min(blocks) < 1:
            raise EngineError(f"model.blocks={tuple(blocks)} must be four numbers, each 1 or more")
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        total = sum(blocks)
        skips = [stochastic_depth * number / total for number in range(1, total + 1)]
        before = width
        for layer, count in enumerate(blocks, 1):
            channels, own = width * 2 ** (layer - 1), [skips.pop(0) for _ in range(count)]
            setattr(self, f"layer{layer}", _layer(before, channels, 1 if layer == 1 else 2, own))
            before = channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(8 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


def _layer(before: int, channels: int, stride: int, skips: Sequence[float]) -> nn.Sequential:
    first = BasicBlock(before, channels, stride, skips[0])
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1, skip) for skip in skips[1:]))
