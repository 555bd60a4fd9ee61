import importlib.util
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loaders.common.errors import DataError
from loaders.sources import cifar
from loaders.sources.open import open_source

SHARED = Path(__file__).resolve().parents[3] / ".." / "shared/data"
NAMES = {"cifar10": 10, "cifar100": 100}


def shrink(monkeypatch, name, rows):
    """Make `rows` images per file the official number."""
    official = cifar.OFFICIAL[name]
    fewer = {split: dict.fromkeys(files, rows) for split, files in official.rows.items()}
    monkeypatch.setitem(cifar.OFFICIAL, name, replace(official, rows=fewer))


def batch(seed, rows, classes):
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, (rows, 3072), dtype=np.uint8)
    return {"data": data, "labels": random.integers(0, classes, rows).tolist()}


@pytest.fixture
def small10(tmp_path, monkeypatch):
    """Five training files and a test file of 4 images each."""
    shrink(monkeypatch, "cifar10", 4)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    batches = {f"data_batch_{n}": batch(n, 4, 10) for n in range(1, 6)} | {"test_batch": batch(6, 4, 10)}
    for file, content in batches.items():
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class {n}" for n in range(10)]}))
    return tmp_path, batches


@pytest.fixture
def small100(tmp_path, monkeypatch):
    shrink(monkeypatch, "cifar100", 6)
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for seed, file in enumerate(("train", "test")):
        made = batch(seed, 6, 100)
        fine = made.pop("labels")
        made |= {"fine_labels": fine, "coarse_labels": [label // 5 for label in fine]}
        # As Python 2 wrote it, keys are byte strings.
        (folder / file).write_bytes(pickle.dumps({key.encode(): value for key, value in made.items()}, protocol=4))
    meta = {"fine_label_names": [f"fine {n}" for n in range(100)],
            "coarse_label_names": [f"coarse {n}" for n in range(20)]}
    (folder / "meta").write_bytes(pickle.dumps(meta))
    return tmp_path


def test_rows_of_planes_become_nhwc_in_the_order_of_the_files(small10):
    root, batches = small10
    source = open_source("cifar10", root=root)
    assert source.class_names == tuple(f"class {n}" for n in range(10))
    assert source.splits == ("train", "test") and source.resolution == 32
    train, test = source.read("train"), source.read("test")
    assert train.images_nhwc.shape == (20, 32, 32, 3) and train.images_nhwc.flags["C_CONTIGUOUS"]
    assert train.images_nhwc.dtype == np.uint8 and train.labels.dtype == np.int64
    for n in range(5):
        content = batches[f"data_batch_{n + 1}"]
        assert train.labels[4 * n:4 * n + 4].tolist() == content["labels"]
        for image, row, column, channel in ((0, 0, 0, 0), (1, 31, 0, 1), (3, 5, 17, 2), (2, 31, 31, 0)):
            expected = content["data"][image, channel * 1024 + row * 32 + column]
            assert train.images_nhwc[4 * n + image, row, column, channel] == expected
    assert test.labels.tolist() == batches["test_batch"]["labels"]


def test_the_folder_itself_may_be_the_root(small10):
    root, _ = small10
    inner = open_source("cifar10", root=root / "cifar-10-batches-py")
    assert inner.fingerprint == open_source("cifar10", root=root).fingerprint


def test_coarse_and_fine_labels(small100):
    fine, coarse = (open_source("cifar100", root=small100, labels=labels) for labels in ("fine", "coarse"))
    assert len(fine.class_names) == 100 and coarse.class_names == tuple(f"coarse {n}" for n in range(20))
    assert (fine.read("test").labels // 5).tolist() == coarse.read("test").labels.tolist()
    assert fine.fingerprint != coarse.fingerprint


def test_any_changed_byte_changes_the_fingerprint_and_is_noticed_when_read(small10):
    root, batches = small10
    before = open_source("cifar10", root=root)
    path = root / "cifar-10-batches-py" / "test_batch"
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    assert open_source("cifar10", root=root).fingerprint != before.fingerprint
    with pytest.raises(DataError, match="test_batch: changed since it was opened"):
        before.read("test")


def test_missing_data_is_reported_with_the_folders_searched_and_the_remedy(tmp_path):
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match="/cifar-100-python with train, test, meta; .*--data.download=true") as e:
            open_source("cifar100", root=root)
        assert str(root) in str(e.value)
    with pytest.raises(DataError, match="data.root is not set"):
        open_source("cifar100")


def test_half_a_data_set_is_refused(small10):
    root, _ = small10
    (root / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(DataError, match="data_batch_3 is missing, so cifar10 is incomplete"):
        open_source("cifar10", root=root, download=True)


BAD_BATCHES = {
    "no data": ({"labels": [0] * 4}, "no array 'data'"),
    "data is a list": ({"data": [1, 2], "labels": [0] * 4}, "no array 'data'"),
    "too few rows": (batch(0, 3, 10), r"shape \(3, 3072\), not uint8 of \(4, 3072\)"),
    "wider": ({"data": np.zeros((4, 3075), np.uint8), "labels": [0] * 4}, r"shape \(4, 3075\)"),
    "floats": ({"data": np.zeros((4, 3072), np.float32), "labels": [0] * 4}, "float32 of shape"),
    "flat": ({"data": np.zeros(4 * 3072, np.uint8), "labels": [0] * 4}, r"shape \(12288,\)"),
    "no labels": ({"data": np.zeros((4, 3072), np.uint8)}, "'labels' is not a list of 4 whole numbers"),
    "other labels": ({"data": np.zeros((4, 3072), np.uint8), "fine_labels": [0] * 4}, "'labels' is not a list"),
    "few labels": ({"data": np.zeros((4, 3072), np.uint8), "labels": [0] * 3}, "'labels' is not a list of 4"),
    "texts": ({"data": np.zeros((4, 3072), np.uint8), "labels": "0123"}, "'labels' is not a list of 4"),
    "fractions": ({"data": np.zeros((4, 3072), np.uint8), "labels": [0, 1, 2, 2.5]}, "'labels' is not a list of 4"),
    "label 10": ({"data": np.zeros((4, 3072), np.uint8), "labels": [0, 1, 10, 3]}, "out of range in row 2; 10 classes"),
    "label -1": ({"data": np.zeros((4, 3072), np.uint8), "labels": [-1, 1, 2, 3]}, "out of range in row 0"),
    "label 9e99": ({"data": np.zeros((4, 3072), np.uint8), "labels": [0, 1, 2, 10**400]}, "out of range in row 3"),
    "a list": ([1, 2, 3], "not read"),
}


@pytest.mark.parametrize(("content", "part"), BAD_BATCHES.values(), ids=BAD_BATCHES)
def test_a_file_that_is_not_cifar_is_one_line_that_names_it(small10, content, part):
    root, _ = small10
    path = root / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError, match=part) as caught:
        open_source("cifar10", root=root).read("train")
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_labels_may_be_an_array(small10):
    root, batches = small10
    content = batches["test_batch"] | {"labels": np.array(batches["test_batch"]["labels"])}
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(content))
    assert open_source("cifar10", root=root).read("test").labels.tolist() == batches["test_batch"]["labels"]


@pytest.mark.parametrize("names", [
    None, ["a"] * 10, ["a"] * 9, [str(n) for n in range(9)] + [""], [*"abcdefghi", 3], "abcdefghij"])
def test_class_names_are_checked_on_opening(small10, names):
    root, _ = small10
    (root / "cifar-10-batches-py" / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    with pytest.raises(DataError, match=r"batches.meta: .*label_names"):
        open_source("cifar10", root=root)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("never",)


def test_hostile_truncated_and_too_large_files_are_refused(small10):
    root, _ = small10
    path = root / "cifar-10-batches-py" / "test_batch"
    whole = path.read_bytes()
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match="test_batch: not read: it asks for 'posix.mkdir'"):
        open_source("cifar10", root=root).read("test")
    for kept in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(DataError, match="test_batch: is not a readable pickle, it is damaged or cut short"):
            open_source("cifar10", root=root).read("test")
    with path.open("wb") as file:
        file.truncate(50_000_000_000)
    with pytest.raises(DataError, match="test_batch: has 50,000,000,000 bytes; at most 81,920"):
        open_source("cifar10", root=root)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="test_batch: is not a regular file"):
        open_source("cifar10", root=root)


