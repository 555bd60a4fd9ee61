"""Data on its own: look at it, write betons, print the one value that an epoch's data is, show what policies do.

    python -m engine.data explore --data.name=cifar10 --data.root=DIR [--out FOLDER] [--json FILE]
    python -m engine.data convert --data.name=cifar100 --data.root=DIR
    python -m engine.data digest --recipe NAME --epoch E [--start BATCH] [--threads T] [--feed F] [--processes P]
    python -m engine.data sheet --recipe NAME --data.name=cifar10 --data.root=DIR --out FILE.png
"""

import dataclasses
import sys

from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from recipes.settings import load

# Which tasks an option is for, and what it is where it is not given.
OPTIONS = {"recipe": (("digest", "sheet", "explore"), "quickstart"), "epoch": (("digest", "sheet"), 0),
           "start": (("digest",), 0), "threads": (("digest",), None), "feed": (("digest",), None),
           "processes": (("digest",), 1), "out": (("sheet", "explore"), None), "json": (("explore",), None)}
# What an epoch is made of, but not the data set.
IDLE = ("data.validation", "data.split_seed", "data.feed", "data.workers", "data.batches_ahead")


def main(argv: list[str] | None = None) -> int:
    """The door: which task, with which settings."""
    parser = Parser("engine.data", __doc__)
    parser.add_argument("task", choices=("explore", "convert", "digest", "sheet"),
                        help="explore: classes, channels, samples, images that come twice; convert: a beton a split; "
                        "digest: the SHA-256 of an epoch's images, labels and indices, in order; sheet: a picture of "
                        "the named policies at work")
    parser.add_argument("--recipe", metavar="NAME",
                        help="whose data and policy (quickstart); explore: whose data, mean and std")
    parser.add_argument("--epoch", type=int, metavar="E", help="digest, sheet: which epoch (from 0)")
    parser.add_argument("--start", type=int, metavar="BATCH", help="digest: from this batch on")
    parser.add_argument("--threads", metavar="T", help="digest: loader threads (data.workers)")
    parser.add_argument("--feed", metavar="F", help="digest: which feed (data.feed)")
    parser.add_argument("--processes", type=int, metavar="P", help="digest: shards drawn by so many processes")
    parser.add_argument("--out", metavar="PATH", help="sheet: where the picture goes (policies.png); explore: folder "
                        "of the pictures (runs/explore/<data set>)")
    parser.add_argument("--json", metavar="FILE", help="explore: write what was found as JSON")
    options, settings = parser.read(argv)
    for name, (tasks, default) in OPTIONS.items():
        if getattr(options, name) is None:
            setattr(options, name, default)
        elif options.task not in tasks:
            raise EngineError(f"--{name} has no effect on {options.task}: it is for {' and '.join(tasks)}")
    if options.task == "convert":
        return convert(settings)
    if options.task == "explore":
        return explore(options, settings)
    if options.task == "sheet":
        return sheet(options, settings)
    own = {"data.workers": options.threads, "data.feed": options.feed}
    settings |= {path: value for path, value in own.items() if value}
    return digest(options, settings)


def explore(options, settings: dict[str, str]) -> int:
    """Look at a data set: tables, pictures, perhaps JSON."""
    idle = [path for path in settings if not path.startswith("data.") or path in IDLE]
    if idle:
        raise EngineError(f"--{idle[0]} has no effect on what a data set is: leave it out")
    recipe = load.load(options.recipe, settings=settings)

    from pathlib import Path

    from engine.build.preflight import refuse_early

    refuse_early(recipe)
    from engine.cli.console import Screen
    from engine.common.files import make_folder, write_json
    from engine.data_tools.explore import explore as look
    from engine.data_tools.explore_table import tell

    folder = make_folder(Path(options.out or f"runs/explore/{recipe.section('data').name}"))
    with Screen() as screen:
        found = look(recipe, folder, screen)
        if options.json:
            write_json(Path(options.json), found)
        tell(found, screen)
    return 0


def digest(options, settings: dict[str, str]) -> int:
    """Print the digest of one epoch."""
    if min(options.epoch, options.start, options.processes - 1) < 0:
        raise EngineError("--epoch and --start count from 0, --processes from 1")
    recipe = load.load(options.recipe, settings=settings)

    from engine.build.preflight import refuse_early

    refuse_early(recipe)
    from engine.data_tools.digest import epoch_digest

    value, samples = epoch_digest(recipe, options.epoch, options.start, options.processes)
    print(f"{value}  epoch {options.epoch}, {samples:,} samples")
    return 0


def sheet(options, settings: dict[str, str]) -> int:
    """Draw the contact sheet."""
    recipe = load.load(options.recipe, settings=settings)

    from pathlib import Path

    from engine.build.preflight import refuse_early

    refuse_early(recipe)
    from engine.data_tools.contact_sheet import policy_sheet

    print(policy_sheet(recipe, Path(options.out or "policies.png"), options.epoch))
    return 0


def convert(settings: dict[str, str]) -> int:
    """Write every split's beton where the cache lacks it, and print the manifests."""
    refused = [path for path in settings if not path.startswith("data.")]
    if refused:
        raise EngineError(f"--{refused[0]} has no effect on data: only --data.* settings have")
    recipe = load.load("quickstart", settings=settings)

    from engine.build.datasets import open_betons, open_data
    from engine.build.preflight import refuse_early
    from engine.cli.console import Screen

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
    sys.exit(run_command(main))
