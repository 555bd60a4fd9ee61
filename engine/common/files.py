"""Files that are either complete or absent, and folders that can be written."""

import contextlib
import errno
import json
import math
import os
import shutil
from pathlib import Path

from engine.common.errors import EngineError
from loaders.common.files import write_durably

LARGEST_JSON_BYTES = 64 << 20


def expand(path: str | os.PathLike) -> Path:
    """`path` with a leading `~` or `~name` replaced by that user's home folder, if the user exists."""
    return Path(os.path.expanduser(path))


def write_atomic(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Write `content` durably: after a crash `path` is the complete old or new file.

    With `previous` the new file is first read back and compared, and the old file is kept there; `path` always exists.
    Raises EngineError, leaving no partial file, if the disk is full, the folder cannot be written, or the content read
    back differs.
    """
    def keep_former(new_file: Path) -> None:
        if new_file.read_bytes() != content:
            raise OSError(errno.EIO, "the content read back differs")
        if not path.exists():
            return
        former = new_file.with_suffix(".kept.part")
        try:
            try:
                os.link(path, former)
            except OSError:
                # Not every file system has hard links.
                shutil.copyfile(path, former)
            os.replace(former, previous)
        finally:
            remove(former)

    try:
        write_durably(path, [content], keep_former if previous else None)
    except OSError as error:
        raise refused(path, error) from None


def remove(*paths: Path) -> None:
    """Remove the files; those that cannot be removed stay."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove the partial files of killed processes from `folder`."""
    remove(*folder.glob(".*.part"))


def nearest_existing(path: Path) -> Path:
    """The path if it exists, otherwise its nearest existing parent."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())


def refuse_unwritable(path: Path) -> None:
    """EngineError, before any work, if no file can be written at `path`."""
    if path.is_dir() or not can_be_made(path.parent):
        raise EngineError(f"{path} cannot be written: give the name of a file in a folder that can be")


def refuse_unwritable_folder(folder: Path, setting: str) -> None:
    """EngineError, before any work, if `folder`, chosen by `setting`, cannot be made or written."""
    if not can_be_made(folder):
        raise EngineError(f"{setting}={folder} cannot be written, {nearest_existing(folder)} is not a folder that can "
                          f"be: choose another with --{setting.lstrip('-')}")


def can_be_made(folder: Path) -> bool:
    """Whether `folder` exists and can be written, or can be made."""
    nearest = nearest_existing(folder)
    return nearest.is_dir() and os.access(nearest, os.W_OK)


def read_json(path: Path, way: str) -> dict:
    """A JSON file's object; EngineError ending with `way` (the remedy) if the file is missing, damaged or huge."""
    try:
        found = json.loads(path.read_text("utf-8")) if path.stat().st_size <= LARGEST_JSON_BYTES else None
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise EngineError(f"{path} is missing or damaged: {way}")
    return found


def write_json(path: Path, value: object) -> None:
    """Write `value` as strict JSON by `write_atomic`, making its folder; NaN and infinities become null."""
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
    """The one-line error for a file that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EngineError(f"{path}: no space left on the disk: free some, or choose another folder")
    return EngineError(f"{path} cannot be written ({error.strerror}): choose another folder")


def make_folder(path: Path) -> Path:
    """Create a writable folder and its parents, or raise EngineError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise refused(path, error) from None
    return path
