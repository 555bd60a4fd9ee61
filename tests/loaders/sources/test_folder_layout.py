import os
import unicodedata

import pytest
from PIL import Image

from loaders.common.errors import DataError
from loaders.sources.folder_layout import find_splits, list_folder
from loaders.sources.open import open_source

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def fill(root, *folders, images=1):
    """A tiny image in each folder, of a colour of its own."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for image in range(images):
            Image.new("RGB", (4, 4), (number + 1, image, 0)).save(root / folder / f"{image}.png")
    return root


def both(*splits):
    return [f"{split}/{name}" for split in splits for name in ("ant", "bee")]


@pytest.mark.parametrize(("train", "val", "test"), [
    ("train", "val", "test"), ("Train", "Valid", "Testing"), ("TRAINING", "VALIDATION", "TEST"),
    ("training", "VAL", "")])
def test_a_split_is_known_by_its_folders_name_in_any_capitals(tmp_path, train, val, test):
    names = [name for name in (train, val, test) if name]
    fill(tmp_path, *both(*names))
    found = find_splits(tmp_path)
    assert list(found) == ["train", "validation", "test"][:len(names)]
    assert [path.name for path in found.values()] == names
    source = open_source("folder", root=tmp_path)
    assert source.splits == tuple(found) and source.folders == found and source.notes == ()
    assert [source.read(split).labels.tolist() for split in found] == [[0, 1]] * len(names)


@pytest.mark.parametrize("others", [(), ("Val", "test")])
def test_class_folders_in_the_root_are_the_training_images(tmp_path, others):
    fill(tmp_path, "ant", "bee", *both(*others))
    assert find_splits(tmp_path) == {"train": tmp_path, **dict(zip(("validation", "test"), (tmp_path / name for name in
                                                                                            others), strict=False))}
    source = open_source("folder", root=tmp_path)
    assert source.class_names == ("ant", "bee") and source.read("train").images_nhwc[:, 0, 0, 0].tolist() == [1, 2]


@pytest.mark.parametrize(("folders", "files", "part"), [
    (both("train", "val", "Validation"), (), "Validation and .*val: both hold validation images"),
    (both("train", "Training"), (), "both hold train images by their names; keep or rename one"),
    (both("train"), ("val",), "val: is not a folder, and its name is that of the validation images"),
    (both("val", "test"), (), "has no class folders; training images belong in .*/train/<class>/ or "),
    ([], (), "has no class folders"), (both("pets/train", "pets/test"), (), "but .*/pets has; use --data.root=.*/pets"),
    ([*both("train"), "val/cow", "test/eel", "val/ant"], (), "2 faults: .*/val/cow, .*/test/eel: each is a class "),
    (both("train"), ("test/1.png", "test/2.png"), "2 faults: .*/test/1.png, .*/test/2.png: each lies beside the class"),
    (["invalid"], ("valid/1.png",), "valid/<class>/, or, where valid is a class, all classes in .*/train/"),
    (["train/ant", os.fsdecode(b"train/caf\xe9")], (), r"is a class whose name, b'caf\\xe9', is not UTF-8; rename the"),
    ([*both("train"), "train/cat/more", "train/dog/more"], (), "train/cat/more: is a folder; .* images lie directly"),
    ([f"train/{NFC}", f"train/{NFD}", "train/bee"], (), r"is class '.*' in another Unicode form, '.*'; move its"),
])
def test_what_is_wrong_is_named_at_once_in_one_line(tmp_path, folders, files, part):
    fill(tmp_path, *folders)
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(DataError, match=part) as caught:
        list_folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_image_by_its_name_is_passed_over_and_told(tmp_path):
    fill(tmp_path, *both("train"))
    for name in ("labels.csv", "ant/Thumbs.db", "ant/README", "bee/clip.mpg", "bee/.hidden"):
        (tmp_path / "train" / name).write_bytes(b"no image")
    (tmp_path / "train/ant/0.png").rename(tmp_path / "train/ant/no_suffix")
    (tmp_path / "train/bee/0.png").rename(tmp_path / "train/bee/0.jpg_large")
    (tmp_path / "__MACOSX" / "train").mkdir(parents=True)
    (tmp_path / "unlabelled").mkdir()
    listing = list_folder(tmp_path)
    assert {name: [path.name for path in files] for name, files in listing.files["train"].items()} == {
        "ant": ["no_suffix"], "bee": ["0.jpg_large"]}
    unread, passed = listing.notes
    assert unread == f"not read, because their names are none of train, val and test: {tmp_path}/unlabelled"
    told = [f"{tmp_path}/train/{name}" for name in ("ant/README", "ant/Thumbs.db", "bee/clip.mpg", "labels.csv")]
    assert passed == f"passed over, because their names are not those of images: {', '.join(told)}"


def test_a_class_of_other_files_only_is_refused_with_their_names(tmp_path):
    fill(tmp_path, *both("train"))
    (tmp_path / "train/bee/0.png").rename(tmp_path / "train/bee/0.heic")
    (tmp_path / "train/bee/0.heic").write_bytes(b"heic")
    with pytest.raises(DataError, match="train/bee: is a class without images, only 0.heic; add some or remove"):
        list_folder(tmp_path)


def test_a_pipe_without_a_suffix_is_not_opened(tmp_path):
    os.mkfifo(fill(tmp_path, *both("train")) / "train/ant/pipe")
    assert len(list_folder(tmp_path).files["train"]["ant"]) == 1


def test_a_held_out_split_may_lack_a_class_which_is_told(tmp_path):
    listing = list_folder(fill(tmp_path, *both("train"), "val/bee", "test/ant"))
    assert listing.notes == (f"{tmp_path}/val has no images of the classes ant",
                             f"{tmp_path}/test has no images of the classes bee")
    assert open_source("folder", root=tmp_path).read("validation").labels.tolist() == [1]
    assert (listing.info.train, listing.info.validation, listing.info.test, listing.info.classes) == (2, 1, 1, 2)


def test_the_unicode_forms_of_a_name_are_one_class(tmp_path):
    fill(tmp_path, f"train/{NFD}", "train/cafz", f"val/{NFC}", "val/cafz", f"test/{NFC}")
    source = open_source("folder", root=tmp_path)
    assert source.class_names == (NFD, "cafz")
    assert source.notes == (f"{tmp_path}/test has no images of the classes cafz",)
    colours = {split: source.read(split).images_nhwc[:, 0, 0, 0].tolist() for split in source.splits}
    labels = {split: source.read(split).labels.tolist() for split in source.splits}
    # In val the composed name comes last, and has the label that it has in train.
    assert (colours["validation"], labels["validation"]) == ([4, 3], [1, 0]) and labels["test"] == [0]


def test_a_data_set_takes_the_class_order_of_a_copy_with_names_in_the_other_form(tmp_path):
    first = open_source("folder", root=fill(tmp_path / "a", f"{NFD}", "cafz"))
    copy = open_source("folder", root=fill(tmp_path / "b", f"{NFC}", "cafz"))
    assert first.class_names == (NFD, "cafz") and copy.class_names == ("cafz", NFC)
    same = copy.in_order_of(first.class_names)
    assert same.class_names == first.class_names and same.read("train").labels.tolist() == [1, 0]
    assert same.read("train").images_nhwc[:, 0, 0, 0].tolist() == [2, 1]
    assert first.in_order_of(first.class_names) is first and first.in_order_of(("cafz", "cafe")) is None
    assert first.in_order_of((NFC, "cafz", "more")) is None
