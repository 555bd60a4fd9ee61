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

With stochastic depth (Huang et al. 2016) block l of L is skipped in training with l / L of the last block's
probability, independently per image; otherwise its branch is divided by the probability of being kept.

30,032,292 parameters at 100 classes, at any resolution. Convolutions start as Kaiming fan-out (He et al. 2015),
norms as 1 and 0. The names are torchvision's, so patterns such as `layer3` mean the same in every residual network.
"""

from collections.abc import Sequence
from itertools import count

import torch
from torch import nn
from torchvision.ops import StochasticDepth

from engine.common.errors import check, check_share
from engine.kernels.fused_norm import NormActStack, norm_act
from engine.models.conv_stack import start_kaiming


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
        self.downsample = None if stride == 1 and before == channels else NormActStack(
            nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = norm_act(self.conv1(x), self.bn1, self.relu)
        return self.relu(self.skip(norm_act(self.conv2(x), self.bn2)) + shortcut)


class ResNet(nn.Module):
    """Images (batch, 3, resolution, resolution) float to logits (batch, classes).

    blocks: the number in each of the four layers. width: channels of the first layer, doubled in each further layer.
    stochastic_depth: the probability that the last block is skipped. Random, in training: dropout and stochastic depth.
    Images may have other sizes than `resolution`. Raises EngineError for a resolution below 8 px, dropout or stochastic
    depth outside [0, 1), and blocks that are not four positive numbers.
    """

    def __init__(self, classes: int, resolution: int = 32, *, dropout: float = 0.3, stochastic_depth: float = 0.0,
                 blocks: Sequence[int] = (5, 5, 5, 5), width: int = 64) -> None:
        super().__init__()
        check("model.classes", classes, classes >= 1, "1 or more")
        check("data.resolution", resolution, resolution >= 8, "8 px or more for resnet34")
        check_share("model.dropout", dropout)
        check("model.width", width, width >= 1, "1 or more")
        check_share("model.stochastic_depth", stochastic_depth)
        check("model.blocks", tuple(blocks), len(blocks) == 4 and min(blocks) >= 1, "four numbers, each 1 or more")
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        skips = (stochastic_depth * number / sum(blocks) for number in count(1))
        before, channels = width, width
        for layer, blocks_here in enumerate(blocks, 1):
            first = BasicBlock(before, channels, 1 if layer == 1 else 2, next(skips))
            others = (BasicBlock(channels, channels, 1, next(skips)) for _ in range(blocks_here - 1))
            setattr(self, f"layer{layer}", nn.Sequential(first, *others))
            before, channels = channels, 2 * channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(8 * width, classes)
        start_kaiming(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = norm_act(self.conv1(images), self.bn1, self.relu)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))
