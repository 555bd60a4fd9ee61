"""Tables of the README are replaced between their marks, and only there."""

import pytest

from benchmarks.common.readme import README, fill
from engine.common.errors import EngineError


def test_only_what_stands_between_the_marks_is_replaced(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- a: written by x -->\nold\n<!-- /a -->\nafter <!-- /b -->\n")
    fill("a", "new\n", page)
    assert page.read_text() == "before\n<!-- a: written by x -->\nnew\n<!-- /a -->\nafter <!-- /b -->\n"


@pytest.mark.parametrize("text", ["nothing", "<!-- a: x -->\n", "<!-- /a -->\n<!-- a: x -->\n"])
def test_a_page_without_marks_is_left_alone(tmp_path, text):
    page = tmp_path / "README.md"
    page.write_text(text)
    with pytest.raises(EngineError, match="lacks the marks"):
        fill("a", "new", page)
    assert page.read_text() == text


@pytest.mark.parametrize("name", ["accuracy", "epochs", "loaders"])
def test_the_projects_page_has_the_marks(name):
    text = README.read_text()
    assert 0 < text.index(f"<!-- {name}: ") < text.index(f"<!-- /{name} -->")
