"""A module's docstring is that of its source, also where Python dropped it."""

import subprocess
import sys
from pathlib import Path

import pytest

from engine import sweep
from engine.cli import parser
from recipes import resnet34
from recipes.settings.docstring import docstring
from recipes.settings.load import doc, names

ROOT = Path(__file__).parents[3]


def test_it_is_the_modules_own():
    assert docstring("engine.sweep") == sweep.__doc__ and docstring("engine.cli.parser") == parser.__doc__
    assert doc("resnet34") == resnet34.__doc__.strip() and docstring("recipes.none") == docstring("sys") == ""


@pytest.mark.parametrize("words", [["engine.train", "--list"], ["engine.sweep", "--help"], ["engine.doctor", "--help"]],
                         ids=" ".join)
@pytest.mark.slow("starts Python with other options")
def test_what_a_command_says_of_itself_is_the_same_under_oo(words):
    plain, optimised = (subprocess.run([sys.executable, *option, "-m", *words], cwd=ROOT, capture_output=True,
                                       text=True, check=True).stdout for option in ([], ["-OO"]))
    assert plain == optimised and all(name in plain for name in names() if "--list" in words)


def test_no_assert_carries_meaning():
    # python -O drops them.
    for folder in ("engine", "loaders", "recipes"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            lines = file.read_text("utf-8").splitlines()
            assert not any(line.strip().startswith("assert ") for line in lines), file
