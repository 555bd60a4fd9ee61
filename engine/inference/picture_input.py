"""One picture of any kind, a file, bytes, Pillow's or numpy's, → the square RGB pixels that a network is given.

Colours become 8-bit RGB by the same code that reads training images from class folders: white where a picture is
transparent, 16-bit and floating values scaled, the first frame of an animation, turned as its EXIF orientation says.
"""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from engine.common.errors import EngineError
from loaders.common.errors import DataError
from loaders.common.files import read_bounded
from loaders.sources.image_file import MAX_PIXELS, on_white, to_8_bits

MAX_BYTES = 256 << 20
# EPS starts another program (Ghostscript); FITS is unpacked without a limit; IPTC holds a picture of any format, which
# Pillow opens without these limits.
NOT_OPENED = ("EPS", "FITS", "IPTC")
# Decoded in Python, a hundred times slower than the others.
SLOW, MOST_SLOW_PIXELS = ("QOI",), 4_000_000
LONGEST_REASON = 100


def read_picture(source: Path | bytes, side_px: int, name: str | None = None, stretch: bool = False,
                 max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A file, or the content of one, in any other format that Pillow opens: uint8 (side_px, side_px, 3), RGB.

    `name` is what errors call it (default: its path). `stretch` and the pixels are as `square` makes them. Raises
    EngineError, one line naming the picture, where it is missing, no regular file, no picture, cut short or damaged,
    or of more than max_bytes bytes or max_pixels pixels (MOST_SLOW_PIXELS in SLOW formats); the latter before anything
    is decoded.
    """
    name = plain(name if name is not None else "the picture" if isinstance(source, bytes) else source)
    content = source if isinstance(source, bytes) else file_content(source, max_bytes)
    if len(content) > max_bytes:
        raise EngineError(f"{name}: has {len(content):,} bytes; at most {max_bytes:,} are read: shrink it")
    if not content:
        raise EngineError(f"{name}: is empty: give a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A picture inside a picture (an icon's) may be larger than the outer one claims.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(content), formats=formats()) as image:
                slow = image.format in SLOW
                refuse_many_pixels(image, name, min(max_pixels, MOST_SLOW_PIXELS) if slow else max_pixels)
                image.load()
                return square(image, side_px, stretch)
    except EngineError:
        raise
    except UnidentifiedImageError:
        raise EngineError(f"{name}: is no picture of a kind that can be read: give a PNG, JPEG, WebP, GIF, TIFF, BMP "
                          "or the like") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise EngineError(f"{name}: has more pixels than the {max_pixels:,} that are decoded: shrink it") from None
    except Exception as error:
        # Decoders raise whatever a damaged file makes them trip over.
        reason = " ".join(plain(error).split())[:LONGEST_REASON] or type(error).__name__
        raise EngineError(f"{name}: is damaged or cut short ({reason}): replace it") from None


def picture_of(image: Image.Image, side_px: int, name: str = "the picture", stretch: bool = False,
               max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Pillow's image of any mode, as `read_picture`; it stays as it was."""
    refuse_many_pixels(image, name, max_pixels)
    try:
        return square(image.copy(), side_px, stretch)
    except (OSError, ValueError, SyntaxError) as error:
        reason = " ".join(plain(error).split())[:LONGEST_REASON]
        raise EngineError(f"{name}: cannot be decoded ({reason}): replace it") from None


def picture_of_array(pixels: np.ndarray, side_px: int, name: str = "the picture", stretch: bool = False) -> np.ndarray:
    """An array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA of uint8, as `read_picture`.

    Raises EngineError for another shape or type: floats may be scaled in many ways, and no guess is made.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.ndim == 3 and pixels.shape[2] in (3, 4)) \
            or not pixels.size:
        raise EngineError(f"{name}: is an array of {pixels.dtype} {pixels.shape}: give uint8 from 0 to 255, (height, "
                          "width, 3) in RGB, (height, width, 4) in RGBA or (height, width) in grey")
    return picture_of(Image.fromarray(np.ascontiguousarray(pixels)), side_px, name, stretch)


def square(image: Image.Image, side_px: int, stretch: bool = False) -> np.ndarray:
    """A decoded image as uint8 (side_px, side_px, 3): turned, resized (bicubic, antialiased), laid on white.

    The shorter side becomes side_px and the longer one is cropped around its middle: what the picture is of keeps its
    proportions, without bars that no network has seen, and stands in the middle more often than at an edge. With
    `stretch` all of it is squeezed into the square, which is what reading class folders does to training images.
    """
    ImageOps.exif_transpose(image, in_place=True)
    image, size = to_8_bits(image), (side_px, side_px)
    # Resized before white is laid under it: Pillow weighs colours by their alpha, and a small copy costs less.
    fitted = (image.resize(size, Image.Resampling.BICUBIC) if stretch
              else ImageOps.fit(image, size, Image.Resampling.BICUBIC))
    return np.array(on_white(fitted))


def refuse_many_pixels(image: Image.Image, name: str, max_pixels: int) -> None:
    """EngineError where an image, of which only the header need be read, has more than max_pixels or none."""
    width, height = image.size
    if width * height > max_pixels:
        raise EngineError(f"{name}: has {width} x {height} pixels; at most {max_pixels:,} are decoded: shrink it")
    if not width * height:
        raise EngineError(f"{name}: has {width} x {height} pixels: give a picture with some")


def formats() -> list[str]:
    """The formats of pictures that are read: Pillow's, without NOT_OPENED."""
    Image.init()
    return [name for name in Image.ID if name not in NOT_OPENED]


def suffixes() -> set[str]:
    """How the names of files in these formats end: lower-case, with the dot."""
    known = set(formats())
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in known}


def file_content(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file; EngineError where there is none or it has more than max_bytes."""
    try:
        return read_bounded(path, max_bytes)
    except (DataError, ValueError) as error:
        raise EngineError(plain(error)) from None


def plain(text: object) -> str:
    """`text` on one line, without what would drive a terminal or cannot be printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))
