"""Fetches CIFAR's official archive and unpacks it, completely or not at all."""

import fcntl
import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from loaders.common.errors import DataError
from loaders.common.files import take_lock, why
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


def _download(official: Official, root: Path) -> None:
    from torchvision.datasets.utils import download_url

    try:
        download_url(_SITE + official.archive, str(root), official.archive, official.archive_md5)
    except Exception as error:
        # urllib, http.client, ssl and torchvision raise too many types to list.
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{_SITE}{official.archive}: not downloaded: {reason}; check the network, or put the archive "
                        f"into {root} yourself") from error


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
