"""Results files: JSON lists of rows, each row complete, so that rows of different days can stand in one file."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import make_folder, write_atomic

PRIVATE = ("--json", "--runs", "--run.folder", "--data.cache")


def write_rows(path: Path, rows: Iterable[dict], environment: dict, command: str, merge: bool = False) -> list[dict]:
    """Write `rows` (each with a `name`), every one with its `command` and `environment`; returns what the file holds.

    With `merge` the rows that are in the file stay, and one of the same name is replaced where it stands. Raises
    ValueError for a name used twice, EngineError where the file cannot be written or, to be merged, not be read.
    """
    rows = [{**row, "command": command, "environment": environment} for row in rows]
    new = {row["name"]: row for row in rows}
    if len(new) != len(rows):
        raise ValueError(f"rows must have names of their own: {', '.join(row['name'] for row in rows)}")
    path = Path(path)
    kept = {row["name"]: row for row in read_rows(path)} if merge and path.exists() else {}
    together = list({**kept, **new}.values())
    make_folder(path.parent)
    write_atomic(path, (json.dumps(together, indent=1) + "\n").encode())
    return together


def shareable(words: Iterable[str]) -> str:
    """A command for a row: without the files and folders of the machine it ran on, DIR for where its data lie."""
    kept, words = [], list(words)
    while words:
        word = words.pop(0)
        name, equals, _ = word.partition("=")
        if name in PRIVATE or name == "--data.root":
            if not equals and words:
                words.pop(0)
            if name == "--data.root":
                kept.append("--data.root=DIR")
        else:
            kept.append(word)
    return shlex.join(kept)


def read_rows(path: Path) -> list[dict]:
    """The rows of a results file; EngineError where it is none."""
    try:
        rows = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise EngineError(f"results file {path} cannot be read ({error.strerror})") from None
    except ValueError:
        raise EngineError(f"{path} is not JSON: give a results file, or another name to write a new one") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "name" in row for row in rows):
        raise EngineError(f"{path} is no list of rows with names: give a results file, or another name for a new one")
    return rows
