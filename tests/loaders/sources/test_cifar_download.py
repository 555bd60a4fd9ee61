import hashlib
import io
import os
import pickle
import sys
import tarfile
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from loaders.common.errors import DataError
from loaders.sources import cifar
from loaders.sources.open import open_source

FOLDER = "cifar-100-python"


def members():
    labels = list(range(5))
    batch = {"data": np.zeros((5, 3072), np.uint8), "fine_labels": labels, "coarse_labels": labels}
    meta = {"fine_label_names": [f"f{n}" for n in range(100)], "coarse_label_names": [f"c{n}" for n in range(20)]}
    return {f"{FOLDER}/{name}": pickle.dumps(content, protocol=2)
            for name, content in (("train", batch), ("test", batch), ("meta", meta))}


def archive(path, files, *, extra=()):
    with tarfile.open(path, "w:gz") as tar:
        for info, content in [*extra, *((tarfile.TarInfo(name), content) for name, content in files.items())]:
            info.size = len(content) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def site(monkeypatch):
    """A torchvision whose download_url calls the test's site.serve and counts the calls."""
    official = cifar.OFFICIAL["cifar100"]
    rows = {"train": {"train": 5}, "test": {"test": 5}}
    monkeypatch.setitem(cifar.OFFICIAL, "cifar100", replace(official, rows=rows))
    module = ModuleType("torchvision.datasets.utils")
    module.calls, module.serve = [], lambda path: archive(path, members())

    def download_url(url, root, filename, md5):
        module.calls.append((url, md5))
        module.serve(os.path.join(root, filename))

    module.download_url = download_url
    for name in ("torchvision", "torchvision.datasets"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchvision.datasets.utils", module)
    return module


def test_absent_data_is_fetched_once_with_its_checksum(site, tmp_path):
    root = tmp_path / "new" / "root"
    source = open_source("cifar100", root=root, download=True)
    assert source.read("train").labels.tolist() == [0, 1, 2, 3, 4]
    assert open_source("cifar100", root=root, download=True).fingerprint == source.fingerprint
    url, md5 = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"
    assert site.calls == [(url, md5)]
    assert sorted(os.listdir(root)) == [".cifar-100-python.lock", FOLDER, "cifar-100-python.tar.gz"]


def test_nothing_is_fetched_without_a_request(site, tmp_path):
    with pytest.raises(DataError, match="--data.download=true"):
        open_source("cifar100", root=tmp_path)
    assert site.calls == []


def test_what_a_stopped_download_left_is_named_with_its_md5(site, tmp_path):
    path = tmp_path / "cifar-100-python.tar.gz"
    path.write_bytes(b"abc")
    said = (rf"no {tmp_path}/cifar-100-python, but {path} is cut short or damaged: it has 3 bytes and the MD5 "
            "900150983cd24fb0d6963f7d28e17f72, the official archive eb9058c3a382ffc7106e4002c42a8d85; remove it")
    with pytest.raises(DataError, match=said):
        open_source("cifar100", root=tmp_path)
    path.rename(tmp_path / "cifar-100-python.tar.gz.crdownload")
    with pytest.raises(DataError, match="tar.gz.crdownload is cut short or damaged"):
        open_source("cifar100", root=tmp_path)
    site.serve = offline
    path.write_bytes(b"abc")
    with pytest.raises(DataError, match=r"not downloaded: .*yourself \(.*is cut short or damaged: it has 3 .*\)$"):
        open_source("cifar100", root=tmp_path, download=True)
    assert path.read_bytes() == b"abc"


def test_a_complete_archive_is_named_and_is_not_fetched_again(site, tmp_path, monkeypatch):
    archive(tmp_path / "cifar-100-python.tar.gz", members())
    md5 = hashlib.md5((tmp_path / "cifar-100-python.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setitem(cifar.OFFICIAL, "cifar100", replace(cifar.OFFICIAL["cifar100"], archive_md5=md5))
    with pytest.raises(DataError, match=rf"tar.gz is complete \(its MD5 is {md5}\); unpack it there, or"):
        open_source("cifar100", root=tmp_path)
    assert len(open_source("cifar100", root=tmp_path, download=True).read("train").labels) == 5 and site.calls == []


def test_an_interrupted_download_leaves_no_archive(site, tmp_path):
    def stopped(path):
        archive(path, members())
        raise KeyboardInterrupt

    site.serve = stopped
    with pytest.raises(KeyboardInterrupt):
        open_source("cifar100", root=tmp_path, download=True)
    assert sorted(os.listdir(tmp_path)) == [".cifar-100-python.lock"]


def test_all_missing_files_are_named(site, tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "meta").touch()
    with pytest.raises(DataError, match="train, test are missing, so cifar100 is incomplete"):
        open_source("cifar100", root=tmp_path)


def test_an_evil_archive_writes_nothing_outside_and_only_what_is_expected(site, tmp_path):
    root = tmp_path / "root"
    outside = tarfile.TarInfo("../evil")
    absolute = tarfile.TarInfo(str(tmp_path / "evil"))
    link = tarfile.TarInfo(f"{FOLDER}/link")
    link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
    extra = [(outside, b"x"), (absolute, b"x"), (link, b""), (tarfile.TarInfo(f"{FOLDER}/link/evil"), b"x"),
             (tarfile.TarInfo(f"{FOLDER}/more"), b"x")]
    site.serve = lambda path: archive(path, members(), extra=extra)
    open_source("cifar100", root=root, download=True)
    assert sorted(os.listdir(root / FOLDER)) == ["meta", "test", "train"]
    assert os.listdir(tmp_path) == ["root"]


def expected_as_link(path):
    link = tarfile.TarInfo(f"{FOLDER}/meta")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive(path, {name: content for name, content in members().items() if "meta" not in name}, extra=[(link, b"")])


def too_large(path):
    archive(path, members() | {f"{FOLDER}/meta": bytes(70_000)})


def cut(path):
    archive(path, members())
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)


def flipped(path):
    archive(path, members())
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        file.write(b"\xff" * 20)


def no_archive(path):
    with open(path, "wb") as file:
        file.write(b"<html>not found</html>")


def lacking(path):
    archive(path, {name: content for name, content in members().items() if "meta" not in name})


def offline(path):
    raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")


def corrupted(path):
    raise RuntimeError("File not found or corrupted.")


@pytest.mark.parametrize(("serve", "part"), [
    (expected_as_link, "meta is not the official file"), (too_large, "meta is not the official file"),
    (cut, "cannot be unpacked"), (flipped, "cannot be unpacked|lacks"), (no_archive, "cannot be unpacked"),
    (lacking, "lacks cifar-100-python/meta"), (offline, "not downloaded: .*name resolution.*; check the network"),
    (corrupted, "not downloaded: File not found or corrupted")])
def test_a_failed_download_is_one_line_and_leaves_no_data(site, tmp_path, serve, part):
    site.serve = serve
    with pytest.raises(DataError, match=part) as caught:
        open_source("cifar100", root=tmp_path, download=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / FOLDER).exists() and not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*.tmp"))


def test_an_unwritable_root_is_refused(site, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be stored there: .*; free some space or choose a writable folder"):
        open_source("cifar100", root=tmp_path / "file", download=True)
