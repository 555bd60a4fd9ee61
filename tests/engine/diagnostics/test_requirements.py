"""The requirements of the installed distribution, read and compared."""

import ast
import importlib.metadata
from pathlib import Path

import pytest

from engine.diagnostics import requirements
from engine.diagnostics.requirements import REQUIREMENT, release_of, satisfies

ROOT = Path(__file__).resolve().parents[3]

METADATA = """Metadata-Version: 2.1
Name: cadence-train
Version: 0.1.0
Requires-Python: >=3.10
Requires-Dist: torch>=2.10
Requires-Dist: ffcv==1.0.2
Requires-Dist: plain
Provides-Extra: tensorboard
Requires-Dist: tensorboard>=2.16; extra == "tensorboard"
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    folder = tmp_path / "cadence_train-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("version, wanted, ok", [
    ("2.10.0+cu130", ">=2.10", True),
    ("2.9.1", ">=2.10", False),
    ("10.0", ">=9.5", True),
    ("1.0.2", "==1.0.2", True),
    ("1.0.20", "==1.0.2", False),
    ("1.0", "==1.0.0", True),
    ("2.0", "<2", False),
    ("1.9.9", "<2", True),
    ("3.0", "!=3", False),
    ("2.10.0rc1", ">=2.10", True),
    ("0.1", "", True),
])
def test_versions_are_compared_as_numbers(version, wanted, ok):
    assert satisfies(version, wanted) is ok


def test_release_keeps_only_numbers():
    assert release_of("2.10.0+cu130") == (2, 10)
    assert release_of("0.0") == ()


def test_requirements_come_from_the_installed_distribution(planted):
    assert requirements.requirements() == [("torch", ">=2.10", ""), ("ffcv", "==1.0.2", ""), ("plain", "", ""),
                                           ("tensorboard", ">=2.16", "tensorboard")]
    assert requirements.python_floor() == ">=3.10"


def test_none_where_the_distribution_is_not_installed(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    assert requirements.requirements() is None


def test_installed_gives_a_version_or_none():
    assert requirements.installed("pytest") == pytest.__version__
    assert requirements.installed("no-such-distribution") is None


def test_every_requirement_of_setup_py_is_understood():
    strings = [node.value for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
               if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    wanted = [text for text in strings if any(sign in text for sign in (">=", "==")) and not text.startswith(">")]
    assert "ffcv==1.0.2" in wanted
    assert all(REQUIREMENT.match(text) for text in wanted)
