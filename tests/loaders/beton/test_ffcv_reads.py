"""FFCV reads what this project writes, and vice versa. The tests run in a child process: FFCV's writer forks, and its
import takes seconds and changes torch's threads."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = '''
import sys
from pathlib import Path

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.loader import Loader, OrderOption
from ffcv.reader import Reader
from ffcv import types
from ffcv.writer import DatasetWriter

from loaders.beton import file_format as own
from loaders.beton.cache import ensure, labels_of, pointers_of
from loaders.sources.base import Source, Split

assert own.HEADER == types.HeaderType and own.FIELD == types.FieldDescType
assert own.ALLOCATION == types.ALLOC_TABLE_TYPE and own.VERSION == types.CURRENT_VERSION
assert own.SAMPLE == types.get_metadata_type([RGBImageField(), IntField()])
assert own.IMAGE == RGBImageField().metadata_type
assert [types.TYPE_ID_HANDLER[kind] for _, kind in own.FIELDS] == [RGBImageField, IntField]
print("dtypes agree")

random = np.random.default_rng(0)
images = random.integers(0, 256, (300, 120, 100, 3), dtype=np.uint8)
labels = random.permutation(np.arange(300) % 7)
source = Source("made", tuple("abcdefg"), 120, "f" * 64, ("train",), lambda split: Split(images, labels))
beton = ensure(source, "train", sys.argv[1])
assert beton.file_bytes == 8388608 * 3 + 300 * 24


reader = Reader(str(beton.path))
assert reader.num_samples == 300 and reader.page_size == 8388608 and list(reader.handlers) == ["image", "label"]
assert np.array_equal(reader.metadata["f1"], labels) and np.array_equal(labels_of(beton), labels)
assert np.array_equal(reader.metadata["f0"]["data_ptr"], pointers_of(beton))
assert np.array_equal(reader.alloc_table["ptr"], pointers_of(beton)) and set(reader.alloc_table["size"]) == {36000}
print("the stock reader agrees")

loader = Loader(str(beton.path), batch_size=64, num_workers=1, order=OrderOption.SEQUENTIAL, drop_last=False)
epoch = iter(loader)
batches = [(image.numpy().copy(), label.numpy().copy()) for image, label in epoch]
epoch.close()
epoch.join()
assert np.array_equal(np.concatenate([batch[0] for batch in batches]), images)
assert np.array_equal(np.concatenate([batch[1] for batch in batches]).ravel(), labels)
print("the stock loader agrees")

theirs = Path(sys.argv[1]) / "theirs.beton"
writer = DatasetWriter(str(theirs), {"image": RGBImageField(), "label": IntField()}, num_workers=1)
writer.from_indexed_dataset([(images[n], int(labels[n])) for n in range(300)])
# Equal bytes: so what the loader makes of theirs is what it made of ours.
assert theirs.read_bytes() == beton.path.read_bytes()
print("the stock writer with one worker writes the same bytes")
'''


@pytest.mark.slow("imports FFCV in a process of its own")
def test_the_format_is_ffcvs(tmp_path):
    pytest.importorskip("torch")
    if not any(Path(folder, "ffcv").is_dir() for folder in sys.path):
        pytest.skip("FFCV is not installed")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["dtypes agree", "the stock reader agrees", "the stock loader agrees",
                                        "the stock writer with one worker writes the same bytes"]
