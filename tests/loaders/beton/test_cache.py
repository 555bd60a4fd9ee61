import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from loaders.beton import cache, file_format, manifest
from loaders.beton.cache import Damaged, ensure, labels_of, pointers_of, verify
from loaders.common import files
from loaders.common.errors import DataError
from loaders.sources.base import Source, Split

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (60, 8, 6, 3), dtype=np.uint8)
LABELS = np.arange(60) % 4


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    """Files of some kilobytes, so that many can be damaged in a short time."""
    monkeypatch.setattr(file_format, "PAGE_BYTES", 4096)


@pytest.fixture
def source():
    """A data set that counts how often it is read."""
    reads = []

    def read(split):
        reads.append(split)
        return Split(IMAGES, LABELS) if split == "train" else Split(IMAGES[:7], LABELS[:7])

    made = Source("made", ("ant", "bee", "cat", "dog"), 8, "f" * 64, ("train", "test"), read)
    object.__setattr__(made, "reads", reads)
    return made


def images_of(found):
    content = np.fromfile(found.path, np.uint8)
    size = found.height * found.width * 3
    rows = np.stack([content[pointer:pointer + size] for pointer in pointers_of(found).tolist()])
    return rows.reshape(-1, found.height, found.width, 3)


def test_a_beton_is_written_once_then_found(source, tmp_path):
    first = ensure(source, "train", tmp_path / "new" / "cache", on_warning=pytest.fail)
    assert (first.source, first.split, first.samples, first.height, first.width) == ("made", "train", 60, 8, 6)
    assert first.class_names == source.class_names and first.class_counts == (15, 15, 15, 15)
    assert first.path.name == f"made-train-{first.key[:16]}.beton" and first.fingerprint == source.fingerprint
    assert np.array_equal(images_of(first), IMAGES) and np.array_equal(labels_of(first), LABELS)
    assert labels_of(first).dtype == np.int64 and pointers_of(first).dtype == np.uint64
    assert first.sha256 == files.sha256_of(first.path) and first.file_bytes == first.path.stat().st_size
    assert np.allclose(first.channel_mean, IMAGES.mean((0, 1, 2)) / 255)
    assert np.allclose(first.channel_std, IMAGES.std((0, 1, 2)) / 255)
    inode = first.path.stat().st_ino
    assert ensure(source, "train", tmp_path / "new" / "cache", on_warning=pytest.fail) == first
    assert source.reads == ["train"] and first.path.stat().st_ino == inode


def test_equal_data_gives_equal_bytes(source, tmp_path):
    one, other = (ensure(source, "train", tmp_path / name) for name in "ab")
    assert one.path.read_bytes() == other.path.read_bytes()
    assert manifest.path_of(one.path).read_bytes() == manifest.path_of(other.path).read_bytes()


def test_other_content_split_or_writer_gives_another_file(source, tmp_path, monkeypatch):
    paths = {ensure(source, "train", tmp_path).path, ensure(source, "test", tmp_path).path,
             ensure(replace(source, fingerprint="e" * 64), "train", tmp_path).path,
             ensure(replace(source, class_names=("a", "b", "c", "d")), "train", tmp_path).path}
    monkeypatch.setattr(cache, "_WRITER_VERSION", 99)
    paths.add(ensure(source, "train", tmp_path).path)
    assert len(paths) == 5 and len(list(tmp_path.glob("*.beton"))) == 5


def test_progress_counts_samples_up_to_all(source, tmp_path):
    told = []
    ensure(source, "train", tmp_path, on_progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told) and told[-1] == (60, 60) and len(told) > 3
    ensure(source, "train", tmp_path, on_progress=lambda done, total: pytest.fail("written again"))


