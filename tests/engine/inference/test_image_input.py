import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.common.errors import EngineError
from engine.inference import image_input
from engine.inference.image_input import FORMATS, from_pillow, pillow_of, printable, read_image, square
from loaders.sources.image_file import SUFFIXES, square_rgb
from tests.engine.image_files import png, stored

RGB = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)


def refusal(*arguments, **options):
    with pytest.raises(EngineError) as caught:
        read_image(*arguments, **options)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 250
    return line


@pytest.mark.parametrize("stretch", [False, True])
@pytest.mark.parametrize("side_px", [5, 12, 31])
def test_a_square_image_gets_the_pixels_that_training_reads(side_px, stretch):
    content = stored(Image.fromarray(RGB))
    assert np.array_equal(read_image(content, side_px, stretch=stretch), square_rgb(content, "a", side_px))


def test_stretching_gives_the_pixels_of_class_folders_for_any_shape():
    content = stored(Image.fromarray(RGB[:, :5]))
    assert np.array_equal(read_image(content, 8, stretch=True), square_rgb(content, "a", 8))


@pytest.mark.parametrize("turned", [False, True])
def test_the_longer_side_is_cropped_around_its_middle(turned):
    pixels = np.zeros((6, 18, 3), np.uint8)
    pixels[:, :6], pixels[:, 6:12], pixels[:, 12:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    pixels = pixels.transpose(1, 0, 2) if turned else pixels
    assert (read_image(stored(Image.fromarray(pixels)), 6) == (0, 255, 0)).all()
    stretched = read_image(stored(Image.fromarray(pixels)), 6, stretch=True)
    assert stretched.argmax(2).ravel().tolist().count(0) == 12


def test_a_crop_is_what_resizing_and_then_cropping_gives():
    wide = Image.fromarray(np.random.default_rng(2).integers(0, 256, (40, 120, 3), dtype=np.uint8))
    resized = np.asarray(wide.resize((24, 8), Image.Resampling.BICUBIC))
    assert np.array_equal(read_image(stored(wide), 8), resized[:, 8:16])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    ways = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}
    image = Image.fromarray(RGB)
    turned = image.transpose(ways[orientation]) if orientation in ways else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_image(stored(turned, exif=exif), 12), RGB)


GREY = RGB[..., 0]
MODES = {
    "1": (Image.fromarray(GREY).convert("1"), "PNG", np.asarray(Image.fromarray(GREY).convert("1").convert("RGB"))),
    "L": (Image.fromarray(GREY), "PNG", np.repeat(GREY[..., None], 3, 2)),
    "LA": (Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (12, 12), 0)]), "PNG", np.full_like(RGB, 255)),
    "RGBA": (Image.fromarray(np.dstack([RGB, np.zeros_like(GREY)])), "PNG", np.full_like(RGB, 255)),
    "P": (Image.fromarray(RGB).quantize(200), "PNG", np.asarray(Image.fromarray(RGB).quantize(200).convert("RGB"))),
    "I;16": (Image.fromarray(GREY.astype(np.uint16) * 257), "PNG", np.repeat(GREY[..., None], 3, 2)),
    "I": (Image.fromarray(GREY.astype(np.int32) * 257), "TIFF", np.repeat(GREY[..., None], 3, 2)),
    "F": (Image.fromarray((GREY / np.float32(255)).astype(np.float32)), "TIFF", np.repeat(GREY[..., None], 3, 2)),
    "CMYK": (Image.fromarray(RGB).convert("CMYK"), "TIFF",
             np.asarray(Image.fromarray(RGB).convert("CMYK").convert("RGB"))),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb_on_white(mode):
    image, kind, expected = MODES[mode]
    assert np.array_equal(read_image(stored(image, kind), 12), expected)
    if mode != "I;16":
        assert np.array_equal(from_pillow(image, 12), expected)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    content = stored(frames[0], kind, save_all=True, append_images=frames[1:],
                     **({"lossless": True} if kind == "WEBP" else {}))
    assert np.abs(read_image(content, 8).astype(int) - (255, 0, 0)).max() <= 1


def test_a_transparent_palette_entry_is_white():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    assert (read_image(stored(image, transparency=1), 8) == 255).all()


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    assert "8000 x 8001" in refusal(png(8000, 8001), 8, "bomb.png")
    assert "more pixels" in refusal(png(50_000, 50_000), 8, "bomb.png")
    assert "from 1 to 100 are decoded" in refusal(png(11, 10), 8, "bomb.png", max_pixels=100)


