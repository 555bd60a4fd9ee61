"""How a policy lies in arrays for compiled code: opcode numbers, and what each column of the int64 tables holds."""

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

# stages: one row a stage
STAGE_KIND, STAGE_FIRST, STAGE_LAST, STAGE_IN_H, STAGE_IN_W, STAGE_OUT_H, STAGE_OUT_W, STAGE_FILL = range(8)
# steps: one row a step; TABLE is the offset of its table in the flat one, C0..C3 its constants
(
    STEP_OPCODE, STEP_SLOT, STEP_H, STEP_W, STEP_GATE_FIRST, STEP_GATE_LAST, STEP_RANGE, STEP_TABLE, STEP_FILL,
    C0, C1, C2, C3,
) = range(13)
# gates and ranges: as the fields of loaders.policy.steps.Gate and Range
GATE_SLOT, GATE_LOW, GATE_HIGH = range(3)
RANGE_SLOT, RANGE_BASE, RANGE_OFFSET, RANGE_SPAN, RANGE_STEPS, RANGE_SIGNED, RANGE_WHOLE = range(7)
