"""Fuzz: recipes, pickles, images and checkpoints with seeded mutations. Each is read or refused in one line."""

import hashlib
import io
import pickle
import random
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.drills.damage import mutated
from benchmarks.drills.fuzz_recipes import ODD, check_all, odd_settings, recipes
from benchmarks.drills.processes import Failpoints
from benchmarks.drills.small_run import interrupted, resume
from benchmarks.drills.table import Checks
from engine.inference.image_input import read_image
from engine.inference.trained import open_trained
from engine.storage import checkpoint
from loaders.sources import cifar
from loaders.sources.image_file import square_rgb
from loaders.sources.open import open_source

# One of so many mutated checkpoints is also resumed.
RESUMED_OF = 6


def cifar_files(checks: Checks, place: Path, count: int) -> None:
    """mutated CIFAR pickles."""
    dice, rows = random.Random(1), 4
    official = cifar.OFFICIAL["cifar10"]
    fewer = {split: dict.fromkeys(files, rows) for split, files in official.rows.items()}
    cifar.OFFICIAL["cifar10"] = replace(official, rows=fewer)
    folder = place / official.folder
    folder.mkdir(parents=True)
    generator, whole = np.random.default_rng(0), {}
    for number, file in enumerate(file for files in official.rows.values() for file in files):
        data = generator.integers(0, 256, (rows, 3072), np.uint8)
        whole[file] = pickle.dumps({"data": data, "labels": [1, 2, 3, 9]}, protocol=number % 6)
    whole[official.meta] = pickle.dumps({"label_names": [f"class {n}" for n in range(10)]}, protocol=2)
    for file, content in whole.items():
        (folder / file).write_bytes(content)

    def once() -> None:
        file = dice.choice([*official.files, official.meta])
        content, edge = whole[file], 200
        # Most bytes are pixels, where any value is good: only the bytes around them can break.
        at = dice.choice([0, max(0, len(content) - edge)])
        content = content[:at] + mutated(content[at:at + edge], dice) + content[at + edge:]
        (folder / file).write_bytes(content)

        def read() -> None:
            source = open_source("cifar10", root=place)
            for split in source.splits:
                source.read(split)

        checks.bears(read, str(folder))
        (folder / file).write_bytes(whole[file])

    check_all(checks, [once] * count)


def images(checks: Checks, place: Path, count: int) -> None:
    """mutated images."""
    dice = random.Random(2)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    whole = []
    for kind, mode in (("PNG", "RGB"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("GIF", "P"),
                       ("BMP", "RGB"), ("WEBP", "RGB"), ("TIFF", "RGB"), ("PPM", "RGB"), ("ICO", "RGB")):
        buffer = io.BytesIO()
        picture = Image.fromarray(pixels)
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else picture.convert(mode)
        picture.save(buffer, kind)
        whole.append(buffer.getvalue())

    def once() -> None:
        content = mutated(dice.choice(whole), dice)
        read = partial(square_rgb, content, "picture", 16) if dice.random() < 0.5 else \
            partial(read_image, content, 16, "picture")
        checks.bears(read, "picture")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_all(checks, [once] * count)


def checkpoints(checks: Checks, place: Path, count: int) -> None:
    """mutated checkpoints, some of them with a right checksum."""
    dice, last = random.Random(3), interrupted(place)
    whole, content = last.read_bytes(), checkpoint.load(last)
    body, broken = whole[:-checkpoint.TAIL_BYTES], place / "broken.pt"

    def forget(failpoints: Failpoints) -> None:
        # An earlier run may have ended. The forked process is not audited.
        (place / "run" / "summary.json").unlink(missing_ok=True)

    def once(number: int) -> None:
        if number % 3 == 0:
            broken.write_bytes(mutated(whole, dice))
        elif number % 3 == 1:
            inner = mutated(body, dice)
            broken.write_bytes(inner + checkpoint.MAGIC + hashlib.sha256(inner).digest())
        else:
            # Well-formed, but with one odd entry.
            odd = dice.choice([*ODD, torch.zeros(2), odd_settings("quickstart", dice)])
            broken.write_bytes(checkpoint.serialise(content | {dice.choice(sorted(content)): odd}))
        checks.bears(lambda: open_trained(str(broken), device="cpu"))
        if number % RESUMED_OF == 2:
            for path in last.parent.iterdir():
                path.write_bytes(broken.read_bytes())
            checks.bears(resume(place, "run", prepare=forget))

    check_all(checks, [partial(once, number) for number in range(count)])


PARTS = (recipes, cifar_files, images, checkpoints)
# Mutations of each kind, as a share of the count that is asked for.
SHARES = {recipes: 1.0, cifar_files: 0.4, images: 0.3, checkpoints: 0.3}
