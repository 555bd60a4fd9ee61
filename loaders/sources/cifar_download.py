"""Fetches CIFAR's official archive and unpacks it, completely or not at all."""

import fcntl
import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from loaders.common.errors import DataError
from loaders.common.files import hash_of, take_lock, why
from loaders.sources.cifar_layout import Official

_SITE = "https://www.cs.toronto.edu/~kriz/"


def fetch(official: Official, root: Path) -> Path:
    """Download official.archive to root, check its MD5, unpack it, return the complete folder; DataError on failure.

    One process fetches while others wait.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / f".{official.folder}.lock").open("w") as lock:
            take_lock(lock.fileno(), fcntl.LOCK_EX)
            folder = root / official.folder
            if not folder.is_dir():
                _download(official, root)
                _unpack(official, root / official.archive, folder)
            return folder
    except OSError as error:
        raise DataError(f"data.root={root}: {official.archive} cannot be stored there: {why(error)}; free some space "
                        f"or choose a writable folder") from error


def about_archive(official: Official, root: Path) -> str:
    """What is to be said of the archive in `root`, or of what a stopped download left of it; "" where there is none."""
    path = next((path for path in sorted(root.glob(f"{official.archive}*")) if path.is_file()), None)
    if path is None:
        return ""
    try:
        md5, size_bytes = _md5_of(path), path.stat().st_size
    except OSError as error:
        return f"{path} cannot be read: {why(error)}"
    if md5 == official.archive_md5:
        return f"{path} is complete (its MD5 is {md5}); unpack it there, or let --data.download=true do that"
    return (f"{path} is cut short or damaged: it has {size_bytes:,} bytes and the MD5 {md5}, the official archive "
            f"{official.archive_md5}; remove it, and fetch it again: --data.download=true")


def _md5_of(path: Path) -> str:
    return hash_of(path, hashlib.md5(usedforsecurity=False))


def _download(official: Official, root: Path) -> None:
    """Download to a file beside, so that what has the archive's name is the archive; a right one stays as it is."""
    archive, beside = root / official.archive, root / f".{official.archive}.part"
    if archive.is_file() and _md5_of(archive) == official.archive_md5:
        return
    from torchvision.datasets.utils import download_url

    try:
        download_url(_SITE + official.archive, str(root), beside.name, official.archive_md5)
        beside.replace(archive)
    except Exception as error:
        # urllib, http.client, ssl and torchvision raise too many types to list.
        reason, there = " ".join(str(error).split())[:200], about_archive(official, root).partition(";")[0]
        raise DataError(f"{_SITE}{official.archive}: not downloaded: {reason}; check the network, or put the archive "
                        f"into {root} yourself{there and f' ({there})'}") from error
    finally:
        beside.unlink(missing_ok=True)


def _unpack(official: Official, archive: Path, folder: Path) -> None:
    """Extract only the expected files, then rename their folder to `folder`."""
    expected = {f"{official.folder}/{file}": file for file in official.files}
    beside = Path(tempfile.mkdtemp(prefix=f".{official.folder}.", suffix=".tmp", dir=folder.parent))
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                file = expected.get(member.name)
                if file is None:
                    continue
                if not member.isfile() or member.size > official.max_bytes(file):
                    raise DataError(f"{archive}: {member.name} is not the official file; remove the archive and fetch "
                                    "it again")
                tar.extract(member, beside, filter="data")
        missing = [name for name in expected if not (beside / name).is_file()]
        if missing:
            raise DataError(f"{archive}: lacks {missing[0]}; remove the archive and fetch it again")
        for name in expected:
            with (beside / name).open("rb") as file:
                os.fsync(file.fileno())
        (beside / official.folder).rename(folder)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({type(error).__name__}); remove it and fetch it again"
                        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
