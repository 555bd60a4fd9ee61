"""Files that are either whole or not there."""

import contextlib
import errno
import json
import math
import os
import shutil
from pathlib import Path

from engine.common.errors import EngineError


def expand(path: str | os.PathLike) -> Path:
    """A path with `~` and `~name` as home folders; that of a name which nobody here has stays as it is."""
    return Path(os.path.expanduser(path))


def write_atomic(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Write beside, fsync, rename, fsync the folder: after a crash `path` is the old file or the new one.

    With `previous` the new file is read back and compared first, and what `path` was before is kept there; `path` is
    at no moment absent. Raises EngineError where the disk is full or the folder cannot be written, or where what was
    read back differs; nothing half-written stays.
    """
    beside, kept = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("part", "kept.part"))
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None:
            if beside.read_bytes() != content:
                raise OSError(errno.EIO, "it was read back differently")
            if path.exists():
                kept.unlink(missing_ok=True)
                try:
                    os.link(path, kept)
                except OSError:
                    # Not every file system has hard links.
                    shutil.copyfile(path, kept)
                os.replace(kept, previous)
        os.replace(beside, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        remove(beside, kept)
        raise refused(path, error) from None
    except BaseException:
        remove(beside, kept)
        raise


def remove(*paths: Path) -> None:
    """Remove what is there; what cannot be removed stays."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what a process that was killed while it wrote left in `folder`."""
    remove(*folder.glob(".*.part"))


def refuse_unwritable(path: Path) -> None:
    """EngineError, before any work, where a file could not be written at `path`."""
    nearest = next(place for place in path.absolute().parents if place.exists())
    if path.is_dir() or not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise EngineError(f"{path} cannot be written: give the name of a file in a folder that can be")


def write_json(path: Path, value: object) -> None:
    """Write `value` as strict JSON by `write_atomic`, into a folder that is made where it is not there; NaN and
    infinities, which JSON lacks, become null."""
    make_folder(path.parent)
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
