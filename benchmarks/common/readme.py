"""The README's tables: each stands between two marks and is generated from rows, never written by hand."""

from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import write_atomic

README = Path(__file__).parents[2] / "README.md"


def fill(name: str, text: str, page: Path = README) -> None:
    """Replace what stands between `<!-- name: ... -->` and `<!-- /name -->` by `text` (whole lines).

    Raises EngineError if the page lacks the marks.
    """
    content = page.read_text("utf-8")
    begins, ends = content.find(f"<!-- {name}: "), content.find(f"<!-- /{name} -->")
    if not 0 <= begins < ends:
        raise EngineError(f"{page.name} lacks the marks <!-- {name}: ... --> and <!-- /{name} -->: put them back")
    first_line_ends = content.index("\n", begins) + 1
    write_atomic(page, (content[:first_line_ends] + text + content[ends:]).encode())
