"""Packages of extras: missing, there, or there and not importable, which is another line with another remedy."""

import importlib
import sys

import pytest

from engine.common.errors import EngineError
from engine.common.optional import import_extra, is_installed, refuse_missing
from engine.session import trackers

PACKAGES = {"whole_extra": "answer = 42", "half_extra": "import its_own_need",
            "old_extra": "from json import no_such_name",
            "rude_extra": "raise TypeError('Descriptors cannot\\nbe created directly')"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder on the path with packages, and `wandb_output`, a folder that is none."""
    for name, text in PACKAGES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    (tmp_path / "wandb_output" / "run-1").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in (*PACKAGES, "wandb_output")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_a_package_that_is_there_is_imported(place):
    assert import_extra("whole_extra", "a test", "extra").answer == 42 and is_installed("whole_extra")


@pytest.mark.parametrize(("name", "said"), [
    ("absent_extra", "a test needs the absent_extra package: pip install 'cadence-train[extra]'"),
    ("wandb_output", "a test needs the wandb_output package: pip install 'cadence-train[extra]'"),
    ("half_extra", "a test needs the half_extra package, which is installed but cannot be imported (No module named "
                   "'its_own_need'): pip install 'cadence-train[extra]' adds it"),
    ("whole_extra.part", "a test needs the whole_extra package, which is installed but cannot be imported (No module "
                         "named 'whole_extra.part'): pip install --force-reinstall whole_extra"),
    ("rude_extra", "a test needs the rude_extra package, which is installed but cannot be imported (Descriptors cannot "
                   "be created directly): pip install --force-reinstall rude_extra"),
])
def test_each_reason_is_a_line_of_its_own_with_its_remedy(place, name, said):
    with pytest.raises(EngineError) as caught:
        import_extra(name, "a test", "extra")
    assert str(caught.value) == said


def test_another_name_at_pypi_is_the_one_to_install(place):
    with pytest.raises(EngineError, match="needs the old-extra package, .*: pip install --force-reinstall old-extra"):
        import_extra("old_extra", "a test", "extra", "old-extra")
    with pytest.raises(EngineError, match="needs the other-name package: pip install 'cadence-train"):
        refuse_missing("absent_extra", "a test", "extra", "other-name")


def test_a_tracker_whose_own_need_is_missing_is_not_called_missing(place, monkeypatch):
    monkeypatch.setitem(trackers.MODULES, "wandb", ("half_extra",))
    with pytest.raises(EngineError, match=r"log.to=wandb needs the wandb package, which is installed but cannot be "
                                          r"imported \(No module named 'its_own_need'\)"):
        trackers.refuse_missing(("files", "wandb"))
