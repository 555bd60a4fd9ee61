"""The CNN family of the "CIFAR-10 and CIFAR-100 CNN study": depth, width, kernel, norm and dropout are parameters.

    images    3 x R x R
    stage 1   w x R/2 x R/2     convs (kernel, norm, ReLU), then max-pool 2
    stage 2  2w x R/4 x R/4     the same
    stage 3  4w x R/8 x R/8     the same
    head     "average": mean over the pixels, dropout, fc to the classes
             "flatten": flatten, fc 8w, ReLU, dropout, fc to the classes

`depth` convolutions are spread over the stages as evenly as possible, later stages first (depth 4: 1, 1, 2; 6: 2, 2,
2); a depth of 2 has two stages. Convolutions start as Kaiming fan-out (He et al. 2015). The study uses 4 to 6
convolutions with batch norm. Depth 6 has 288,746 parameters at width 32, 10 classes and an average head.
"""

from engine.common.errors import check, check_one_of
from engine.models.conv_stack import NORMS, ConvStack, start_kaiming


class Cnn(ConvStack):
    """See ConvStack.

    width: channels of the first stage, doubled in each further stage. kernel_px: odd. norm: "batch", "group" (at most 8
    groups) or "none". Also raises EngineError for other values and a depth below 2.
    """

    def __init__(self, classes: int, resolution: int = 32, *, depth: int = 6, width: int = 32, kernel_px: int = 3,
                 dropout: float = 0.1, norm: str = "batch", head: str = "average") -> None:
        check("model.depth", depth, depth >= 2, "2 or more")
        check("model.width", width, width >= 1, "1 or more")
        check("model.kernel_px", kernel_px, kernel_px >= 1 and kernel_px % 2 == 1, "odd and positive")
        check_one_of("model.norm", norm, NORMS)
        check_one_of("model.head", head, ("average", "flatten"))
        count = min(3, depth)
        super().__init__("cnn", classes, resolution, dropout=dropout, kernel_px=kernel_px, norm=norm,
                         stages=[[width * 2**stage] * ((depth + stage) // count) for stage in range(count)],
                         hidden=[8 * width] if head == "flatten" else [], bias=norm == "none")
        start_kaiming(self)
