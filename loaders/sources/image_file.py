"""An image file of any known kind → square RGB pixels."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from loaders.common.errors import DataError

MAX_PIXELS = 64_000_000
# Listed, because Pillow would also try formats that start other programs (EPS calls Ghostscript).
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000")
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


def square_rgb(content: bytes, path: str | Path, resolution: int) -> np.ndarray:
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
            return np.asarray(on_white(to_8_bits(image).resize((resolution, resolution), Image.Resampling.BICUBIC)))
    except DataError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: is not an image of a known kind and size; known are {', '.join(FORMATS)}, up to "
                        f"{MAX_PIXELS:,} pixels; remove or replace it") from error
    except Exception as error:
        # A damaged file can make a decoder raise any error.
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise DataError(f"{path}: is a damaged image ({reason}); remove or replace it") from error


def to_8_bits(image: Image.Image) -> Image.Image:
    """An image of any Pillow mode as RGB, or as RGBA if parts of it are transparent.

    16-bit grey (0..65535) is divided by 257, where Pillow would clip it at 255; so is the 32-bit integer mode, which
    Pillow also uses for 16-bit files. Floating point counts as 0..1 if no value exceeds 1, else as 0..255. Raises
    ValueError for values outside these ranges.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _scaled_grey(image).convert("RGB")
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


def _scaled_grey(image: Image.Image) -> Image.Image:
    """Mode L of a one-channel image with more than 8 bits; a transparent value becomes white."""
    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    limit = 65535 if image.mode != "F" else 1 if high <= 1 else 255
    if not 0 <= low <= high <= limit:
        raise ValueError(f"values from {low:.6g} to {high:.6g} in mode {image.mode}, allowed 0 to {limit}")
    grey = np.rint(values * (255 / limit)).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)
