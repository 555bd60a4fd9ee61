"""Answers to many files and folders, in their order, as lines or as JSON; what cannot be read stops nothing."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
from engine.inference.picture_input import plain, suffixes
from engine.inference.predictor import BATCH, NOT_FINITE, Prediction, Predictor

# Two pixels a character: 24 lines of a terminal.
MOST_SHOWN_PX = 48


@dataclass(frozen=True)
class Told:
    """One picture by its name, with its answer or with the one line that says why there is none."""

    name: str
    answer: Prediction | None = None
    error: str = ""


def predict(predictor: Predictor, given: Iterable[str]) -> Iterator[Told]:
    """The answers to files and folders as they were given, worked out BATCH at a time."""
    waiting = []
    for path, refused in find_pictures(given):
        try:
            if refused:
                raise refused
            waiting.append((str(path), predictor.pixels(path)))
        except EngineError as error:
            waiting.append((str(path), error))
        if len(waiting) == BATCH:
            yield from tell_all(predictor, waiting)
            waiting = []
    yield from tell_all(predictor, waiting)


def tell_all(predictor: Predictor, waiting: list) -> Iterator[Told]:
    """The answers to pairs of a name and pixels (or the error that came instead of them), in their order."""
    answers = iter(predictor.answers([pixels for _, pixels in waiting if not isinstance(pixels, EngineError)]))
    for name, pixels in waiting:
        if isinstance(pixels, EngineError):
            yield Told(name, None, str(pixels))
        else:
            answer = next(answers)
            yield Told(name, answer) if answer.finite else Told(name, None, f"{plain(name)}: {NOT_FINITE}")


def find_pictures(given: Iterable[str]) -> Iterator[tuple[Path, EngineError | None]]:
    """Each file as it was named; of each folder all pictures below it, sorted, known by how their names end.

    Hidden files and folders (`.name`) and other files are passed over in folders only. For a folder that holds no
    picture, or cannot be listed, its own path stands in the picture's place, with the error.
    """
    known = suffixes()
    for name in given:
        if not os.path.isdir(name):
            yield Path(name), None
            continue
        found, failures = 0, []
        for folder, folders, files in os.walk(name, onerror=failures.append):
            folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
            for file in sorted(files):
                if not file.startswith(".") and Path(file).suffix.lower() in known:
                    found += 1
                    yield Path(folder, file), None
        for failure in failures:
            yield Path(failure.filename), EngineError(
                f"{plain(failure.filename)}: cannot be listed ({failure.strerror}): see its rights")
        if not found and not failures:
            yield Path(name), EngineError(
                f"{plain(name)}: has no pictures in it: give another folder, or name its files")


def as_lines(told: Iterable[Told], top: int, show: bool) -> int:
    """Print each answer's `top` classes for people, errors on stderr: 1 where there were any, else 0.

    show: draw the pixels that the network was given beside its answer.
    """
    console, status = Console(highlight=False), 0
    for one in told:
        if one.answer is None:
            print(f"error: {one.error}", file=sys.stderr)
            status = 1
            continue
        console.print(Text(plain(one.name), style="bold"), soft_wrap=True)
        lines = Text("\n").join(Text(f"{share:8.2%}  {plain(label)}") for label, share in one.answer.top(top))
        if show:
            beside = Table.grid(padding=(0, 2))
            beside.add_row(blocks(one.answer.seen_hwc, MOST_SHOWN_PX), lines)
            console.print(Padding(beside, (0, 0, 1, 2)))
        else:
            console.print(lines, soft_wrap=True)
    return status


def as_json(told: Iterable[Told], top: int) -> int:
    """Print one JSON list with an entry for each picture, errors among them and on stderr; the status as `as_lines`."""
    entries, status = [], 0
    for one in told:
        if one.answer is None:
            print(f"error: {one.error}", file=sys.stderr)
            entries.append({"image": one.name, "error": one.error})
            status = 1
        else:
            entries.append({"image": one.name, "top": [{"class": label, "probability": share}
                                                       for label, share in one.answer.top(top)]})
    print(json.dumps(finite(entries), indent=1))
    return status


def blocks(image_hwc: np.ndarray, most_px: int) -> Text:
    """uint8 (H, W, 3) as half blocks, two pixels a character, shrunk to at most `most_px` a side."""
    image = Image.fromarray(image_hwc)
    image.thumbnail((most_px, most_px))
    width, height = image.size
    text = Text()
    for y in range(0, height - 1, 2):
        for x in range(width):
            upper, lower = (Color.from_rgb(*image.getpixel((x, row))) for row in (y, y + 1))
            text.append("▀", Style(color=upper, bgcolor=lower))
        text.append("\n")
    text.rstrip()
    return text
