import shutil

import numpy as np
import pytest
from PIL import Image

from loaders.common.errors import DataError
from loaders.sources.open import open_source


def picture(path, colour, size=(6, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def root(tmp_path):
    for name, colour in (("dog", (0, 9, 0)), ("ant", (9, 0, 0)), ("cat", (0, 0, 9))):
        for n in (2, 10, 1):
            picture(tmp_path / "train" / name / f"{n}.png", tuple(v * (n + 1) for v in colour))
        picture(tmp_path / "test" / name / "z.bmp", colour, (40, 20))
    (tmp_path / "train" / ".DS_Store").touch()
    (tmp_path / "train" / "ant" / ".hidden").write_text("no image")
    return tmp_path


def test_classes_and_their_files_are_sorted_by_name(root):
    source = open_source("folder", root=root, resolution=5)
    assert source.class_names == ("ant", "cat", "dog") and source.splits == ("train", "test")
    train, test = source.read("train"), source.read("test")
    assert train.images_nhwc.shape == (9, 5, 5, 3) and train.images_nhwc.dtype == np.uint8
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and train.labels.dtype == np.int64
    assert train.images_nhwc[:, 2, 2].max(axis=1).tolist() == [18, 99, 27] * 3
    assert [int(pixel.argmax()) for pixel in test.images_nhwc[:, 0, 0]] == [0, 2, 1]


def test_test_is_optional_and_may_lack_a_class(root):
    shutil.rmtree(root / "test" / "cat")
    assert open_source("folder", root=root).read("test").labels.tolist() == [0, 2]
    shutil.rmtree(root / "test")
    assert open_source("folder", root=root).splits == ("train",)


def test_fingerprint_follows_content_names_and_resolution(root):
    prints = [open_source("folder", root=root, resolution=r).fingerprint for r in (8, 9)]
    prints.append(open_source("folder", root=root, resolution=8).fingerprint)
    assert prints[0] == prints[2] != prints[1]
    picture(root / "test" / "ant" / "z.bmp", (1, 2, 4), (40, 20))
    prints.append(open_source("folder", root=root, resolution=8).fingerprint)
    (root / "train" / "ant" / "1.png").rename(root / "train" / "ant" / "3.png")
    prints.append(open_source("folder", root=root, resolution=8).fingerprint)
    assert len(set(prints)) == 4


def test_a_file_that_changes_after_opening_is_noticed(root):
    source = open_source("folder", root=root)
    picture(root / "train" / "dog" / "10.png", (200, 0, 0))
    with pytest.raises(DataError, match="dog/10.png: changed since it was opened"):
        source.read("train")


def test_the_unreadable_image_is_named(root):
    (root / "train" / "cat" / "11.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    with pytest.raises(DataError, match=r"train/cat/11.jpg: is (no image|a damaged image)"):
        open_source("folder", root=root).read("train")


@pytest.mark.parametrize("split", ["train", "test"])
def test_all_unreadable_images_of_all_splits_are_named_at_once(root, split):
    bad = ["train/cat/11.jpg", "train/dog/0.png", "test/ant/a.tif"]
    for name in bad:
        (root / name).write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        open_source("folder", root=root).read(split)
    order = bad if split == "train" else [bad[2], *bad[:2]]
    named = ", ".join(str(root / name) for name in order)
    assert str(caught.value).startswith(f"3 faults: {named}: each is not an image of a known kind")
    assert "\n" not in str(caught.value)


def test_the_fingerprint_and_pixels_of_a_known_data_set_stay(tmp_path):
    for name, value in (("train/a/1.pgm", 7), ("train/a/2", 9), ("train/b/x.PGM", 200), ("test/b/y.pgm", 31)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"P5 2 2 255\n" + bytes([value] * 4))
    source = open_source("folder", root=tmp_path, resolution=2)
    # Must not change: betons and runs of users' data sets are found by them.
    assert source.fingerprint == "617c768a03d0547c123a0f362091a327683295771ff6f5d3002b7fd803f08d5a"
    assert source.read("train").images_nhwc[:, 0, 0, 0].tolist() == [7, 9, 200]


def empty_class(root):
    (root / "train" / "cow").mkdir()
    (root / "train" / "cow" / ".keep").touch()


def no_train(root):
    shutil.rmtree(root / "train")


def bare_train(root):
    shutil.rmtree(root / "train")
    (root / "train").mkdir()


def one_class(root):
    shutil.rmtree(root / "test")
    for name in ("cat", "dog"):
        shutil.rmtree(root / "train" / name)


def loose_file(root):
    picture(root / "train" / "loose.png", "red")


def nested(root):
    picture(root / "train" / "cat" / "more" / "a.png", "red")


def stranger(root):
    picture(root / "test" / "eel" / "a.png", "red")


def broken_link(root):
    (root / "train" / "cat" / "a.png").symlink_to(root / "nowhere")


@pytest.mark.parametrize(("spoil", "part"), [
    (empty_class, "train/cow: is a class without images"), (no_train, "has no class folders; training images belong"),
    (bare_train, "train: has no class folders"), (one_class, "train: has one class, ant; at least two"),
    (loose_file, "train/loose.png: lies beside the class folders"), (nested, "train/cat/more: is a folder"),
    (stranger, "test/eel: is a class that .*train does not have"),
    (broken_link, "a.png: cannot be read: no such file")])
def test_the_error_names_the_fault(root, spoil, part):
    spoil(root)
    with pytest.raises(DataError, match=part) as caught:
        open_source("folder", root=root)
    assert "\n" not in str(caught.value)


def test_resolution_is_positive_and_fits(root):
    with pytest.raises(DataError, match="data.resolution=0 must be at least 1"):
        open_source("folder", root=root, resolution=0)
    with pytest.raises(DataError, match="data.resolution=10000000: 9 images of 10000000 x 10000000 pixels do not fit"):
        open_source("folder", root=root, resolution=10_000_000).read("train")
