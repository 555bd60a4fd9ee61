import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from loaders.common.errors import DataError
from loaders.sources.image_file import on_white, square_rgb, to_8_bits


def stored(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def to_rgb(image):
    return on_white(to_8_bits(image))


def read(content, resolution=4):
    pixels = square_rgb(content, "a.png", resolution)
    assert pixels.shape == (resolution, resolution, 3) and pixels.dtype == np.uint8
    return pixels


RGB = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)


def test_rgb_of_the_right_size_is_unchanged():
    assert np.array_equal(read(stored(Image.fromarray(RGB))), RGB)


def test_grey_bilevel_and_palette():
    grey = RGB[..., 0]
    assert np.array_equal(read(stored(Image.fromarray(grey))), np.repeat(grey[..., None], 3, axis=2))
    bits = Image.fromarray(grey).convert("1")
    assert np.array_equal(read(stored(bits)), np.array(bits.convert("RGB")))
    palette = Image.fromarray(RGB).quantize(16)
    assert np.array_equal(read(stored(palette)), np.array(palette.convert("RGB")))


def test_transparency_lies_on_white():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[..., 3] = np.arange(16).reshape(4, 4) * 17
    pixels = read(stored(Image.fromarray(rgba))).astype(int)
    for row in range(4):
        for column in range(4):
            alpha = rgba[row, column, 3] / 255
            expected = [200 * alpha + 255 * (1 - alpha), 255 * (1 - alpha), 255 * (1 - alpha)]
            assert np.abs(pixels[row, column] - expected).max() <= 1
    grey_alpha = Image.merge("LA", [Image.new("L", (4, 4), 100), Image.new("L", (4, 4), 0)])
    assert (read(stored(grey_alpha)) == 255).all()


def test_the_hidden_colour_of_transparent_pixels_does_not_bleed_when_resizing():
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, ::2] = [0, 0, 255, 255]
    rgba[:, 1::2] = [255, 0, 0, 0]
    pixels = read(stored(Image.fromarray(rgba)))
    assert (np.abs(pixels[..., 0].astype(int) - pixels[..., 1]) <= 2).all() and (pixels[..., 2] >= 253).all()


def test_a_transparent_palette_entry_and_a_transparent_colour_are_white():
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.putpixel((0, 0), 0)
    pixels = read(stored(palette, transparency=0))
    assert pixels[0, 0].tolist() == [255] * 3 and pixels[1, 1].tolist() == [9] * 3
    keyed = Image.new("RGB", (4, 4), (1, 2, 3))
    keyed.putpixel((2, 0), (7, 7, 7))
    pixels = read(stored(keyed, transparency=(7, 7, 7)))
    assert pixels[0, 2].tolist() == [255] * 3 and pixels[0, 0].tolist() == [1, 2, 3]


def test_premultiplied_alpha():
    straight = Image.new("RGBA", (2, 2), (200, 100, 50, 128))
    blended, expected = np.array(to_rgb(straight.convert("RGBa"))).astype(int), np.array(to_rgb(straight)).astype(int)
    assert np.abs(blended - expected).max() <= 2


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.array([[0, 257, 1000, 32768], [65535, 65278, 128, 129], [514, 300, 255, 256], [1, 2, 3, 4]], np.uint16)
    content = stored(Image.fromarray(values))
    assert Image.open(io.BytesIO(content)).mode.startswith("I")
    pixels = read(content)
    assert pixels[..., 0].tolist() == [[round(v / 257) for v in row] for row in values.tolist()]
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("kind", ["TIFF", "PPM"])
def test_other_files_of_16_bits(kind):
    values = np.array([[0, 65535], [514, 25700]], np.uint16)
    image = Image.fromarray(values) if kind == "TIFF" else Image.fromarray(values.astype(np.int32))
    content = stored(image, kind)
    assert read(content, 2)[..., 1].tolist() == [[0, 255], [2, 100]]


def test_floating_point():
    unit = Image.fromarray(np.array([[0, 0.5], [0.25, 1]], np.float32))
    assert read(stored(unit, "TIFF"), 2)[..., 2].tolist() == [[0, 128], [64, 255]]
    full = Image.fromarray(np.array([[0, 127.6], [0.9, 255.4]], np.float32))
    assert square_rgb(stored(full, "TIFF"), "a.tif", 2, 255)[..., 2].tolist() == [[0, 128], [1, 255]]
    dark = stored(Image.fromarray(np.array([[0, 0.4], [0.6, 1]], np.float32)), "TIFF")
    assert square_rgb(dark, "a.tif", 2, 255)[..., 2].tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("white", [1, 255])
