import subprocess
import sys

import pytest

from loaders.common.errors import DataError
from loaders.sources.base import DatasetInfo
from loaders.sources.open import dataset_info, open_source


def test_info_of_known_data_sets():
    assert dataset_info("cifar10") == DatasetInfo(50_000, 10_000, 10)
    assert dataset_info("cifar100") == DatasetInfo(50_000, 10_000, 100)
    assert dataset_info("cifar100", labels="coarse") == DatasetInfo(50_000, 10_000, 20)
    assert dataset_info("folder") is None
    shapes = dataset_info("shapes", classes=30, resolution=64, train_count=500, test_count=90)
    assert shapes == DatasetInfo(500, 90, 30)


@pytest.mark.parametrize(("settings", "part"), [
    ({"name": "imagenet"}, "data.name=imagenet is not a data set; choose one of cifar10, cifar100, folder, shapes"),
    ({"name": "cifar10", "labels": "coarse"}, "data.labels=coarse is not known for cifar10; choose fine"),
    ({"name": "cifar100", "labels": "both"}, "data.labels=both is not known for cifar100; choose fine or coarse"),
    ({"name": "cifar100", "resolution": 64}, "data.resolution=64 does not apply: cifar100's images have 32 pixels"),
    ({"name": "shapes", "classes": 9}, "data.classes=9: shapes come in 10 to 100 classes"),
    ({"name": "shapes", "classes": 101}, "data.classes=101"),
    ({"name": "shapes", "resolution": 7}, "data.resolution=7: shapes are drawn at 8 to 1024"),
    ({"name": "shapes", "train_count": 9}, "data.train_count=9 must be at least data.classes=10"),
    ({"name": "shapes", "classes": 20, "test_count": 19}, "data.test_count=19 must be at least data.classes=20")])
def test_info_refuses_what_opening_refuses(settings, part, tmp_path):
    for ask in (dataset_info, lambda **given: open_source(root=tmp_path, **given)):
        with pytest.raises(DataError) as caught:
            ask(**settings)
        assert part in str(caught.value)


@pytest.mark.slow("starts a process")
def test_info_needs_no_heavy_import():
    script = ("import sys, loaders.sources.open as s; s.dataset_info('shapes')\n"
              "print(*{'numpy', 'PIL', 'torch'} & set(sys.modules))")
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout.strip() == b""


@pytest.mark.slow("starts a process")
def test_writing_and_checking_betons_needs_neither_torch_nor_ffcv(tmp_path):
    script = ("import sys\nfrom loaders.sources.open import open_source\n"
              "from loaders.beton.cache import ensure, labels_of\n"
              "source = open_source('shapes', train_count=20, test_count=20, resolution=8)\n"
              "labels_of(ensure(source, 'test', sys.argv[1]))\n"
              "print(*{'torch', 'torchvision', 'ffcv', 'numba', 'fastargs'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=True)
    assert done.stdout.strip() == b""
