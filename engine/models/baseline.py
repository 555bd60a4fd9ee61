"""The baseline CNN of the "CIFAR-100 baseline CNN" project: three conv blocks and a two-layer head.

    images      3 x 32 x 32
    block 1    64 x 16 x 16    conv 3x3, BN, ReLU, max-pool 2
    block 2   128 x  8 x  8    the same
    block 3   256 x  4 x  4    the same
    flatten  4096
    fc        512              ReLU, dropout
    fc    classes

2,520,676 parameters at 100 classes and 32 px. Weights start with torch's defaults, as its author's did.
"""

from engine.models.conv_stack import ConvStack


class Baseline(ConvStack):
    """See ConvStack; the resolution is a multiple of 8 px."""

    def __init__(self, classes: int, resolution: int = 32, *, dropout: float = 0.5) -> None:
        super().__init__("baseline", classes, resolution, stages=[[64], [128], [256]], hidden=[512], dropout=dropout)
