"""Fuzz: recipes, pickles, images and checkpoints with seeded mutations. Each is read, or refused in one line."""

import hashlib
import io
import pickle
import random
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.drills.child_process import Watch
from benchmarks.drills.fuzz_recipes import ODD, mutate, odd_settings, recipes, watched
from benchmarks.drills.table import Tries


def cifar_files(tries: Tries, place: Path, count: int) -> None:
    """mutated CIFAR pickles."""
    from loaders.sources import cifar
    from loaders.sources.open import open_source

    dice, rows = random.Random(1), 4
    official = cifar.OFFICIAL["cifar10"]
    fewer = {split: dict.fromkeys(files, rows) for split, files in official.rows.items()}
    cifar.OFFICIAL["cifar10"] = replace(official, rows=fewer)
    folder = place / official.folder
    folder.mkdir(parents=True)
    random_ = np.random.default_rng(0)
    whole = {}
    for number, file in enumerate(file for files in official.rows.values() for file in files):
        data = random_.integers(0, 256, (rows, 3072), np.uint8)
        whole[file] = pickle.dumps({"data": data, "labels": [1, 2, 3, 9]}, protocol=number % 6)
    whole[official.meta] = pickle.dumps({"label_names": [f"class {n}" for n in range(10)]}, protocol=2)
    for file, content in whole.items():
        (folder / file).write_bytes(content)

    def once() -> None:
        file = dice.choice([*official.files, official.meta])
        content, edge = whole[file], 200
        # The pixels are the bulk, and each value of theirs is good: what is around them is what can break.
        at = dice.choice([0, max(0, len(content) - edge)])
        content = content[:at] + mutate(content[at:at + edge], dice) + content[at + edge:]
        (folder / file).write_bytes(content)

        def read() -> None:
            source = open_source("cifar10", root=place)
            for split in source.splits:
                source.read(split)

        tries.bears(read, str(folder))
        (folder / file).write_bytes(whole[file])

    seen = watched(lambda: [once() for _ in range(count)])
    tries.survives(lambda: not seen)


def images(tries: Tries, place: Path, count: int) -> None:
    """mutated images."""
    from PIL import Image

    from engine.inference.image_input import read_image
    from loaders.sources.image_file import square_rgb

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
        content = mutate(dice.choice(whole), dice)
        read = partial(square_rgb, content, "picture", 16) if dice.random() < 0.5 else \
            partial(read_image, content, 16, "picture")
        tries.bears(read, "picture")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = watched(lambda: [once() for _ in range(count)])
    tries.survives(lambda: not seen)


def checkpoints(tries: Tries, place: Path, count: int) -> None:
    """mutated checkpoints, some of them with a right checksum."""
    import torch

    from benchmarks.drills.checkpoint_rows import live_train, stopped
    from engine.inference.trained import open_trained
    from engine.storage import checkpoint

    dice, last = random.Random(3), stopped(place)
    whole, content = last.read_bytes(), checkpoint.load(last)
    body, broken = whole[:-checkpoint.TAIL_BYTES], place / "broken.pt"

    def sealed(inner: bytes) -> bytes:
        return inner + checkpoint.MAGIC + hashlib.sha256(inner).digest()

    def forget(watch: Watch) -> None:
        # One of them may have gone on to its end.
        (place / "run" / "summary.json").unlink(missing_ok=True)

    def once(number: int) -> None:
        if number % 3 == 0:
            broken.write_bytes(mutate(whole, dice))
        elif number % 3 == 1:
            broken.write_bytes(sealed(mutate(body, dice)))
        else:
            # Well-formed, but with an entry that is something else.
            buffer = io.BytesIO()
            odd = dice.choice([*ODD, torch.zeros(2), odd_settings("quickstart", dice)])
            torch.save(content | {dice.choice(sorted(content)): odd}, buffer)
            broken.write_bytes(sealed(buffer.getvalue()))
        tries.bears(lambda: open_trained(str(broken), device="cpu"))
        if number % RESUMED_OF == 2:
            for path in last.parent.iterdir():
                path.write_bytes(broken.read_bytes())
            tries.command_bears(live_train(["--resume", str(place / "run")], place / "log", forget))

    seen = watched(lambda: [once(number) for number in range(count)])
    tries.survives(lambda: not seen)


# Of so many mutated checkpoints one is gone on with, too.
RESUMED_OF = 6
PARTS = (recipes, cifar_files, images, checkpoints)
# Of as many files as recipes.
SHARES = {recipes: 1.0, cifar_files: 0.4, images: 0.3, checkpoints: 0.3}