def test_every_flipped_bit_and_every_cut_is_caught(source, tmp_path):
    found = ensure(source, "train", tmp_path)
    assert verify(found.path, found.key) == found
    whole = found.path.read_bytes()
    caught = 0
    for bit in RANDOM.choice(len(whole) * 8, 300, replace=False).tolist():
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        found.path.write_bytes(content)
        with pytest.raises(Damaged):
            verify(found.path, found.key)
        caught += 1
    for kept in [len(whole) * n // 50 for n in range(50)] + [len(whole) - 7, len(whole) - 1]:
        found.path.write_bytes(whole[:kept])
        with pytest.raises(Damaged, match="it has .* bytes where 60 images"):
            verify(found.path, found.key)
        caught += 1
    found.path.write_bytes(whole + b"\0")
    with pytest.raises(Damaged, match="bytes where"):
        verify(found.path, found.key)
    assert caught == 352
    found.path.write_bytes(whole)
    assert verify(found.path, found.key) == found


def flip_a_pixel(found):
    with found.path.open("r+b") as file:
        file.seek(int(pointers_of(found)[3]))
        file.write(bytes([int(IMAGES[3].ravel()[0]) ^ 1]))


def drop_manifest(found):
    manifest.path_of(found.path).unlink()


def drop_file(found):
    found.path.unlink()


def truncate(found):
    os.truncate(found.path, 0)


def manifest_of_another(found):
    manifest.path_of(found.path).write_text(manifest.dumps(replace(found, key="0" * 64)))


def manifest_with_other_counts(found):
    manifest.path_of(found.path).write_text(manifest.dumps(replace(found, class_counts=(14, 16, 15, 15))))


def manifest_with_another_shape(found):
    manifest.path_of(found.path).write_text(manifest.dumps(replace(found, height=6, width=8)))


@pytest.mark.parametrize(("spoil", "part"), [
    (flip_a_pixel, "its content does not match its checksum"), (drop_manifest, "json is missing"),
    (drop_file, "beton is missing"), (truncate, "it has 0 bytes"), (manifest_of_another, "that of another beton"),
    (manifest_with_other_counts, "labels do not match"), (manifest_with_another_shape, "not all 6 x 8 pixels")])
def test_a_damaged_file_is_rewritten_to_a_new_inode_with_one_warning(source, tmp_path, spoil, part):
    found = ensure(source, "train", tmp_path)
    # Held open as a training process would: what it has mapped must not change under it.
    with found.path.open("rb") as mapped:
        spoil(found)
        before, warnings = mapped.read(), []
        again = ensure(source, "train", tmp_path, on_warning=warnings.append)
        mapped.seek(0)
        assert mapped.read() == before and os.fstat(mapped.fileno()).st_ino != again.path.stat().st_ino
    assert again == found and source.reads == ["train", "train"]
    assert len(warnings) == 1 and part in warnings[0] and warnings[0].startswith(str(found.path))
    assert ensure(source, "train", tmp_path, on_warning=pytest.fail) == found


STAGES = {"before the content's fsync": ("fsync", 1), "before the content's rename": ("replace", 1),
          "before the folder's fsync": ("fsync", 2), "before the manifest's fsync": ("fsync", 3),
          "before the manifest's rename": ("replace", 2), "before the last fsync": ("fsync", 4)}


@pytest.mark.parametrize(("call", "count"), STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("raised", [KeyboardInterrupt, OSError])
def test_a_writer_stopped_at_any_stage_leaves_no_readable_file(source, tmp_path, monkeypatch, call, count, raised):
    seen, real = [], getattr(os, call)

    def stopped(*given):
        seen.append(call)
        if len(seen) == count:
            raise raised(28, "No space left on device")
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(files.os, call, stopped)
        with pytest.raises(KeyboardInterrupt if raised is KeyboardInterrupt else DataError):
            ensure(source, "train", tmp_path)
    assert len(seen) == count and not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*.part"))
    if (call, count) != ("fsync", 4):
        assert not list(tmp_path.glob("*.json"))
    again = ensure(source, "train", tmp_path)
    assert np.array_equal(images_of(again), IMAGES)


def test_a_full_disk_found_while_writing_is_one_line(source, tmp_path, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, block):
            raise OSError(28, "No space left on device")

    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode="r", **k: Full(real(path, mode, **k)) if "x" in mode
                        else real(path, mode, **k))
    with pytest.raises(DataError, match="cannot keep made-train-.*beton: no space left on device; free some"):
        ensure(source, "train", tmp_path)
    assert all(path.name.endswith(".lock") for path in tmp_path.iterdir())


def test_free_space_is_checked_before_writing(source, tmp_path, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    monkeypatch.setattr(cache, "write_durably", lambda *_: pytest.fail("written"))
    with pytest.raises(DataError, match="has 1 MB free, and made-train-.* takes 0 MB; free some space"):
        ensure(source, "train", tmp_path)


def test_bad_content_is_refused_before_anything_is_written(source, tmp_path):
    bad = replace(source, read=lambda split: Split(IMAGES, LABELS + 1))
    with pytest.raises(DataError, match="made, train: labels run from 1 to 4"):
        ensure(bad, "train", tmp_path)
    assert not list(tmp_path.glob("*.beton"))


def test_a_cache_that_cannot_be_a_folder_is_refused(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot keep made-train-.*: .*choose another folder for the cache"):
        ensure(source, "train", tmp_path / "file")


def test_a_read_only_cache_is_read(source, tmp_path, monkeypatch):
    found = ensure(source, "train", tmp_path)
    real = os.open

    def read_only(path, flags, *mode):
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system")
        return real(path, flags, *mode)

    monkeypatch.setattr(cache.os, "open", read_only)
    assert ensure(source, "train", tmp_path, on_warning=pytest.fail) == found
    with pytest.raises(DataError, match="read-only file system"):
        ensure(source, "test", tmp_path)


def test_leftovers_of_killed_writers_are_removed(source, tmp_path):
    found = ensure(source, "train", tmp_path)
    shutil.copy(found.path, tmp_path / f".{found.path.name}.0123456789ab.part")
    found.path.unlink()
    ensure(source, "train", tmp_path, on_warning=lambda line: None)
    assert not list(tmp_path.glob(".*.part"))


def test_labels_and_pointers_refuse_a_file_of_another_shape(source, tmp_path):
    train, test = ensure(source, "train", tmp_path), ensure(source, "test", tmp_path)
    for other in (replace(train, path=test.path), replace(train, height=4), replace(train, samples=59),
                  replace(train, class_names=("a", "b", "c"))):
        for ask in (labels_of, pointers_of):
            with pytest.raises(DataError, match="has changed since it was checked: .*start again"):
                ask(other)
    train.path.unlink()
    with pytest.raises(DataError, match="cannot be read: no such file"):
        labels_of(train)


TWO = """
import sys
from pathlib import Path
import numpy as np
from loaders.beton.cache import ensure
from loaders.sources.base import Source, Split

cache = Path(sys.argv[1])

def read(split):
    with (cache / "reads").open("a") as file:
        file.write("read\\n")
    sys.stdin.readline()
    return Split(np.zeros((20, 8, 8, 3), np.uint8), np.arange(20) % 2)

warned = lambda line: print("warned", line, flush=True)
print(ensure(Source("made", ("a", "b"), 8, "f" * 64, ("train",), read), "train", cache, on_warning=warned).sha256)
"""


@pytest.mark.slow("starts two processes")
def test_two_processes_share_one_beton(tmp_path):
    def start():
        return subprocess.Popen([sys.executable, "-c", TWO, str(tmp_path)], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)

    # Each reads its data only after a line from here, so the first holds the lock until the second says it waits.
    both = [start(), start()]
    try:
        waiting = next(line for line in iter_lines(both) if "another process is writing made-train" in line)
        assert waiting.startswith("warned")
        for process in both:
            process.stdin.write("go\n")
            process.stdin.flush()
        rest = [process.communicate(timeout=60)[0].split()[-1] for process in both]
    finally:
        for process in both:
            process.kill()
    assert len(rest[0]) == 64 and rest[0] == rest[1]
    assert (tmp_path / "reads").read_text() == "read\n" and len(list(tmp_path.glob("*.beton"))) == 1


def iter_lines(processes):
    """The first line of either process; only the waiting one has printed anything yet."""
    import selectors

    with selectors.DefaultSelector() as selector:
        for process in processes:
            selector.register(process.stdout, selectors.EVENT_READ)
        for key, _ in selector.select(timeout=60):
            yield key.fileobj.readline()


def test_the_manifest_is_plain_json(source, tmp_path):
    entries = json.loads(manifest.path_of(ensure(source, "test", tmp_path).path).read_text())
    assert entries["samples"] == 7 and entries["class_counts"] == [2, 2, 2, 1] and entries["split"] == "test"
