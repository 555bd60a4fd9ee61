"""Predictions for files and folders, in order, as lines or as JSON; unreadable files do not stop it."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from rich.color import Color
from rich.console import Console
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from engine.common.errors import EngineError
from engine.common.files import finite
from engine.inference.image_input import printable
from engine.inference.predictor import BATCH, NOT_FINITE, Prediction, Predictor
from loaders.sources.image_file import SUFFIXES

# Two pixels per character: 24 lines of a terminal.
MOST_SHOWN_PX = 48


def predict_files(predictor: Predictor, names: Iterable[str]) -> Iterator[tuple[str, Prediction | EngineError]]:
    """Each file's name with its prediction, or a one-line error, in the order given, BATCH at a time."""
    found = find_images(names)
    while batch := list(islice(found, BATCH)):
        read = []
        for path, error in batch:
            try:
                read.append((path, error or predictor.pixels(path)))
            except EngineError as unreadable:
                read.append((path, unreadable))
        predictions = iter(predictor.predict([pixels for _, pixels in read if isinstance(pixels, np.ndarray)]))
        for path, outcome in read:
            if isinstance(outcome, np.ndarray):
                outcome = next(predictions)
                if not outcome.finite:
                    outcome = EngineError(f"{printable(path)}: {NOT_FINITE}")
            yield str(path), outcome


def find_images(names: Iterable[str]) -> Iterator[tuple[Path, EngineError | None]]:
    """Each file as named; each folder's images at any depth, sorted, known by suffix, without hidden ones (`.name`). A
    folder that holds no image or cannot be listed comes with its error."""
    for name in names:
        if not os.path.isdir(name):
            yield Path(name), None
            continue
        found, failures = 0, []
        for folder, folders, files in os.walk(name, onerror=failures.append):
            folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
            for file in sorted(files):
                if not file.startswith(".") and Path(file).suffix.lower() in SUFFIXES:
                    found += 1
                    yield Path(folder, file), None
        for failure in failures:
            yield Path(failure.filename), EngineError(
                f"{printable(failure.filename)}: cannot be listed ({failure.strerror}): check its permissions")
        if not found and not failures:
            yield Path(name), EngineError(
                f"{printable(name)}: has no images in it: give another folder, or name files")


def print_predictions(files: Iterable[tuple[str, Prediction | EngineError]], top: int, *, as_json: bool = False,
                      show: bool = False) -> int:
    """Print the `top` classes of each file, as lines or as one JSON list, errors on stderr; 1 after any error, else 0.
    show: draw the pixels that the network received beside the lines."""
    entries, status = [], 0
    for name, outcome in files:
        if isinstance(outcome, EngineError):
            print(f"error: {outcome}", file=sys.stderr)
            entries.append({"image": name, "error": str(outcome)})
            status = 1
        elif as_json:
            entries.append({"image": name, "top": [{"class": label, "probability": share}
                                                   for label, share in outcome.top(top)]})
        else:
            print_lines(name, outcome, top, show)
    if as_json:
        print(json.dumps(finite(entries), indent=1))
    return status


def print_lines(name: str, prediction: Prediction, top: int, show: bool) -> None:
    """A file's name and its most probable classes."""
    console = Console(highlight=False)
    console.print(Text(printable(name), style="bold"), soft_wrap=True)
    lines = Text("\n").join(Text(f"{share:8.2%}  {printable(label)}") for label, share in prediction.top(top))
    if show:
        beside = Table.grid(padding=(0, 2))
        beside.add_row(blocks(prediction.seen_hwc), lines)
        console.print(Padding(beside, (0, 0, 1, 2)))
    else:
        console.print(lines, soft_wrap=True)


def blocks(image_hwc: np.ndarray) -> Text:
    """uint8 (H, W, 3) as half blocks, two pixels per character, shrunk to at most MOST_SHOWN_PX per side."""
    image = Image.fromarray(image_hwc)
    image.thumbnail((MOST_SHOWN_PX, MOST_SHOWN_PX))
    width, height = image.size
    text = Text()
    for y in range(0, height - 1, 2):
        for x in range(width):
            upper, lower = (Color.from_rgb(*image.getpixel((x, row))) for row in (y, y + 1))
            text.append("▀", Style(color=upper, bgcolor=lower))
        text.append("\n")
    text.rstrip()
    return text
