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
three or more convolutions per group, those after the first are one residual branch. `whiten` sets the stem's filters
from training images; of the stem only the bias trains.

1,971,352 trainable parameters and 118 million multiply-adds per image at widths 64, 256, 256 and 10 classes.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from engine.common.errors import check, check_one_of

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU}
# Added to the patches' variances before division by their roots: directions of mere noise stay small.
WHITEN_EPS = 5e-4


def norm(channels: int) -> nn.BatchNorm2d:
    """A batch norm with a shift and a fixed scale of 1, whose statistics follow the last few batches."""
    made = nn.BatchNorm2d(channels, eps=1e-5, momentum=0.4)
    made.weight.requires_grad_(False)
    return made


def conv(before: int, channels: int) -> nn.Conv2d:
    """A 3x3 convolution without bias whose first filters pass the input channels on (Dirac initialisation)."""
    made = nn.Conv2d(before, channels, 3, padding=1, bias=False)
    nn.init.dirac_(made.weight[:before])
    return made


class Group(nn.Module):
    """(batch, before, h, w) to (batch, channels, h // 2, w // 2)."""

    def __init__(self, before: int, channels: int, convs: int, activation: str):
        super().__init__()
        self.conv1, self.pool, self.norm1 = conv(before, channels), nn.MaxPool2d(2), norm(channels)
        self.act = ACTIVATIONS[activation]()
        self.rest = nn.ModuleList(nn.Sequential(conv(channels, channels), norm(channels)) for _ in range(convs - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = branch = self.act(self.norm1(self.pool(self.conv1(x))))
        for number, layer in enumerate(self.rest, 1):
            branch = layer(branch)
            if 1 < number == len(self.rest):
                branch = branch + x
            branch = self.act(branch)
        return branch


class Sprint(nn.Module):
    """Images (batch, 3, resolution, resolution) float to logits (batch, classes); nothing is random.

    Images may have other sizes than `resolution`, from 16 px on. Raises EngineError for a resolution below 16 px and
    for widths that are not three rising numbers of 24 or more.
    """

    def __init__(self, classes: int, resolution: int = 32, *, widths: Sequence[int] = (64, 256, 256), convs: int = 2,
                 activation: str = "gelu") -> None:
        super().__init__()
        filters = 2 * 3 * 2 * 2
        check("model.classes", classes, classes >= 1, "1 or more")
        check("model.convs", convs, convs >= 1, "1 or more")
        check("data.resolution", resolution, resolution >= 16, "16 px or more for sprint")
        check_one_of("model.activation", activation, ACTIVATIONS)
        check("model.widths", ",".join(map(str, widths)),
              len(widths) == 3 and list(widths) == sorted(widths) and widths[0] >= filters,
              f"three numbers, none below the one before it, the first at least {filters}")
        self.stem = nn.Conv2d(3, filters, 2, bias=True)
        self.stem.weight.requires_grad_(False)
        nn.init.zeros_(self.stem.bias)
        self.act = ACTIVATIONS[activation]()
        self.groups = nn.Sequential(*(Group(a, b, convs, activation) for a, b in pairwise((filters, *widths))))
        self.head = nn.Linear(widths[2], classes, bias=False)
        with torch.no_grad():
            self.head.weight /= self.head.weight.std()

    @torch.no_grad()
    def whiten(self, images: torch.Tensor) -> None:
        """Set the stem's filters from `images` (n, 3, height, width), normalised float: patches come out uncorrelated.

        The filters are the eigenvectors of the 2x2 patches' covariance over the roots of their eigenvalues, then the
        same negated. A pure function of the images, computed in float64 on their device.
        """
        patches = F.unfold(images.double(), 2).transpose(1, 2).reshape(-1, self.stem.weight[0].numel())
        covariance = patches.T @ patches / len(patches)
        values, vectors = torch.linalg.eigh(covariance)
        # The solver may choose either sign of a direction; the largest entry decides it.
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        filters = (vectors * largest.sign() / (values + WHITEN_EPS).sqrt()).T.flip(0)
        self.stem.weight.copy_(torch.cat([filters, -filters]).reshape(self.stem.weight.shape))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.groups(self.act(self.stem(images))).amax((2, 3))
        return self.head(x) / self.head.in_features
