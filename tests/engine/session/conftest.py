"""What the tests of sessions share."""

import pytest

from recipes.settings.load import load
from tests.engine.small_runs import SMALL


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def recipe(cache):
    """recipe(folder, **{setting: value}): a run of a second in that folder."""
    def of(folder, **more):
        return load("quickstart", settings={**SMALL, "data.cache": str(cache), "run.folder": str(folder), **more})

    return of
