"""Data on its own: `python -m engine.data convert --data.name=NAME [--data.root=DIR]` writes and shows the betons."""

import dataclasses
import sys

from engine import cli
from engine.errors import EngineError
from recipes import load


def main(argv: list[str] | None = None) -> int:
    """The door: which task, with which data settings."""
    parser = cli.Parser("engine.data", __doc__)
    parser.add_argument("task", choices=("convert",), help="convert: write each split to a beton, print its manifest")
    options, settings = parser.read(argv)
    refused = [path for path in settings if not path.startswith("data.")]
    if refused:
        raise EngineError(f"--{refused[0]} has no effect on data: only --data.* settings have")
    return {"convert": convert}[options.task](settings)


def convert(settings: dict[str, str]) -> int:
    """Write every split's beton where the cache lacks it, and print the manifests."""
    recipe = load.load("quickstart", settings=settings)

    from engine.checks import refuse_early
    from engine.datasets import open_betons, open_data
    from engine.training.screen import Screen

    refuse_early(recipe)
    with Screen() as screen:
        source = open_data(recipe)
        for split, beton in open_betons(recipe, source, screen.writing, screen.say).items():
            rows = [(field.name, shown(getattr(beton, field.name))) for field in dataclasses.fields(beton)]
            screen.table(f"{source.name}, {split}", rows)
    return 0


def shown(value: object) -> str:
    """A manifest value in one line: long lists by their count and ends."""
    if isinstance(value, tuple) and len(value) > 12:
        return f"{len(value)}: {value[0]}, {value[1]}, ... {value[-1]}"
    return ", ".join(f"{part:.4f}" if isinstance(part, float) else str(part) for part in value) \
        if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    sys.exit(cli.run(main))
