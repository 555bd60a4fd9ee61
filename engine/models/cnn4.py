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

2,553,994 parameters at 10 classes and 32 px. Weights start with torch's defaults, as its author's did.
"""

from engine.models.conv_stack import ConvStack


class Cnn4(ConvStack):
    """See ConvStack; the resolution is a multiple of 8 px."""

    def __init__(self, classes: int, resolution: int = 32, *, dropout: float = 0.1) -> None:
        super().__init__("cnn4", classes, resolution, stages=[[32, 64], [128], [256]], hidden=[512, 128],
                         dropout=dropout)
