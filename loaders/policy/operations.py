"""The operations of the policy language: a table of names, parameters, ranges and contracts.

Every operation maps uint8 images (height, width, 3), RGB. A "move" changes where pixels come from, and a run of moves
is one sampling of the source; "photo" changes values; "cover" paints rectangles; "macro" stands for several others; a
"wrapper" decides whether others act. Contracts name draws by slot (`counter_rng`); slot 15 is the gate of `p`. Reading
a policy quantises factors and angles to 2**-16 and probabilities to 2**-24: executors see integers only.
"""

from dataclasses import dataclass

FILLS = ("zero", "mean", "reflect")
COVERS = ("zero", "mean", "noise")


@dataclass(frozen=True)
class Parameter:
    """One parameter: kind, allowed values, unit, and default (None: required).

    kind "int" and "number" lie in [low, high]; "interval" is (a, b) with low <= a <= b <= high, or one number v for
    (-v, v) ("symmetric"), (max(0, 1 - v), 1 + v) ("factor") or (v, v) ("exact"); "int_interval" is an integer or a pair
    of integers; "choice" is a bare word.
    """

    name: str
    kind: str
    low: float = 0.0
    high: float = 1.0
    default: object = None
    unit: str = ""
    single: str = "exact"
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """One operation: its kind, its parameters, a line for plans, and its contract (draws, exactness, source)."""

    name: str
    kind: str
    parameters: tuple[Parameter, ...]
    summary: str
    contract: str

    def parameter(self, name: str) -> Parameter | None:
        return next((p for p in self.parameters if p.name == name), None)


def _p(default: float) -> Parameter:
    return Parameter("p", "number", 0.0, 1.0, default, "probability")


def _fill(choices: tuple[str, ...] = FILLS, default: str = "zero") -> Parameter:
    return Parameter("fill", "choice", default=default, choices=choices)


def _factor(name: str) -> Parameter:
    return Parameter(name, "interval", 0.0, 10.0, 0.0, "factor", "factor")


