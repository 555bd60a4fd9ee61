"""Files that are either whole or not there."""

import errno
import json
import math
import os
from pathlib import Path

from engine.errors import EngineError


def write_atomic(path: Path, content: bytes) -> None:
    """Write beside, fsync, rename, fsync the folder: after a crash `path` is the old file or the new one.

    Raises EngineError where the disk is full or the folder cannot be written; nothing half-written stays.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise refused(path, error) from None
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    """Write `value` as strict JSON by `write_atomic`; NaN and infinities, which JSON lacks, become null.

    A FileNotFoundError's place is taken by an EngineError that names the missing folder.
    """
    if not path.parent.is_dir():
        raise EngineError(f"{path}: its folder does not exist: create it, or choose another")
    write_atomic(path, (json.dumps(finite(value), indent=1, allow_nan=False) + "\n").encode())


def finite(value: object) -> object:
    """`value` with every NaN and infinity in its dicts and lists replaced by None."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refused(path: Path, error: OSError) -> EngineError:
    """The one line for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EngineError(f"{path}: no space left on the disk: free some, or choose another folder")
    return EngineError(f"{path} cannot be written ({error.strerror}): choose another folder")


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; EngineError where that is not allowed or something else is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise refused(path, error) from None
    return path
