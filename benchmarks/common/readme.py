"""The README's tables: each is generated from rows, between two marks."""

import re
from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import write_atomic

README = Path(__file__).parents[2] / "README.md"


def fill(name: str, text: str, page: Path = README) -> None:
    """Replace the lines between `<!-- name: ... -->` and `<!-- /name -->` by `text`; EngineError without marks."""
    content, found = re.subn(rf"(<!-- {name}: .*\n)(?s:.*?)(<!-- /{name} -->)",
                             lambda marks: marks[1] + text + marks[2], page.read_text("utf-8"), count=1)
    if not found:
        raise EngineError(f"{page.name} lacks the marks <!-- {name}: ... --> and <!-- /{name} -->: put them back")
    write_atomic(page, content.encode())
