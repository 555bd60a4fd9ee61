import numpy as np
import pytest
from PIL import Image

from loaders.common.errors import DataError
from loaders.sources.float_images import highest_value, white_of
from loaders.sources.open import open_source


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.float32)).save(path)


def pixels_of(root, **options):
    """The first channel of the training images, as lists of rows."""
    source = open_source("folder", root=root, resolution=2, **options)
    return source, [image[..., 0].tolist() for image in source.read("train").images_nhwc]


def test_a_value_of_1_but_for_rounding_is_white(tmp_path):
    save(tmp_path / "train/a/0.tif", [[0, 1.0000001], [0.5, 0.25]])
    save(tmp_path / "train/a/1.tif", [[-1e-7, 1.0019], [0.31, 0.71]])
    save(tmp_path / "train/b/0.pfm", [[0.1, 0.2], [0.004, 0.6]])
    source, pixels = pixels_of(tmp_path)
    # round(255 v), clipped.
    assert pixels == [[[0, 255], [128, 64]], [[0, 255], [79, 181]], [[26, 51], [1, 153]]]
    assert source.float_max == 1


def test_the_scale_of_a_set_is_that_of_all_its_files_in_all_splits(tmp_path):
    save(tmp_path / "train/a/0.tif", [[0, 255.0001], [127.6, 3]])
    save(tmp_path / "train/b/0.tif", [[0, 0], [0, 0]])
    save(tmp_path / "test/b/0.tif", [[17, 18], [19, 20]])
    source, pixels = pixels_of(tmp_path)
    assert source.float_max == 255 and pixels == [[[0, 255], [128, 3]], [[0, 0], [0, 0]]]
    assert source.read("test").images_nhwc[0, ..., 0].tolist() == [[17, 18], [19, 20]]


def test_files_that_disagree_are_refused_unless_the_user_says_what_is_white(tmp_path):
    save(tmp_path / "train/a/0.tif", [[0, 250], [127.6, 3]])
    save(tmp_path / "train/b/dark.tif", [[0.2, 0.6], [0.9, 1]])
    said = ("1 floating-point images stay within 0 to 1 (.*/b/dark.tif) and 1 go up to 250 (.*/a/0.tif), so what is "
            "white is not known; .* set --data.float_max=255 if 255 is white")
    with pytest.raises(DataError, match=said.replace("(", r"\(").replace(")", r"\)")) as caught:
        open_source("folder", root=tmp_path)
    assert "\n" not in str(caught.value)
    source, pixels = pixels_of(tmp_path, float_max=255)
    assert pixels == [[[0, 250], [128, 3]], [[0, 1], [1, 1]]] and source.notes == ()
    with pytest.raises(DataError, match="a/0.tif: has floating-point values from 0 to 250, and 0 to 1 are allowed"):
        pixels_of(tmp_path, float_max=1)


def test_values_a_little_above_1_do_not_make_a_set_black(tmp_path):
    for name in "ab":
        save(tmp_path / "train" / name / "0.tif", [[0, 1.05], [0.5, 0.25]])
    with pytest.raises(DataError, match=r"2 floating-point images go up to 1.05 \(.*\), and white is 1 or 255; bring"):
        open_source("folder", root=tmp_path)


def test_a_set_that_another_white_makes_black_is_told(tmp_path):
    for name in "ab":
        save(tmp_path / "train" / name / "0.tif", [[0, 1], [0.5, 0.25]])
    source, pixels = pixels_of(tmp_path, float_max=255)
    assert pixels[0] == [[0, 1], [0, 0]]
    assert source.notes == ("all 2 floating-point images stay within 0 to 1 and are nearly black, because white is "
                            "data.float_max=255",)


def test_the_fingerprint_follows_the_scale_and_that_of_other_images_does_not(tmp_path):
    for name in "ab":
        save(tmp_path / "float/train" / name / "0.tif", [[0, 1], [0.5, 0.25]])
        (tmp_path / "plain/train" / name).mkdir(parents=True)
        Image.new("L", (2, 2), 7).save(tmp_path / "plain/train" / name / "0.tif")
    prints = {(kind, white): open_source("folder", root=tmp_path / kind, float_max=white).fingerprint
              for kind in ("float", "plain") for white in (None, 1, 255)}
    assert prints["float", None] == prints["float", 1] != prints["float", 255]
    assert prints["plain", None] == prints["plain", 1] == prints["plain", 255]


@pytest.mark.parametrize("name", ["0", "0.png", "0.TIF"])
def test_a_float_image_is_known_by_its_content_whatever_its_name(tmp_path, name):
    save(tmp_path / "0.tif", [[0, 240], [5, 3]])
    for of_class in "ab":
        (tmp_path / "set/train" / of_class).mkdir(parents=True)
        (tmp_path / "set/train" / of_class / name).write_bytes((tmp_path / "0.tif").read_bytes())
    source, pixels = pixels_of(tmp_path / "set")
    assert source.float_max == 255 and pixels == [[[0, 240], [5, 3]]] * 2
    assert source.fingerprint != open_source("folder", root=tmp_path / "set", resolution=2, float_max=1).fingerprint


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_files_have_no_highest_value_and_are_named_when_they_are_read(tmp_path):
    save(tmp_path / "train/a/0.tif", [[0, 1], [0.5, 0.25]])
    save(tmp_path / "train/b/0.tif", [[0, float("nan")], [3, 4]])
    (tmp_path / "train/b/1.tif").write_bytes((tmp_path / "train/a/0.tif").read_bytes()[:40])
    assert highest_value(tmp_path / "train/a/0.tif") == 1 and highest_value(tmp_path / "train/b/1.tif") is None
    with pytest.raises(DataError, match="2 faults: .*0.tif: has floating-point values .*1.tif: is "):
        pixels_of(tmp_path)
    assert white_of({}) == white_of({tmp_path: 0.0}) == white_of({tmp_path: float("nan")}) == 1
