"""Write the betons of a data set."""

import dataclasses

from engine.build.datasets import open_betons, open_data
from engine.cli.console import Screen
from recipes.settings.load import Recipe


def convert(recipe: Recipe) -> None:
    """Write each split's beton unless the cache has it, and show the manifests."""
    with Screen() as screen:
        source = open_data(recipe)
        for split, beton in open_betons(recipe, source, screen.writing, screen.say).items():
            rows = [(field.name, value_text(getattr(beton, field.name))) for field in dataclasses.fields(beton)]
            place = f", {source.folders[split]}" if split in source.folders else ""
            screen.table(f"{source.name}, {split}{place}", rows)


def value_text(value: object) -> str:
    """A manifest value in one line; a long list as its length and ends."""
    if not isinstance(value, tuple):
        return str(value)
    if len(value) > 12:
        return f"{len(value)}: {value[0]}, {value[1]}, ... {value[-1]}"
    return ", ".join(f"{part:.4f}" if isinstance(part, float) else str(part) for part in value)
