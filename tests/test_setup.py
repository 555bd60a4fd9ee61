"""The distribution holds every package: setup.py finds the folders that have an __init__.py, and each has one."""

from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("benchmarks", "engine", "loaders", "recipes")


def test_every_folder_of_code_is_a_package():
    found = find_packages(str(ROOT), include=[name for package in PACKAGES for name in (package, f"{package}.*")])
    folders = {file.parent.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    assert sorted(found) == sorted(".".join(folder.parts) for folder in folders)
    assert "find_packages" in (ROOT / "setup.py").read_text()