def test_floating_point_values_may_pass_their_range_by_half_a_level_and_no_more(white):
    def levels(*values):
        image = Image.fromarray((np.array([values], np.float64) * (white / 255)).astype(np.float32))
        return square_rgb(stored(image, "TIFF"), "a.tif", 2, white)[0, :, 0].tolist()

    assert levels(-0.49, 255.49) == [0, 255]
    for wrong in (-0.51, 255.51, float("nan"), float("inf")):
        with pytest.raises(DataError, match=f"a.tif: has floating-point values from .*, and 0 to {white} are allowed"):
            levels(3, wrong)


def test_negative_values_of_32_bit_files_are_refused():
    image = stored(Image.fromarray(np.array([[0, -1], [3, 9]], np.int32)), "TIFF")
    with pytest.raises(DataError, match="integer values from -1 to 9, and 0 to 65535 are allowed"):
        read(image, 2)


def test_a_transparent_16_bit_value_is_white():
    image = Image.fromarray(np.array([[0, 514], [1028, 0]], np.uint16))
    image.info["transparency"] = 514
    assert np.array(to_rgb(image))[..., 0].tolist() == [[0, 255], [4, 0]]


def test_cmyk_lab_and_ycbcr():
    cmyk = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    assert read(stored(cmyk, "TIFF"), 2)[0, 0].tolist() == [0, 255, 255]
    # Files hold a and b as signed bytes: 0 is neutral.
    white = Image.frombytes("LAB", (1, 1), bytes([255, 0, 0]))
    assert min(np.array(to_rgb(white)).ravel()) >= 250
    ycbcr = Image.new("YCbCr", (2, 2), (90, 128, 128))
    assert np.array(to_rgb(ycbcr))[0, 0].tolist() == [90, 90, 90]


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        exact = {"lossless": True} if kind == "WEBP" else {}
        content = stored(frames[0], kind, save_all=True, append_images=frames[1:], **exact)
        assert read(content)[0, 0].tolist() == [255, 0, 0]


def test_exif_orientation_is_followed():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = stored(Image.fromarray(RGB), "PNG", exif=exif)
    assert np.array_equal(read(content), np.rot90(RGB, -1))


def test_resizing_is_antialiased_and_to_a_square():
    wide = np.zeros((8, 32, 3), np.uint8)
    wide[:, ::2] = 255
    pixels = read(stored(Image.fromarray(wide)), 8)
    assert np.abs(pixels[2:6, 2:6].astype(int) - 128).max() < 12
    assert read(stored(Image.new("RGB", (3, 200), "red")), 5)[4, 4].tolist() == [255, 0, 0]


def png_of(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("content", "part"), [
    (b"", "not an image of a known kind"), (b"hello", "not an image of a known kind"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n", "not an image of a known kind"),
    (png_of(8001, 8001), "has 8001 x 8001 pixels; at most 64,000,000"), (png_of(60_000, 60_000), "up to 64,000,000"),
    (png_of(4, 4), "damaged image"), (stored(Image.fromarray(RGB))[:-30], "damaged image"),
    (stored(Image.fromarray(RGB), "JPEG")[:-20], "damaged image"),
    (stored(Image.fromarray(RGB))[:20], "damaged|known")])
def test_an_unreadable_image_is_one_line_that_names_the_file(content, part):
    with pytest.raises(DataError, match=part) as caught:
        square_rgb(content, "cats/a.png", 4)
    assert str(caught.value).startswith("cats/a.png: ") and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_mutated_images_read_or_raise_a_data_error():
    random = np.random.default_rng(0)
    kinds = {kind: stored(Image.fromarray(RGB).resize((24, 20)), kind) for kind in
             ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")}
    outcomes = {"read": 0, "refused": 0}
    for kind, whole in kinds.items():
        for _ in range(60):
            content = bytearray(whole)
            for _ in range(random.integers(1, 5)):
                content[random.integers(len(content))] = random.integers(256)
            try:
                outcomes["read"] += square_rgb(bytes(content), kind, 8).shape == (8, 8, 3)
            except DataError as error:
                outcomes["refused"] += str(error).startswith(f"{kind}: ") and "\n" not in str(error)
    assert sum(outcomes.values()) == 420 and min(outcomes.values()) > 20
