"""Data sets: explore one, write betons, print the digest of an epoch's data, show what augmentation policies do.

    python -m engine.data explore --data.name=cifar10 --data.root=DIR [--out FOLDER] [--json FILE]
    python -m engine.data convert --data.name=cifar100 --data.root=DIR
    python -m engine.data digest --recipe NAME --epoch E [--start BATCH] [--threads T] [--feed F] [--processes P]
    python -m engine.data sheet --recipe NAME --data.name=cifar10 --data.root=DIR --out FILE.png
"""

import sys
from pathlib import Path

from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from recipes.settings import load

# Option -> the tasks that have it, and its default.
OPTIONS = {"recipe": (("digest", "sheet", "explore"), "quickstart"), "epoch": (("digest", "sheet"), 0),
           "start": (("digest",), 0), "threads": (("digest",), None), "feed": (("digest",), None),
           "processes": (("digest",), 1), "out": (("sheet", "explore"), None), "json": (("explore",), None)}
# Settings that change an epoch's data, not the data set.
OF_EPOCHS = ("data.validation", "data.split_seed", "data.feed", "data.workers", "data.batches_ahead")


def main(argv: list[str] | None = None) -> int:
    """Parse, check, run the task, show its result."""
    parser = Parser("engine.data", __doc__)
    parser.add_argument("task", choices=("explore", "convert", "digest", "sheet"),
                        help="explore: classes, channels, samples, duplicate images; convert: one beton per split; "
                        "digest: the SHA-256 of an epoch's images, labels and indices, in order; sheet: a picture of "
                        "the named policies at work")
    parser.add_argument("--recipe", metavar="NAME",
                        help="for data and policy (quickstart); explore: for data, mean and std")
    parser.add_argument("--epoch", type=int, metavar="E", help="digest, sheet: which epoch (from 0)")
    parser.add_argument("--start", type=int, metavar="BATCH", help="digest: the first batch (from 0)")
    parser.add_argument("--threads", metavar="T", help="digest: loader threads (data.workers)")
    parser.add_argument("--feed", metavar="F", help="digest: which feed (data.feed)")
    parser.add_argument("--processes", type=int, metavar="P", help="digest: how many processes share the epoch")
    parser.add_argument("--out", metavar="PATH", help="sheet: the picture (runs/sheet/<recipe>/policies.png); "
                        "explore: the folder for pictures (runs/explore/<data set>)")
    parser.add_argument("--json", metavar="FILE", help="explore: write the result as JSON")
    options, settings = parser.read(argv)
    task = options.task
    for name, (tasks, default) in OPTIONS.items():
        if getattr(options, name) is None:
            setattr(options, name, default)
        elif task not in tasks:
            raise EngineError(f"--{name} has no effect on {task}: it is for {' and '.join(tasks)}")
    if idle := [path for path in settings if task in ("explore", "convert") and not path.startswith("data.")
                or task == "explore" and path in OF_EPOCHS]:
        raise EngineError(f"--{idle[0]} has no effect on data sets: leave it out")
    if min(options.epoch, options.start, options.processes - 1) < 0:
        raise EngineError("--epoch and --start count from 0, --processes from 1")
    own = {"data.workers": options.threads, "data.feed": options.feed}
    recipe = load.load(options.recipe, settings=settings | {path: value for path, value in own.items() if value})

    from engine.build.preflight import refuse_early

    refuse_early(recipe)
    if task == "digest":
        from engine.data_tools.digest import epoch_digest

        digest, samples = epoch_digest(recipe, options.epoch, options.start, options.processes)
        print(f"{digest}  epoch {options.epoch}, {samples:,} samples")
    elif task == "sheet":
        from engine.data_tools.contact_sheet import policy_sheet

        print(policy_sheet(recipe, Path(options.out or f"runs/sheet/{recipe.name}/policies.png"), options.epoch))
    elif task == "explore":
        from engine.data_tools.explore_report import report

        report(recipe, Path(options.out or f"runs/explore/{recipe.section('data').name}"), options.json)
    else:
        from engine.data_tools.convert import convert

        convert(recipe)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
