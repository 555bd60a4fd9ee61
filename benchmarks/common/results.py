"""Results files: JSON lists of rows. Each row is complete, so a file may mix rows of different days."""

import json
import re
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from engine.common.environment import commit, hardware, versions
from engine.common.errors import EngineError
from engine.common.files import make_folder, write_atomic
from engine.common.machine_load import LoadMeter
from recipes.settings.load import Recipe, as_text, load

# From the start of a benchmark's command on.
METER = LoadMeter()
# Options that only say where files lie.
PRIVATE = ("--json", "--runs", "--run.folder", "--data.cache")


def environment(device: str = "cpu") -> dict[str, object]:
    """Where and when a row was measured: commit, versions, hardware, time (UTC), load since the command began."""
    return {"commit": commit(), "versions": versions(), "hardware": hardware(torch.device(device)),
            "utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "load": METER.read()}


def device_name(hardware: dict) -> str:
    """The GPU, or without one the processor and its matrix instructions, in an environment's `hardware`."""
    if "gpu" in hardware:
        return hardware["gpu"]
    instructions = ", ".join(hardware.get("matrix_instructions", []))
    return f"{hardware['processor']} with {instructions}" if instructions else hardware["processor"]


def shareable(words: Iterable[str]) -> str:
    """A command without the machine's files and folders; DIR stands for the data's folder."""
    kept, words = [], iter(words)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in (*PRIVATE, "--data.root"):
            kept.append(word)
        elif not equals:
            next(words, None)
        if name == "--data.root":
            kept.append("--data.root=DIR")
    return shlex.join(kept)


def label_of(recipe: Recipe, *ignored: str) -> str:
    """A recipe's name in rows: its own and the settings given, without folders and the `ignored` ones."""
    ignored = ("data.root", "data.cache", "data.download", "run.", *ignored)
    return " ".join([recipe.name, *(f"{path}={as_text(value)}" for path, value in sorted(recipe.given.items())
                                    if not path.startswith(ignored))])


def recipe_of(label: str) -> Recipe:
    """The recipe of a label from `label_of`, without the settings that it leaves out; RecipeError for other text."""
    name, *given = re.split(r" (?=[a-z_]+\.[a-z_0-9]+=)", label)
    return load(name, settings=dict(setting.split("=", 1) for setting in given))


def write_rows(path: Path, rows: Iterable[dict], environment: dict, command: str, merge: bool = False) -> None:
    """Write `rows`, each with its `name`, `command` and `environment`; `merge` keeps the file's rows of other names."""
    rows = [{**row, "command": command, "environment": environment} for row in rows]
    new = {row["name"]: row for row in rows}
    if len(new) != len(rows):
        raise ValueError(f"rows must have unique names: {', '.join(row['name'] for row in rows)}")
    kept = {row["name"]: row for row in read_rows(path)} if merge and path.exists() else {}
    make_folder(path.parent)
    write_atomic(path, (json.dumps(list({**kept, **new}.values()), indent=1) + "\n").encode())


def save_rows(file: str | None, rows: Iterable[dict], module: str, argv: Sequence[str] | None, *, device: str = "cpu",
              merge: bool = True) -> None:
    """Write rows measured now by `python -m module *argv` (None: this process's argv) to `file`, if one is given."""
    if file:
        command = shareable(["python", "-m", module, *(sys.argv[1:] if argv is None else argv)])
        write_rows(Path(file), rows, environment(device), command, merge)


def read_rows(path: Path) -> list[dict]:
    """The rows of a results file; EngineError if it is not one."""
    try:
        rows = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise EngineError(f"results file {path} cannot be read ({error.strerror})") from None
    except ValueError:
        raise EngineError(f"{path} is not JSON: give a results file, or another name to write a new one") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "name" in row for row in rows):
        raise EngineError(f"{path} is not a list of named rows: give a results file, or another name for a new one")
    return rows
