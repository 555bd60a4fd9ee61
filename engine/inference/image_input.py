"""Any image (file, bytes, Pillow, NumPy) -> the square RGB pixels that a network takes.

Colours become 8-bit RGB by the same code that reads training images from class folders: transparency becomes white,
16-bit and floating-point values are scaled, an animation gives its first frame, and EXIF orientation is applied.
"""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from engine.common.errors import EngineError
from loaders.common.errors import DataError
from loaders.common.files import read_bounded
from loaders.sources.image_file import MAX_PIXELS, NOT_OPENED, OutOfRange, on_white, to_8_bits

MAX_BYTES = 256 << 20
FORMATS = [name for name in Image.ID if name not in NOT_OPENED]
# Decoded in Python, a hundred times slower than the others.
SLOW, MOST_SLOW_PIXELS = ("QOI",), 4_000_000
LONGEST_REASON = 100


def read_image(source: Path | bytes, side_px: int, name: str | None = None, stretch: bool = False,
               float_max: int = 1, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A file, or the content of one, in any format that Pillow opens except NOT_OPENED: `square` of its pixels.

    Raises EngineError, one line that calls it `name` (default: its path), if it is missing, not a regular file, not an
    image, damaged, or has more than max_bytes bytes or max_pixels pixels (counted before decoding).
    """
    name = printable(name if name is not None else "the image" if isinstance(source, bytes) else source)
    content = source if isinstance(source, bytes) else file_content(source, max_bytes)
    if len(content) > max_bytes:
        raise EngineError(f"{name}: has {len(content):,} bytes; at most {max_bytes:,} are read: shrink it")
    if not content:
        raise EngineError(f"{name}: is empty: give an image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # An image inside an image (an icon's) may be larger than the outer one claims.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(content), formats=FORMATS) as image:
                refuse_many_pixels(image, name, min(max_pixels, MOST_SLOW_PIXELS) if image.format in SLOW
                                   else max_pixels)
                image.load()
                return square(image, side_px, stretch, float_max)
    except EngineError:
        raise
    except OutOfRange as error:
        raise EngineError(f"{name}: has {error}: rescale it, or save it with 8 bits") from None
    except UnidentifiedImageError:
        raise EngineError(f"{name}: is not an image that can be read: give a PNG, JPEG, WebP, GIF, TIFF or BMP, for "
                          "example") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise EngineError(f"{name}: has more pixels than the {max_pixels:,} that are decoded: shrink it") from None
    except Exception as error:  # Decoders raise all kinds of errors for damaged files.
        raise EngineError(f"{name}: is damaged or truncated ({reason_of(error)}): replace it") from None


def from_pillow(image: Image.Image, side_px: int, name: str = "the image", stretch: bool = False,
                float_max: int = 1) -> np.ndarray:
    """`square` of a Pillow image of any mode, which stays unchanged; EngineError as `read_image`."""
    refuse_many_pixels(image, name, MAX_PIXELS)
    try:
        return square(image.copy(), side_px, stretch, float_max)
    except OutOfRange as error:
        raise EngineError(f"{name}: has {error}: rescale it, or give 8 bits") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise EngineError(f"{name}: cannot be decoded ({reason_of(error)}): replace it") from None


def pillow_of(pixels: np.ndarray, name: str = "the image") -> Image.Image:
    """The Pillow image of a uint8 array (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA. Raises EngineError for
    another shape or type: floats may be scaled in many ways, so nothing is guessed."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.ndim == 3 and pixels.shape[2] in (3, 4)) \
            or not pixels.size:
        raise EngineError(f"{name}: is an array of {pixels.dtype} {pixels.shape}: give uint8 from 0 to 255, (height, "
                          "width, 3) in RGB, (height, width, 4) in RGBA or (height, width) in grey")
    return Image.fromarray(np.ascontiguousarray(pixels))


def square(image: Image.Image, side_px: int, stretch: bool = False, float_max: int = 1) -> np.ndarray:
    """A decoded image as uint8 (side_px, side_px, 3), RGB: turned upright, resized (bicubic, antialiased), on white.

    The longer side is cropped around its middle, which keeps proportions and adds no bars that the network has never
    seen. With `stretch`, the whole image is squeezed into the square, as training images from class folders are.
    float_max: white of a floating-point image, 1 or 255.
    """
    ImageOps.exif_transpose(image, in_place=True)
    image, size = to_8_bits(image, float_max), (side_px, side_px)
    # White goes under it after the resize: Pillow weights colours by their alpha, and a small copy costs less.
    fitted = (image.resize(size, Image.Resampling.BICUBIC) if stretch
              else ImageOps.fit(image, size, Image.Resampling.BICUBIC))
    return np.array(on_white(fitted))


def refuse_many_pixels(image: Image.Image, name: str, max_pixels: int) -> None:
    """EngineError if an image has more than max_pixels pixels, or none; needs only its header."""
    width, height = image.size
    if not 0 < width * height <= max_pixels:
        raise EngineError(f"{name}: has {width} x {height} pixels; from 1 to {max_pixels:,} are decoded: resize it")


def file_content(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file; EngineError if there is none or it has more than max_bytes."""
    try:
        return read_bounded(path, max_bytes)
    except (DataError, ValueError) as error:
        raise EngineError(printable(error)) from None


def reason_of(error: Exception) -> str:
    """An error's message on one short line."""
    return " ".join(printable(error).split())[:LONGEST_REASON] or type(error).__name__


def printable(text: object) -> str:
    """`text` on one line, with "?" for every character that cannot be printed."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))
