"""The sprint network for more classes: wide where maps are small, and in each group a residual pair of convolutions.

    images       3 x 32 x 32
    stem        24 x 31 x 31    conv 2x2 of fixed whitening filters, activation
    group 1   w[0] x 15 x 15    conv 3x3, max-pool 2, BN, activation; plus its pair: conv 1x1 to i[0], conv 1x1
    group 2   w[1] x  7 x  7    conv 3x3, the same; its pair: conv 3x3 to i[1], conv 1x1
    group 3   w[2] x  3 x  3    conv 2x2, the same; its pair: conv 3x3 to i[2], conv 3x3
    head    classes             the largest value of each channel plus their mean; no bias; logits times 5 / 36

Each convolution of a pair is followed by BN and activation. After the CIFAR-100 speedrun's NAVIER-STOKED and
futurebiohackers (github.com/AIDDA-Institute/CIFAR-100-speedrun), whose network grew out of cifar10-airbench.

8,608,024 trainable parameters and 175 million multiply-adds per image at widths 64, 256, 768, inner widths 64, 192, 512
and 100 classes.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from engine.common.errors import check, check_one_of
from engine.kernels.fused_norm import act_alone, norm_act
from engine.models.sprint import ACTIVATIONS, check_widths, conv
from engine.models.whitening import FILTERS, WhiteningStem

# Of the three groups: the kernels in px of the first convolution and of the pair's.
KERNELS = ((3, 1, 1), (3, 3, 1), (2, 3, 3))
LOGIT_SCALE = 1.25 / 9


class PairGroup(nn.Module):
    """(batch, before, h, w) to (batch, channels, h // 2, w // 2)."""

    def __init__(self, before: int, channels: int, inner: int, kernels: Sequence[int], activation: str):
        super().__init__()
        first, into, back = kernels
        # Zeros below and to the right, so that an even kernel keeps the size too.
        self.pad = nn.Identity() if first % 2 else nn.ZeroPad2d((0, 1, 0, 1))
        self.conv1, self.pool, self.norm1 = conv(before, channels, first), nn.MaxPool2d(2), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = conv(channels, inner, into), nn.BatchNorm2d(inner)
        self.conv3, self.norm3 = conv(inner, channels, back), nn.BatchNorm2d(channels)
        self.act = ACTIVATIONS[activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = norm_act(self.conv1(self.pad(x)), self.norm1, self.act, pool=self.pool, pool_first=True)
        return x + norm_act(self.conv3(norm_act(self.conv2(x), self.norm2, self.act)), self.norm3, self.act)


class SprintPairs(nn.Module):
    """Images (batch, 3, resolution, resolution) float to logits (batch, classes); nothing is random.

    Images may have other sizes than `resolution`, from 16 px on. inner: the channels within each group's pair. Raises
    EngineError for a resolution below 16 px, and for widths that are not three rising numbers of 24 or more.
    """

    def __init__(self, classes: int, resolution: int = 32, *, widths: Sequence[int] = (64, 256, 768),
                 inner: Sequence[int] = (64, 192, 512), activation: str = "silu") -> None:
        super().__init__()
        check("model.classes", classes, classes >= 1, "1 or more")
        check("data.resolution", resolution, resolution >= 16, "16 px or more for sprint_pairs")
        check_one_of("model.activation", activation, ACTIVATIONS)
        check_widths(widths)
        check("model.inner", ",".join(map(str, inner)), len(inner) == 3 and min(inner) >= 1, "three numbers above 0")
        self.stem, self.act = WhiteningStem(), ACTIVATIONS[activation]()
        self.groups = nn.Sequential(*(PairGroup(before, channels, within, kernels, activation)
                                      for (before, channels), within, kernels
                                      in zip(pairwise((FILTERS, *widths)), inner, KERNELS, strict=True)))
        self.head = nn.Linear(widths[2], classes, bias=False)

    def whiten(self, images: torch.Tensor) -> None:
        """Fit the stem to `images`, see WhiteningStem."""
        self.stem.whiten(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.groups(act_alone(self.stem(images), self.act))
        x = F.max_pool2d(x, x.shape[2:]).flatten(1) + x.mean((2, 3))
        return self.head(x) * LOGIT_SCALE