def test_a_bomb_inside_an_icon_is_refused():
    inner = png(10_000, 10_000)
    # One entry: 16 x 16 pixels, 32 bits, its size and where it begins.
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    assert "more pixels" in refusal(icon, 8, "bomb.ico")


def test_the_byte_limit_applies_to_files_and_content(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(4, 4))
    assert "a.png" in refusal(path, 8, max_bytes=20) and "at most 20" in refusal(path.read_bytes(), 8, max_bytes=20)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_truncated_image_is_refused_by_name(kind):
    large = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = stored(large, kind)
    for share in (0.1, 0.5, 0.9):
        line = refusal(content[:int(share * len(content))], 8, "cut.img")
        assert line.startswith("cut.img: is ")


def test_what_is_not_an_image_is_refused(tmp_path):
    assert "is not an image" in refusal(b"hello", 8, "text.png")
    assert "is empty" in refusal(b"", 8, "none.png")
    assert "no such file" in refusal(tmp_path / "gone.png", 8)
    assert "not a regular file" in refusal(tmp_path, 8)
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a regular file" in refusal(tmp_path / "pipe.png", 8)
    assert refusal(Path("a\0b.png"), 8)


def test_a_file_that_would_start_another_program_is_not_opened():
    assert "is not an image" in refusal(stored(Image.new("RGB", (8, 8)), "EPS"), 8, "a.eps")
    assert not {"EPS", "FITS", "IPTC"} & set(FORMATS) and not {".eps", ".fits", ".iim"} & SUFFIXES


def iptc(content, width, height):
    """An image of any format as the uncompressed content of an IPTC file that claims another size."""
    def field(record, number, data):
        return bytes([0x1C, record, number]) + struct.pack(">H", len(data)) + data

    head = field(3, 60, b"\x01\x00") + field(3, 20, struct.pack(">H", width)) + field(3, 30, struct.pack(">H", height))
    return head + field(3, 120, b"\x05") + field(8, 10, content)


@pytest.mark.parametrize("inside", ["EPS", "PNG"])
def test_an_image_in_an_iptc_container_does_not_bypass_the_limits(inside):
    content = iptc(stored(Image.new("RGB", (20, 20)), inside), 8, 8)
    assert Image.open(io.BytesIO(content)).format == "IPTC"
    assert "is not an image" in refusal(content, 8, "a.iim", max_pixels=100)


def test_formats_that_decode_slowly_have_a_lower_limit(monkeypatch):
    qoi = b"qoif" + struct.pack(">II", 20, 10) + b"\x03\x00" + b"\xfe\x01\x02\x03" + b"\xfd" * 3 + b"\xc6" + bytes(8)
    assert read_image(qoi, 8)[0, 0].tolist() == [1, 2, 3]
    monkeypatch.setattr(image_input, "MOST_SLOW_PIXELS", 199)
    assert "from 1 to 199 are decoded" in refusal(qoi, 8, "a.qoi")
    assert read_image(stored(Image.new("RGB", (20, 10))), 8).shape == (8, 8, 3)
    assert {".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".bmp"} <= SUFFIXES


def test_errors_show_no_control_characters():
    assert printable("a\x1b[31m\n\udcff.png") == "a?[31m??.png"
    assert refusal(b"x", 8, "a\x1b]0;\n.png").startswith("a?]0;?.png: ")


def test_arrays_are_rgb_rgba_or_grey_of_uint8():
    assert np.array_equal(from_pillow(pillow_of(RGB), 12), RGB)
    grey = np.repeat(GREY[..., None], 3, 2)
    for pixels in (GREY, GREY[..., None]):
        assert np.array_equal(from_pillow(pillow_of(pixels), 12), grey)
    assert (from_pillow(pillow_of(np.dstack([RGB, np.zeros_like(GREY)])), 12) == 255).all()
    for wrong in (RGB.astype(np.float32), RGB.transpose(2, 0, 1), RGB[None], RGB[:0]):
        with pytest.raises(EngineError, match="give uint8"):
            pillow_of(wrong)


def test_a_pillow_image_stays_unchanged():
    image = Image.fromarray(np.dstack([RGB, GREY]))
    before = image.tobytes()
    from_pillow(image, 5)
    assert image.tobytes() == before and image.size == (12, 12) and image.mode == "RGBA"


def test_one_long_row_becomes_a_square():
    assert square(Image.new("RGB", (5000, 1), "red"), 4).tolist() == [[[255, 0, 0]] * 4] * 4
