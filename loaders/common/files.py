"""Bounded reads, digests, and writes that leave either a whole file or none."""

import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from loaders.common.errors import DataError, Faults

BLOCK_BYTES = 1 << 20

# What a file system answers that lacks an operation.
UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


def why(error: OSError) -> str:
    """The system's text for an error, without the path and number that str() adds."""
    return (error.strerror or str(error) or type(error).__name__).lower()


def check_readable(path: Path, max_bytes: int) -> None:
    """DataError unless path is a regular file of at most max_bytes. It is not opened: a pipe could block forever."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {why(error)}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is not a regular file")
    if status.st_size > max_bytes:
        raise DataError(f"{path}: has {status.st_size:,} bytes; at most {max_bytes:,} are read from such a file")


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file of at most max_bytes; DataError naming path for anything else."""
    check_readable(path, max_bytes)
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {why(error)}") from error
    if len(content) > max_bytes:
        raise DataError(f"{path}: grew while it was read; at most {max_bytes:,} bytes are read from such a file")
    return content


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, hex. Raises OSError."""
    return hash_of(path, hashlib.sha256())


def hash_of(path: Path, digest: "hashlib._Hash") -> str:
    """A file's content in a hash of another kind, hex. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_each(paths: Sequence[Path]) -> list[str]:
    """sha256_of each path, in order, two in parallel (hashing releases the GIL); DataError naming all that cannot be
    read."""
    def digest_or_reason(path: Path) -> tuple[str, str]:
        try:
            return sha256_of(path), ""
        except OSError as error:
            return "", why(error)

    with ThreadPoolExecutor(max_workers=2) as pool:
        found = list(pool.map(digest_or_reason, paths))
    faults = Faults()
    for path, (_, reason) in zip(paths, found, strict=True):
        if reason:
            faults.add(path, f"cannot be read: {reason}")
    faults.refuse()
    return [digest for digest, _ in found]


def write_durably(path: Path, blocks: Iterable[bytes | memoryview],
                  before_rename: Callable[[Path], None] | None = None) -> None:
    """Write blocks to a new file and rename it to path, in an order that survives a power cut.

    The content is on disk before the name points to it, and the name is on disk before this returns. The file has a
    new inode: a process that has mapped the old one keeps it. `before_rename` is called with the complete new file.
    If anything interrupts the write (KeyboardInterrupt too), path is unchanged and the temporary file `.NAME.*.part`
    is removed; only a killed process leaves one (see remove_leftovers). Raises OSError and the errors of the blocks and
    of `before_rename`.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        with beside.open("xb", buffering=0) as file:
            for block in blocks:
                view = memoryview(block).cast("B")
                while view.nbytes:
                    view = view[file.write(view):]
            os.fsync(file.fileno())
        if before_rename:
            before_rename(beside)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as error:
        # Some network and FUSE file systems sync no folders; there the server decides when the name is safe.
        if error.errno not in (errno.EINVAL, *UNSUPPORTED):
            raise
    finally:
        os.close(folder)


def take_lock(descriptor: int, operation: int) -> bool:
    """As fcntl.flock; False where the file system has no locks (some mounts of Lustre, NFS and FUSE)."""
    try:
        fcntl.flock(descriptor, operation)
        return True
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of killed writers of `path`. Only the process that may write path may call this."""
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        leftover.unlink(missing_ok=True)
