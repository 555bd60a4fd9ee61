"""Rows of the fault table: archives that are hostile or cut short."""

import io
import os
import tarfile
from pathlib import Path

from torchvision.datasets import utils

from benchmarks.drills.table import Checks
from loaders.sources import cifar
from loaders.sources.cifar_download import fetch
from loaders.sources.open import open_source

OFFICIAL = cifar.OFFICIAL["cifar10"]
SIZE_BYTES = 5_000


def other(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """An archive member that should not be there."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b"evil" if kind == tarfile.REGTYPE else b""


def archive(content: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for info, data in content:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def evil(checks: Checks, place: Path) -> None:
    """an archive with paths that lead out, links, devices, sizes beyond reason, or cut short."""
    inside, outside = f"{OFFICIAL.folder}/data_batch_1", place / "outside"
    harmless = [other("../outside"), other(str(outside)), other(f"{OFFICIAL.folder}/../../outside"),
                other(f"{OFFICIAL.folder}/link", tarfile.SYMTYPE, str(place)), other(f"{OFFICIAL.folder}/link/outside"),
                other(f"{OFFICIAL.folder}/more"), other("/dev/sda", tarfile.BLKTYPE)]
    # The official archive's members, with other content.
    official = [(tarfile.TarInfo(f"{OFFICIAL.folder}/{name}"), bytes(range(100)) * (SIZE_BYTES // 100))
                for name in OFFICIAL.files]
    rest = [member for member in official if member[0].name != inside]
    large = tarfile.TarInfo(inside), bytes(OFFICIAL.max_bytes("data_batch_1") + 1)
    whole = archive(official)
    evil_kinds = {"symbolic link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE,
                  "pipe": tarfile.FIFOTYPE, "folder": tarfile.DIRTYPE}
    refused = {name: archive([other(inside, kind, "/etc/passwd" if "link" in name else ""), *rest])
               for name, kind in evil_kinds.items()}
    refused |= {"too large": archive([large, *rest]), "one missing": archive(rest)}
    refused |= {f"cut {n}": whole[:len(whole) * n // 20] for n in range(20)}

    def serve(content: bytes, name: str) -> Path:
        root = place / name.replace(" ", "_")
        utils.download_url = lambda url, folder, file, md5: (Path(folder) / file).write_bytes(content)
        fetch(OFFICIAL, root)
        return root

    for name, content in refused.items():
        checks.refuses(lambda name=name, content=content: serve(content, name))
        found = [file for _, _, files in os.walk(place / name.replace(" ", "_")) for file in files]
        checks.survives(lambda found=found: set(found) <= {OFFICIAL.archive, f".{OFFICIAL.folder}.lock"})

    # Only the expected files are taken.
    checks.survives(lambda: sorted(os.listdir(serve(archive([*harmless, *official]), "harmless") / OFFICIAL.folder))
                    == sorted(OFFICIAL.files) and not outside.exists())
    # Packed correctly, but nonsense as data.
    checks.refuses(lambda: open_source("cifar10", root=place / "harmless"), "batches.meta")


ROWS = (evil,)