SPECS = (
    Spec("crop", "move", (Parameter("pad_px", "int", 1, 512, None, "px"), _fill()),
         "shifts by up to pad_px each way (pad on all sides, then crop at random to the former size)",
         "Slot 0: high half dy, low half dx, uniform integers in [-pad_px, pad_px]. Exact. Source: He et al. 2016."),
    Spec("flip", "move", (_p(0.5),), "mirrors left and right with probability p", "No draw but the gate. Exact."),
    Spec("flip_alternate", "move", (),
         "mirrors every image every other epoch; which half starts is drawn once per sample",
         "A bit of (seed, sample), flipped every epoch. Exact. Source: Jordan, cifar10-airbench, arXiv:2404.00498."),
    Spec("affine", "move",
         (Parameter("rotate_deg", "interval", -180.0, 180.0, 0.0, "degrees clockwise", "symmetric"),
          Parameter("translate", "interval", -1.0, 1.0, 0.0, "fraction of the size", "symmetric"),
          Parameter("scale", "interval", 0.1, 10.0, 1.0, "factor"),
          Parameter("shear_deg", "interval", -80.0, 80.0, 0.0, "degrees, x", "symmetric"), _fill()),
         "rotates, shifts, scales and shears about the centre; an interval such as translate=(0, .1) is one-sided",
         "Slots 0 angle, 1 and 2 shift x and y (of width and height), 3 scale, 4 shear. torchvision's affine matrix."),
    Spec("perspective", "move",
         (Parameter("distortion", "number", 0.0, 0.6, 0.5, "fraction of half the size"), _p(0.5), _fill()),
         "moves each corner inwards by up to distortion times half the size, with probability p",
         "Slots 0-3: corners clockwise from top left; high half x, low half y. torchvision's RandomPerspective."),
    Spec("resize", "move", (Parameter("px", "int", 4, 512, None, "px"),),
         "makes the image px by px: enlarging joins the one sampling of the moves, shrinking is an anti-aliased pass",
         "No draw. Enlarging: half-pixel centres, bilinear. Shrinking: torchvision's anti-aliased bilinear."),
    Spec("jitter", "photo",
         (_factor("brightness"), _factor("contrast"), _factor("saturation"),
          Parameter("hue", "interval", -0.5, 0.5, 0.0, "turns", "symmetric")),
         "brightness, contrast, saturation and hue, in an order drawn per image",
         "Slots 0-3 the four factors, 4 the order (24 permutations, lexicographic). torchvision's ColorJitter."),
    Spec("gray", "photo", (_p(0.1),), "makes the image gray with probability p",
         "No draw but the gate. (19589 r + 38470 g + 7471 b) >> 16: torchvision's .2989, .587, .114 and truncation."),
    Spec("blur", "photo", (Parameter("kernel_px", "int", 3, 31, None, "px, odd"),
                           Parameter("sigma", "interval", 0.01, 20.0, None, "px")),
         "Gaussian blur of kernel_px with a sigma drawn from the interval",
         "Slot 0: one of 64 equal steps of sigma. Separable, reflected edges, 14-bit weights."),
    Spec("noise", "photo", (Parameter("sigma", "interval", 0.0, 1.0, None, "fraction of full scale"),),
         "adds Gaussian noise of a sigma drawn from the interval, independently to every value",
         "Slot 0 sigma, 1 the key of the noise: for each value the sum of the 8 bytes of a 64-bit draw. Exact."),
    Spec("invert", "photo", (), "inverts all values", "No draw. 255 - v."),
    Spec("solarize", "photo", (Parameter("threshold", "interval", 0.0, 256.0, 128.0, "grey levels"),),
         "inverts the values at or above a threshold", "Slot 0 threshold. Exact."),
    Spec("posterize", "photo", (Parameter("bits", "int", 1, 8, None, "bits"),),
         "keeps the highest bits of every value", "No draw. Exact."),
    Spec("equalize", "photo", (), "equalises the histogram of each channel",
         "No draw. Pillow's and torchvision's table. Exact."),
    Spec("autocontrast", "photo", (), "stretches each channel to 0..255", "No draw. (v - min) * 255 // (max - min)."),
    Spec("sharpness", "photo", (Parameter("factor", "interval", 0.0, 10.0, None, "factor"),),
         "blends with a smoothed image (below 1) or away from it (above 1)",
         "Slot 0 factor. torchvision's adjust_sharpness; the outermost pixels stay."),
    Spec("cutout", "cover", (Parameter("hole_px", "int", 1, 512, None, "px"), _fill(COVERS)),
         "covers one square that lies inside the image",
         "Slot 0: high half top, low half left; slot 14 the noise. Exact. DeVries & Taylor, arXiv:1708.04552, FFCV."),
    Spec("erase", "cover",
         (_p(0.5), Parameter("scale", "interval", 0.0, 1.0, (0.02, 0.33), "fraction of the area"),
          Parameter("ratio", "interval", 0.01, 100.0, (0.3, 3.3), "height / width"), _fill(COVERS, "mean")),
         "covers a random rectangle with probability p (fill=mean is zero after normalising)",
         "Slots 0-9: tries; top 24 bits the area, low 8 bits one of 256 log-uniform ratios; the first that is smaller "
         "than the image both ways counts. Slot 10: high half top, low half left; 14 the noise. Exact. Source: Zhong et"
         " al., arXiv:1708.04896, torchvision's RandomErasing."),
    Spec("coarse_dropout", "cover", (Parameter("hole_px", "int_interval", 1, 512, None, "px"),
                                     Parameter("holes", "int_interval", 1, 7, 1, "holes"), _fill(COVERS, "mean")),
         "covers a drawn number of rectangles of drawn height and width",
         "Hole k: slot 2k high half height, low half width; 2k + 1 top, left. Slot 14: number of holes, noise. Exact."),
    Spec("trivial_wide", "macro", (_fill(),), "one of 14 operations at a strength drawn from 31",
         "Slot 0 which, 1 strength and sign (rotations clockwise). Müller & Hutter, arXiv:2103.10158; torchvision."),
    Spec("rand_augment", "macro",
         (Parameter("n", "int", 1, 7, 2, "operations"), Parameter("magnitude", "int", 0, 30, 9, "of 30"), _fill()),
         "n times one of 14 operations at a fixed strength",
         "Round k: slot 2k which, 2k + 1 the sign. Cubuk et al., arXiv:1909.13719, torchvision's ranges."),
    Spec("maybe", "wrapper", (_p(None),), "all of its operations together with probability p, or none",
         "maybe(p, op, ...): slot 15."),
    Spec("one_of", "wrapper", (_p(None),), "with probability p, one of its operations, each equally likely",
         "one_of(p, op, op, ...): slot 15 decides whether and which."),
)

BY_NAME = {spec.name: spec for spec in SPECS}
