"""Which folders of a user's data set are its splits and classes, and which of the files in them are its images."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from loaders.common.errors import DataError, Faults
from loaders.common.files import check_readable, why
from loaders.common.text import listed, one_form
from loaders.sources.base import DatasetInfo
from loaders.sources.image_file import SUFFIXES, is_image

# Split -> the names of its folder, in any capitals.
SPLITS = {"train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test", "testing")}
MAX_FILE_BYTES = 512 << 20
MOST_SHOWN = 5


@dataclass(frozen=True)
class Listing:
    """folders: split -> its folder; files: split -> class name -> its images. Both in the order of SPLITS, classes and
    images sorted by name. notes: a line for everything that a user might miss or think to be read."""

    folders: dict[str, Path]
    files: dict[str, dict[str, list[Path]]]
    notes: tuple[str, ...]

    @property
    def info(self) -> DatasetInfo:
        """How many images each split has, and how many classes there are."""
        count = {split: sum(map(len, classes.values())) for split, classes in self.files.items()}
        return DatasetInfo(count["train"], count.get("test", 0), len(self.files["train"]), count.get("validation", 0))


def find_splits(root: Path) -> dict[str, Path]:
    """Split -> its folder in `root`; `root` itself is the training folder where it has class folders but none of that
    name. DataError where two folders mean one split, one is no folder, or none has training images."""
    found: dict[str, Path] = {}
    for entry in visible(root):
        split = split_of(entry)
        if split and not os.path.isdir(entry):
            raise DataError(f"{entry}: is not a folder, and its name is that of the {split} images' folder; rename it")
        if split in found:
            raise DataError(f"{found[split]} and {entry}: both hold {split} images by their names; keep or rename one")
        if split:
            found[split] = entry
    if "train" not in found:
        classes = [entry for entry in visible(root) if os.path.isdir(entry) and not split_of(entry)]
        if not classes:
            raise DataError(f"{root}: has no class folders; training images belong in {root}/train/<class>/ or "
                            f"{root}/<class>/")
        if len(classes) == 1 and any(split_of(entry) == "train" for entry in visible(classes[0])):
            raise DataError(f"{root}: has no folder of training images, but {classes[0]} has; use "
                            f"--data.root={classes[0]}")
        found["train"] = root
    return {split: found[split] for split in SPLITS if split in found}


def split_of(path: Path) -> str:
    """The split that a folder of this name holds, "" for another name."""
    return next((split for split, names in SPLITS.items() if path.name.lower() in names), "")


def list_folder(root: Path) -> Listing:
    """List every file, except hidden ones; nothing is decoded. DataError naming all that is missing, empty or in the
    wrong place."""
    folders, faults, passed = find_splits(root), Faults(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = {split: _classes_in(folder, folder == root, faults, passed) for split, folder in folders.items()}
    faults.refuse()
    notes = []
    if folders["train"] != root and (others := [entry for entry in visible(root) if os.path.isdir(entry)
                                                and entry not in folders.values()]):
        notes.append(f"not read, because their names are none of train, val and test: {listed(others, MOST_SHOWN)}")
    if passed:
        notes.append(f"passed over, because their names are not those of images: {listed(passed, MOST_SHOWN)}")
    forms = {one_form(name): name for name in files["train"]}
    for split in [split for split in folders if split != "train"]:
        for name in files[split]:
            if one_form(name) not in forms:
                faults.add(folders[split] / name, f"is a class that {folders['train']} does not have; rename it or add "
                                                  "training images")
        files[split] = {forms[one_form(name)]: paths for name, paths in files[split].items() if one_form(name) in forms}
        absent = [name for name in files["train"] if name not in files[split]]
        if absent:
            notes.append(f"{folders[split]} has no images of the classes {listed(absent, MOST_SHOWN)}")
    faults.refuse()
    if len(files["train"]) < 2:
        raise DataError(f"{folders['train']}: has one class, {next(iter(files['train']))}; at least two are needed")
    return Listing(folders, files, tuple(notes))


def _classes_in(folder: Path, beside_splits: bool, faults: Faults, passed: list[Path]) -> dict[str, list[Path]]:
    """Class name -> its images. What is wrong goes to `faults`, files that are no images to `passed`. beside_splits:
    the other splits' folders lie among the classes."""
    classes: dict[str, list[Path]] = {}
    forms: dict[str, Path] = {}
    loose = False
    for entry in visible(folder):
        if beside_splits and split_of(entry):
            continue
        if not os.path.isdir(entry):
            if entry.suffix.lower() in SUFFIXES:
                loose = True
                # A class may have the name of a split: "valid", beside "invalid".
                else_where = "" if split_of(folder) in ("", "train") else \
                    f", or, where {folder.name} is a class, all classes in {folder.parent}/train/"
                faults.add(entry, f"lies beside the class folders; images belong in {folder}/<class>/{else_where}")
            else:
                passed.append(entry)
            continue
        if any("\udc80" <= character <= "\udcff" for character in entry.name):
            faults.add(entry, f"is a class whose name, {os.fsencode(entry.name)!r}, is not UTF-8; rename the folder")
        twin = forms.setdefault(one_form(entry.name), entry)
        if twin != entry:
            faults.add(entry, f"is class {twin.name!a} in another Unicode form, {entry.name!a}; move its images there")
        classes[entry.name] = _images_in(entry, faults, passed)
    if not classes and not loose:
        faults.add(folder, f"has no class folders; images belong in {folder}/<class>/")
    return classes


def _images_in(folder: Path, faults: Faults, passed: list[Path]) -> list[Path]:
    """The images of a class, sorted."""
    images: list[Path] = []
    before = len(passed)
    for path in visible(folder):
        if os.path.isdir(path):
            faults.add(path, f"is a folder; images lie directly in {folder}")
        elif path.suffix.lower() in SUFFIXES:
            images.append(path)
            with faults.noting(path):
                check_readable(path, MAX_FILE_BYTES)
        elif path.is_file() and is_image(path):
            images.append(path)
        else:
            passed.append(path)
    if not images:
        held = f", only {listed([path.name for path in passed[before:]], MOST_SHOWN)}" if passed[before:] else ""
        faults.add(folder, f"is a class without images{held}; add some or remove the folder")
    return images


def visible(folder: Path) -> list[Path]:
    """What is in a folder, sorted, without what is hidden there or was on a Mac; DataError if it cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {why(error)}; class folders are "
                        f"--data.root=DIR with DIR/train/<class>/*") from error
