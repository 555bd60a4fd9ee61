"""One process per run folder: a lock that the system releases however its holder ends."""

import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import refused
from loaders.common.files import take_lock

NAME = ".lock"


class FolderLock:
    """Locks `folder` for this process until `close`; EngineError where another process holds it.

    Where the file system has no locks, one warning.
    """

    def __init__(self, folder: Path):
        try:
            self.file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise refused(folder / NAME, error) from None
        try:
            if not take_lock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                print(f"warning: {folder}: its file system has no locks; let no second process use this folder",
                      file=sys.stderr)
        except BlockingIOError:
            holder = os.pread(self.file, 100, 0).decode(errors="replace").strip() or "another process"
            os.close(self.file)
            raise EngineError(f"{folder} is in use by {holder}: wait for it, or choose another folder") from None
        except OSError as error:
            os.close(self.file)
            raise refused(folder / NAME, error) from None
        # On a full disk the lock holds too, only the name of its holder is missing.
        with suppress(OSError):
            os.ftruncate(self.file, 0)
            os.pwrite(self.file, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        if self.file is not None:
            os.close(self.file)
            self.file = None
