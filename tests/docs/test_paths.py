"""The pages name files and commands that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    named = re.findall(r"(?<![\w/.])(?:engine|loaders|recipes|benchmarks|tests|docs)/[\w/.-]+\.(?:py|md|ipynb|png)",
                       page.read_text("utf-8"))
    # Capitals stand for a name to be chosen.
    assert not [name for name in named if not (ROOT / name).exists() and not re.search("[A-Z]{3}", name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_modules_exist(page):
    named = re.findall(r"(?<![\w/.])(?:engine|loaders|recipes|benchmarks)(?:\.[a-z_]+)+", page.read_text("utf-8"))
    for name in named:
        path = ROOT.joinpath(*name.split("."))
        # A module, a package, or something in one.
        assert any(file.exists() for place in (path, path.parent) if place != ROOT
                   for file in (place.with_suffix(".py"), place / "__init__.py")), name
