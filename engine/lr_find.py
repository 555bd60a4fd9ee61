"""Find a learning rate: train a recipe for some steps while the rate rises, and see where the loss falls fastest.

    python -m engine.lr_find --recipe NAME [--steps N] [--low LR] [--high LR] [--section.name=VALUE ...]

Network, data, augmentation, mixing and optimiser are the recipe's; only its first stage is used. The weights are
discarded: the results are lr_find.png and lr_find.json in --out.
"""

import sys
from pathlib import Path

from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from recipes.settings import load

# Settings that only matter to a whole run. schedule.lrs, the rates of single layers, does matter here.
IDLE = ("run.", "schedule.", "eval.", "checkpoint.", "log.", "average.ema", "train.epochs", "train.repeats",
        "train.stop_at", "train.patience", "train.min_delta")


def main(argv: list[str] | None = None) -> int:
    """Parse, check, run the range test, save and show its result."""
    parser = Parser("engine.lr_find", __doc__)
    parser.add_argument("--recipe", metavar="NAME", help="which recipe (python -m engine.train --list shows them)")
    parser.add_argument("--config-file", metavar="FILE", help="settings (YAML, JSON, TOML), below the command line's")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="updates of the weights (200)")
    parser.add_argument("--low", type=float, default=1e-6, metavar="LR", help="the first rate (1e-6)")
    parser.add_argument("--high", type=float, default=10.0, metavar="LR", help="the last rate (10)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON here too")
    parser.add_argument("--out", metavar="DIR", help="folder for picture and result (default: runs/lr_find/<recipe>)")
    options, settings = parser.read(argv)
    if not options.recipe:
        parser.error("--recipe is missing: python -m engine.train --list shows the recipes")
    if options.steps < 20:
        raise EngineError(f"--steps={options.steps} must be 20 or more: fewer losses are noise")
    if not 0 < options.low < options.high < float("inf"):
        raise EngineError(f"--low={options.low:g} and --high={options.high:g} must be rates above 0, the low one below "
                          "the high one")
    if idle := [path for path in settings if path.startswith(IDLE) and path != "schedule.lrs"]:
        raise EngineError(f"--{idle[0]} has no effect on the search for a rate: leave it out")
    recipe = load.load(options.recipe, options.config_file, settings)

    from engine.build.preflight import refuse_early

    refuse_early(recipe)
    from engine.cli.console import Screen
    from engine.common.files import make_folder, write_json
    from engine.tuning.lr_range import draw, find_lr, summary_rows

    folder = make_folder(Path(options.out or f"runs/lr_find/{recipe.name}"))
    with Screen() as screen:
        found = find_lr(recipe, options.steps, options.low, options.high, screen)
        picture = draw(found, folder / "lr_find.png")
        for path in filter(None, (folder / "lr_find.json", options.json)):
            write_json(Path(path), found)
        screen.table(f"learning rate of {recipe.name}", summary_rows(found, picture))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
