"""A run folder belongs to one process, for as long as that lives."""

import errno
import fcntl
import os
import signal

import pytest

from engine.common.errors import EngineError
from engine.storage.folder_lock import FolderLock


def test_a_second_holder_is_told_of_the_first(tmp_path):
    with FolderLock(tmp_path), pytest.raises(EngineError, match=f"in use by process {os.getpid()} on"):
        FolderLock(tmp_path)
    FolderLock(tmp_path).close()


@pytest.mark.slow("forks a holder, to kill it")
def test_the_lock_goes_with_its_holder(tmp_path):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        FolderLock(tmp_path)
        os.write(write, b"held")
        signal.pause()
    assert os.read(read, 4) == b"held"
    with pytest.raises(EngineError, match=f"process {child}"):
        FolderLock(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    FolderLock(tmp_path).close()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(EngineError, match="cannot be written"):
        FolderLock(tmp_path / "absent")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_one_warning(tmp_path, monkeypatch, capsys, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with FolderLock(tmp_path):
        assert capsys.readouterr().err.count("has no locks") == 1


def test_a_lock_that_fails_for_another_reason_is_not_taken_for_held(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(EngineError, match="cannot be written \\(Input/output error"):
        FolderLock(tmp_path)
