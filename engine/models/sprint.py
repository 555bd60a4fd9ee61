"""A network for the shortest time to an accuracy: a whitened stem, three groups of convolutions, a linear head.

    images       3 x 32 x 32
    stem        24 x 31 x 31    conv 2x2 of fixed whitening filters (12 directions and their negatives), activation
    group 1   w[0] x 15 x 15    conv 3x3, max-pool 2, BN, activation; then (convs - 1) x [conv 3x3, BN, activation]
    group 2   w[1] x  7 x  7    the same
    group 3   w[2] x  3 x  3    the same
    max-pool  w[2]              over the pixels
    head    classes             no bias; logits divided by w[2]

After Jordan, cifar10-airbench (arXiv:2404.00498). The norms have a shift but no scale, and follow the batches fast
(momentum .4). Convolutions start as partial identities, so the untrained network passes the whitened patches on; with
three or more convolutions per group, those after the first are one residual branch.

1,971,352 trainable parameters and 118 million multiply-adds per image at widths 64, 256, 256 and 10 classes.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from engine.common.errors import check, check_one_of
from engine.kernels.fused_norm import act_alone, norm_act
from engine.models.whitening import FILTERS, WhiteningStem

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}
# The largest value of each channel of (B, C, h, w), as (B, C). Of equal ones max gives the whole gradient to the first,
# amax gives each its share.
POOLS = {"max": lambda x: F.max_pool2d(x, x.shape[2:]).flatten(1), "amax": lambda x: x.amax((2, 3))}


def norm(channels: int, eps: float) -> nn.BatchNorm2d:
    """A batch norm with a shift and a fixed scale of 1, whose statistics follow the last few batches."""
    made = nn.BatchNorm2d(channels, eps=eps, momentum=0.4)
    made.weight.requires_grad_(False)
    return made


def conv(before: int, channels: int, kernel_px: int = 3) -> nn.Conv2d:
    """A convolution without bias whose first filters pass the input channels on (Dirac initialisation).

    An odd kernel keeps the images' size, a kernel of 2 px makes them 1 px smaller.
    """
    made = nn.Conv2d(before, channels, kernel_px, padding=(kernel_px - 1) // 2, bias=False)
    nn.init.dirac_(made.weight[:before])
    return made


def check_widths(widths: Sequence[int]) -> None:
    """EngineError unless each group can pass the channels before it on."""
    check("model.widths", ",".join(map(str, widths)),
          len(widths) == 3 and list(widths) == sorted(widths) and widths[0] >= FILTERS,
          f"three numbers, none below the one before it, the first at least {FILTERS}")


class Group(nn.Module):
    """(batch, before, h, w) to (batch, channels, h // 2, w // 2)."""

    def __init__(self, before: int, channels: int, convs: int, activation: str, norm_eps: float = 1e-5):
        super().__init__()
        self.conv1, self.pool, self.norm1 = conv(before, channels), nn.MaxPool2d(2), norm(channels, norm_eps)
        self.act = ACTIVATIONS[activation]()
        self.rest = nn.ModuleList(nn.Sequential(conv(channels, channels), norm(channels, norm_eps))
                                  for _ in range(convs - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = branch = norm_act(self.conv1(x), self.norm1, self.act, pool=self.pool, pool_first=True)
        for number, (layer, norm) in enumerate(self.rest, 1):
            branch = layer(branch)
            if 1 < number == len(self.rest):
                branch = self.act(norm_act(branch, norm) + x)
            else:
                branch = norm_act(branch, norm, self.act)
        return branch


class Sprint(nn.Module):
    """Images (batch, 3, resolution, resolution) float to logits (batch, classes); nothing is random.

    Images may have other sizes than `resolution`, from 16 px on. pool: one of POOLS; stem_bias: the start of the stem's
    bias, see WhiteningStem. Raises EngineError for a resolution below 16 px, for widths that are not three rising
    numbers of 24 or more, and for amax beside another activation than ReLU.
    """

    def __init__(self, classes: int, resolution: int = 32, *, widths: Sequence[int] = (64, 256, 256), convs: int = 2,
                 activation: str = "gelu", pool: str = "max", norm_eps: float = 1e-5, stem_bias: str = "zero") -> None:
        super().__init__()
        check("model.classes", classes, classes >= 1, "1 or more")
        check("model.convs", convs, convs >= 1, "1 or more")
        check("data.resolution", resolution, resolution >= 16, "16 px or more for sprint")
        check("model.norm_eps", norm_eps, norm_eps > 0, "above 0")
        check_one_of("model.activation", activation, ACTIVATIONS)
        check_one_of("model.pool", pool, POOLS)
        # A compiled backward pass computes other activations again, in fp32: none equals the rounded maximum, and the
        # shares become 0 / 0.
        check("model.pool", pool, pool != "amax" or activation == "relu",
              f"max: amax needs model.activation=relu, not {activation}")
        check_widths(widths)
        self.stem = WhiteningStem(stem_bias)
        self.act, self.pool = ACTIVATIONS[activation](), pool
        self.groups = nn.Sequential(*(Group(a, b, convs, activation, norm_eps)
                                      for a, b in pairwise((FILTERS, *widths))))
        self.head = nn.Linear(widths[2], classes, bias=False)
        with torch.no_grad():
            self.head.weight /= self.head.weight.std()

    def whiten(self, images: torch.Tensor) -> None:
        """Fit the stem to `images`, see WhiteningStem."""
        self.stem.whiten(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = POOLS[self.pool](self.groups(act_alone(self.stem(images), self.act)))
        return self.head(x) / self.head.in_features
