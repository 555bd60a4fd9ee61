import errno
import fcntl
import os
from hashlib import sha256

import pytest

from loaders.common import files
from loaders.common.errors import DataError


def test_bounded_read_gives_the_whole_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100)
    assert files.read_bounded(path, 100) == b"x" * 100


def test_larger_files_are_refused_before_reading(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 101)
    monkeypatch.setattr(type(path), "open", lambda *_, **__: pytest.fail("was opened"))
    with pytest.raises(DataError, match="a: has 101 bytes; at most 100"):
        files.read_bounded(path, 100)


def test_pipes_devices_folders_and_absent_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "endless", "folder", "absent"):
        with pytest.raises(DataError, match=f"{name}: (is not a regular file|cannot be read: no such file)"):
            files.read_bounded(tmp_path / name, 100)


def test_digests_are_sha256_in_order(tmp_path):
    contents = [b"", b"abc", os.urandom(3 << 20)]
    paths = [tmp_path / str(n) for n in range(3)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    assert files.sha256_of_each(paths) == [sha256(content).hexdigest() for content in contents]
    gone = [tmp_path / name for name in ("gone", "lost")]
    with pytest.raises(DataError) as caught:
        files.sha256_of_each([gone[0], paths[0], gone[1]])
    assert str(caught.value) == (f"2 faults: {gone[0]}, {gone[1]}: each cannot be read: no such file or directory")


def test_durable_write_replaces_by_a_new_inode(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with path.open("rb") as mapped:
        files.write_durably(path, [b"new ", memoryview(b"content")])
        assert mapped.read() == b"old"
    assert path.read_bytes() == b"new content"
    assert os.listdir(tmp_path) == ["a"]


def test_content_is_synced_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def told_fsync(descriptor):
        calls.append(f"fsync {os.path.basename(os.readlink(f'/proc/self/fd/{descriptor}'))}")
        fsync(descriptor)

    def told_replace(source, target):
        calls.append(f"replace {target.name}")
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", told_fsync)
    monkeypatch.setattr(files.os, "replace", told_replace)
    files.write_durably(tmp_path / "a", [b"content"])
    assert [call.split(".")[0] for call in calls] == ["fsync ", "replace a", f"fsync {tmp_path.name}"]
    assert calls[0].startswith("fsync .a.") and calls[0].endswith(".part")


@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("bad")])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, raised):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def blocks():
        yield b"half"
        raise raised

    with pytest.raises(type(raised)):
        files.write_durably(path, blocks())
    assert os.listdir(tmp_path) == ["a"] and path.read_bytes() == b"old"


def test_only_this_files_leftovers_are_removed(tmp_path):
    for name in (".a.beton.0123.part", ".b.beton.0123.part", "a.beton", ".a.lock"):
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path / "a.beton")
    assert sorted(os.listdir(tmp_path)) == [".a.lock", ".b.beton.0123.part", "a.beton"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_that_syncs_no_folders_is_written_to(tmp_path, monkeypatch, number):
    fsync = os.fsync

    def no_folders(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", no_folders)
    files.write_durably(tmp_path / "a", [b"content"])
    assert (tmp_path / "a").read_bytes() == b"content"


def test_a_folder_whose_sync_fails_raises(tmp_path, monkeypatch):
    fsync = os.fsync

    def full(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, "broken")
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="broken"):
        files.write_durably(tmp_path / "a", [b"content"])


def test_a_lock_that_the_file_system_lacks_is_told_and_one_that_is_held_raises(tmp_path, monkeypatch):
    with (tmp_path / "lock").open("w") as one, (tmp_path / "lock").open("w") as other:
        assert files.take_lock(one.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            files.take_lock(other.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        for number in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
            monkeypatch.setattr(fcntl, "flock", lambda *_, number=number: (_ for _ in ()).throw(OSError(number, "no")))
            assert not files.take_lock(one.fileno(), fcntl.LOCK_EX)
