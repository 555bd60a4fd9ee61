"""The scale of floating-point images: a data set has one, which its files tell together."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from loaders.common.errors import DataError
from loaders.common.text import listed
from loaders.sources.image_file import FORMATS, HALF_LEVEL, MAX_PIXELS

MOST_SHOWN = 3


def highest_value(path: Path) -> float | None:
    """The highest value of a floating-point image; None for other images, and for what cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.mode != "F" or image.width * image.height > MAX_PIXELS:
                return None
            return float(np.asarray(image).max())
    except Exception:  # a damaged file can make a decoder raise any error
        return None


def dark_notes(highest: Mapping[Path, float], white: int) -> tuple[str, ...]:
    """A line for the user where all images look black because `white` is not theirs; none where it is."""
    if white == 1 or not 0 < max(highest.values()) <= 1 + HALF_LEVEL:
        return ()
    return (f"all {len(highest):,} floating-point images stay within 0 to 1 and are nearly black, because white is "
            f"data.float_max={white}",)


def white_of(highest: Mapping[Path, float]) -> int:
    """What all floating-point images of a data set show as white, 1 or 255, from the highest value of each.

    A black image tells nothing. DataError where some stay within 0..1 and others do not, and where none is near either.
    """
    unit = [path for path, value in highest.items() if HALF_LEVEL < value <= 1 + HALF_LEVEL]
    above = [path for path, value in highest.items() if value > 1 + HALF_LEVEL]
    if not above:
        return 1
    most = max(highest[path] for path in above)
    if unit:
        raise DataError(f"{len(unit):,} floating-point images stay within 0 to 1 ({listed(unit, MOST_SHOWN)}) and "
                        f"{len(above):,} go up to {most:.6g} ({listed(above, MOST_SHOWN)}), so what is white is not "
                        "known; bring all into 0 to 1, or set --data.float_max=255 if 255 is white")
    if most < 2:
        raise DataError(f"{len(above):,} floating-point images go up to {most:.6g} ({listed(above, MOST_SHOWN)}), and "
                        "white is 1 or 255; bring them into 0 to 1")
    return 255
