"""The page of a suite: the machine, each part's command and rows, the model's rates beside them, and a picture."""

import re
from functools import cache
from pathlib import Path

from benchmarks.common.results import device_name, read_rows, recipe_of
from benchmarks.modelling.cards import card_of
from benchmarks.modelling.predict import Prediction, predicted
from benchmarks.throughput import epoch_table
from engine.common.errors import EngineError
from engine.common.files import write_atomic

# Keys of a row that the page leaves out.
HIDDEN = ("name", "command", "environment", "weights_sha256", "versions", "hardware", "commit")
LONGEST_CELL = 60


def write_page(file: Path, state: dict) -> Path:
    """Write `<device>-<date>.md` and its picture beside the suite's file; returns the page's path."""
    machine = state["environment"]["hardware"]
    device, date = device_name(machine), state["environment"]["utc"][:10]
    # Without the vector units in brackets at the end of a processor's name.
    words = re.findall(r"[a-z0-9]+", device.rsplit(" (", 1)[0].lower())
    page = file.with_name(f"{'-'.join(words)}-{date}.md")
    epochs: list[dict] = []
    lines = [f"# {device}, {date}", "",
             f"{machine['cores']} cores, torch {state['environment']['versions']['torch']}, commit "
             f"{state['environment']['commit']}.", ""]
    for name, part in state["parts"].items():
        rows_file = file.with_name(f"{file.stem}-{name}.json")
        rows = read_rows(rows_file) if rows_file.exists() else []
        lines += [f"## {name}", "", f"`{part['command']}`: {outcome(part)}", "", *table(beside_model(rows, device)), ""]
        epochs += rows if name.startswith(("epochs", "rates")) else []
    if epoch_table.timed_rows(epochs):
        picture = page.with_suffix(".png")
        epoch_table.draw(epochs, picture)
        lines += [f"![Images per second]({picture.name})", ""]
    write_atomic(page, "\n".join(lines).encode())
    return page


def outcome(part: dict) -> str:
    """How a part ended, in words."""
    text = "done" if part["done"] else "cut off, tried again by the next call"
    if part["status"]:
        text = f"failed with status {part['status']}"
    return f"{text}, {part['seconds']:,.0f} s"


def beside_model(rows: list[dict], device: str) -> list[dict]:
    """`rows`, where they time this engine on a GPU of known rates, with what the model of speed says.

    Of epochs the images a second, of accuracies the seconds of training: expected, and at the card's peaks.
    """
    return [{**row, **modelled(row, device)} for row in rows] if card_of(device) else rows


def modelled(row: dict, device: str) -> dict[str, float]:
    label = row.get("label") if row.get("kind") == "ours" else row["name"].rpartition(" seed ")[0]
    figure, whole = ("run_s", True) if "train_seconds" in row else ("images_per_second", False)
    if not label or row.get("failed"):
        return {}
    try:
        expected, at_peak = (getattr(each, figure) for each in model_of(label, device, whole))
    except EngineError:
        # Class folders, whose number of images the model does not know.
        return {}
    return {f"modelled_{figure}": expected, f"modelled_{figure}_at_peak": at_peak}


@cache
def model_of(label: str, device: str, whole: bool) -> tuple[Prediction, Prediction]:
    """(expected, at peak) of the recipe behind a row's label: of its whole run, or of the longest phase."""
    recipe = recipe_of(label)
    return predicted(recipe if whole else recipe.changed({"train.sizes": {}}), device, longest=not whole)


def table(rows: list[dict]) -> list[str]:
    """Markdown lines of rows, with a column for each key that has a cell in some row."""
    if not rows:
        return ["no rows"]
    keys = list(dict.fromkeys(key for row in rows for key, value in row.items()
                              if key not in HIDDEN and cell(value) is not None))
    lines = ["| " + " | ".join(["", *(key.replace("_", " ") for key in keys)]) + " |", "|---" * (len(keys) + 1) + "|"]
    for row in rows:
        cells = (cell(row.get(key)) or "" for key in keys)
        lines.append("| " + " | ".join([row["name"].replace("|", "/"), *cells]) + " |")
    return lines


def cell(value: object) -> str | None:
    """A value as text, of timings the median; None if it is too long or has no text."""
    if isinstance(value, dict):
        value = value.get("median")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return value.replace("|", "/") if isinstance(value, str) and len(value) <= LONGEST_CELL else None