def test_mutated_files_read_as_cifar_or_raise_a_data_error(small10):
    root, _ = small10
    path = root / "cifar-10-batches-py" / "test_batch"
    whole, random = path.read_bytes(), np.random.default_rng(1)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(200):
        content = bytearray(whole)
        # Most bytes are pixels, where any value is good: only the bytes around them can break.
        at = int(random.integers(160)) if random.random() < 0.5 else len(content) - 1 - int(random.integers(60))
        content[at] = int(random.integers(256))
        path.write_bytes(content)
        try:
            split = open_source("cifar10", root=root).read("test")
            outcomes["read"] += split.images_nhwc.shape == (4, 32, 32, 3) and 0 <= split.labels.min() <= 9
        except DataError as error:
            outcomes["refused"] += str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert sum(outcomes.values()) == 200 and min(outcomes.values()) > 5


@pytest.fixture(scope="module")
def real_test_split(tmp_path_factory):
    """CIFAR-100's real 10,000 test images in the official layout, standing in for both splits."""
    if not (SHARED / "cifar.py").is_file():
        pytest.skip("no ../shared/data with the real CIFAR")
    spec = importlib.util.spec_from_file_location("shared_cifar", SHARED / "cifar.py")
    shared = importlib.util.module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(shared)
    finally:
        sys.dont_write_bytecode = writes
    content = shared.load("cifar100", "test")
    shared.load = lambda dataset, split: content
    root = tmp_path_factory.mktemp("real")
    shared.to_pickles("cifar100", root)
    return root, content, sorted(shared.COARSE), shared.COARSE


@pytest.mark.slow("unpacks 10,000 real images")
def test_the_real_images(real_test_split, monkeypatch):
    root, (images, labels, _, class_names), coarse_names, coarse = real_test_split
    shrink(monkeypatch, "cifar100", 10_000)
    source = open_source("cifar100", root=root)
    split = source.read("test")
    assert np.array_equal(split.images_nhwc, images) and np.array_equal(split.labels, labels)
    assert list(source.class_names) == list(class_names)
    by_superclass = open_source("cifar100", root=root, labels="coarse")
    assert list(by_superclass.class_names) == coarse_names
    for label, superlabel in zip(labels[:300], by_superclass.read("test").labels, strict=False):
        assert class_names[label] in coarse[coarse_names[superlabel]].split()


@pytest.mark.slow("unpacks 10,000 real images")
def test_the_official_counts_are_required(real_test_split):
    root = real_test_split[0]
    with pytest.raises(DataError, match=r"train: 'data' is uint8 of shape \(10000, 3072\), not .* \(50000, 3072\)"):
        open_source("cifar100", root=root).read("train")
