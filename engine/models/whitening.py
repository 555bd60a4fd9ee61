"""A first convolution of fixed filters that make the pixels of small patches uncorrelated."""

import torch
import torch.nn.functional as F
from torch import nn

from engine.common.errors import check_one_of

SIDE_PX, CHANNELS = 2, 3
# A filter for each direction of a patch, and its negative.
FILTERS = 2 * CHANNELS * SIDE_PX**2
# Added to the patches' variances before division by their roots: directions of mere noise stay small.
WHITEN_EPS = 5e-4
BIASES = ("zero", "uniform")


class WhiteningStem(nn.Conv2d):
    """Images (B, 3, height, width) to (B, 24, height - 1, width - 1); only the bias trains.

    bias: where it starts, "zero", or "uniform" between -1 and 1 over the root of a patch's 12 numbers, torch's own
    start, drawn from its generator.
    """

    def __init__(self, bias: str = "zero"):
        check_one_of("model.stem_bias", bias, BIASES)
        super().__init__(CHANNELS, FILTERS, SIDE_PX, bias=True)
        self.weight.requires_grad_(False)
        if bias == "zero":
            nn.init.zeros_(self.bias)

    @torch.no_grad()
    def whiten(self, images: torch.Tensor) -> None:
        """Set the filters from `images` (n, 3, height, width), normalised float: patches come out uncorrelated.

        The filters are the eigenvectors of the 2x2 patches' covariance over the roots of their eigenvalues, then the
        same negated. A pure function of the images, computed in float64 on their device.
        """
        patches = F.unfold(images.double(), SIDE_PX).transpose(1, 2).reshape(-1, FILTERS // 2)
        covariance = patches.T @ patches / len(patches)
        values, vectors = torch.linalg.eigh(covariance)
        # The solver may choose either sign of a direction; the largest entry decides it.
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        filters = (vectors * largest.sign() / (values + WHITEN_EPS).sqrt()).T.flip(0)
        self.weight.copy_(torch.cat([filters, -filters]).reshape(self.weight.shape))
