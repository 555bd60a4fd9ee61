"""A policy as arrays for compiled code: opcode numbers, and the columns of the int64 tables."""

OPCODES = (
    "crop", "flip", "affine", "perspective", "enlarge", "shrink",
    "brightness", "contrast", "saturation", "hue", "jitter", "gray", "invert", "solarize", "posterize",
    "noise", "equalize", "autocontrast", "sharpness", "blur",
    "cutout", "erase", "coarse_dropout",
)
(
    CROP, FLIP, AFFINE, PERSPECTIVE, ENLARGE, SHRINK,
    BRIGHTNESS, CONTRAST, SATURATION, HUE, JITTER, GRAY, INVERT, SOLARIZE, POSTERIZE,
    NOISE, EQUALIZE, AUTOCONTRAST, SHARPNESS, BLUR,
    CUTOUT, ERASE, COARSE_DROPOUT,
) = range(len(OPCODES))

KINDS = ("move", "shrink", "photo", "cover")
MOVE, SHRINKING, PHOTO, COVER = range(len(KINDS))

FILL_NAMES = ("zero", "mean", "reflect", "noise")
ZERO, MEAN, REFLECT, NOISE_FILL = range(len(FILL_NAMES))

# passes: one row per pass; FIRST and LAST bound its rows of ops
PASS_KIND, PASS_FIRST, PASS_LAST, PASS_IN_H, PASS_IN_W, PASS_OUT_H, PASS_OUT_W, PASS_FILL = range(8)
# ops: one row per op; TABLE is the offset of its table in the flat one, C0..C3 its constants
(
    OP_CODE, OP_SLOT, OP_H, OP_W, OP_GATE_FIRST, OP_GATE_LAST, OP_RANGE, OP_TABLE, OP_FILL, C0, C1, C2, C3,
) = range(13)
# gates and ranges: as the fields of loaders.policy.passes.Gate and Range
GATE_SLOT, GATE_LOW, GATE_HIGH = range(3)
RANGE_SLOT, RANGE_BASE, RANGE_OFFSET, RANGE_SPAN, RANGE_STEPS, RANGE_SIGNED, RANGE_WHOLE = range(7)
