"""An image file of any known kind → square RGB pixels."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from loaders.common.errors import DataError

MAX_PIXELS = 64_000_000
# Listed, because Pillow would also try formats that start other programs (EPS calls Ghostscript).
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000")
# EPS starts another program (Ghostscript); FITS is unpacked without a limit; IPTC contains an image of any format,
# which Pillow opens without these limits; of the others Pillow knows only the name.
NOT_OPENED = ("EPS", "FITS", "IPTC", "BUFR", "GRIB", "HDF5", "MPEG", "WMF")
Image.init()
# The endings of images' names: lower-case, with the dot.
SUFFIXES = {suffix for suffix, kind in Image.registered_extensions().items()
            if kind in Image.ID and kind not in NOT_OPENED}
# How far a floating-point value may lie outside its range, as a share of white: half a level of 8 bits.
HALF_LEVEL = 0.5 / 255
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


class OutOfRange(ValueError):
    """An image has values beyond white or below black."""


def is_image(path: Path) -> bool:
    """Whether a file is an image by its suffix, or, where that says nothing, by its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except Exception:  # a file of another kind can make a decoder raise any error
        return False


def square_rgb(content: bytes, path: str | Path, resolution: int, float_max: int = 1) -> np.ndarray:
    """Decode an image and resize it to a square: uint8 (resolution, resolution, 3), RGB.

    Takes the first frame of an animation, applies the EXIF orientation, puts white behind transparency, scales 16-bit
    and floating-point values to 8 bits (see to_8_bits) and stretches images to a square; bicubic, antialiased. path
    only names the image in errors: DataError if it is not an image, damaged, or has more than MAX_PIXELS pixels.
    """
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(f"{path}: has {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded; shrink it")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            # Resized first: Pillow weights colours by their alpha, and white behind a small copy costs less.
            small = to_8_bits(image, float_max).resize((resolution, resolution), Image.Resampling.BICUBIC)
            return np.asarray(on_white(small))
    except DataError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: is not an image of a known kind and size; known are {', '.join(FORMATS)}, up to "
                        f"{MAX_PIXELS:,} pixels; remove or replace it") from error
    except OutOfRange as error:
        raise DataError(f"{path}: has {error}; rescale or remove it") from error
    except Exception as error:
        # A damaged file can make a decoder raise any error.
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise DataError(f"{path}: is a damaged image ({reason}); remove or replace it") from error


def to_8_bits(image: Image.Image, float_max: int = 1) -> Image.Image:
    """An image of any Pillow mode as RGB, or as RGBA if parts of it are transparent.

    16-bit grey (0..65535) is divided by 257, where Pillow would clip it at 255; so is the 32-bit integer mode, which
    Pillow also uses for 16-bit files. Floating point runs from 0 to float_max (1 or 255), and what lies outside by no
    more than half a level of 8 bits is clipped. Raises OutOfRange for other values.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _scaled_grey(image, float_max if image.mode == "F" else 65535).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    transparent = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB")


def on_white(image: Image.Image) -> Image.Image:
    """RGB or RGBA as RGB, with white wherever it is transparent."""
    if image.mode == "RGB":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _scaled_grey(image: Image.Image, white: int) -> Image.Image:
    """Mode L of a one-channel image with more than 8 bits, from 0 to `white`; a transparent value becomes white."""
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    over = HALF_LEVEL * white if image.mode == "F" else 0
    if not -over <= low <= high <= white + over:
        kind = "floating-point" if image.mode == "F" else "integer"
        raise OutOfRange(f"{kind} values from {low:.6g} to {high:.6g}, and 0 to {white} are allowed")
    grey = np.rint((values * (255 / white)).clip(0, 255)).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)
