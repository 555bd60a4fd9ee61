"""A small data set and its beton, which the tests of the feeds only read."""

import pytest

from loaders.beton.cache import ensure
from loaders.sources.open import open_source


@pytest.fixture(scope="session")
def source():
    return open_source("shapes", resolution=16, train_count=300, test_count=100)


@pytest.fixture(scope="session")
def beton(source, tmp_path_factory):
    return ensure(source, "train", tmp_path_factory.mktemp("cache"))
