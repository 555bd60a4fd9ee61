"""Search for better settings of a recipe: trials by Optuna, judged on held-out images, never on the test set.

    python -m engine.sweep --recipe NAME --space FILE --trials N [--section.name=VALUE ...]

FILE (YAML or JSON) maps settings to ranges and choices: schedule.lr: {low: 0.01, high: 1, log: true},
train.batch: {choices: [64, 128]}. The same command goes on with a sweep that was stopped or killed; a larger N adds
trials. It leaves leaderboard.csv and .json, importance.png and best.yaml, which is for --config-file.
"""

import shlex
import sys
from argparse import Namespace
from pathlib import Path

from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from recipes.settings import load

VALIDATION_SHARE = 0.1
IDLE = ("run.", "checkpoint.", "log.", "train.repeats")


def main(argv: list[str] | None = None) -> int:
    """The door: parse, check, run the trials that are missing, write, tell."""
    parser = Parser("engine.sweep", __doc__)
    parser.add_argument("--recipe", metavar="NAME", help="which recipe (python -m engine.train --list shows them)")
    parser.add_argument("--config-file", metavar="FILE", help="settings of all trials, below the command line's")
    parser.add_argument("--space", metavar="FILE", help="the settings that are searched, with ranges or choices")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="in all, the recipe's own first (20)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of what is proposed (0)")
    parser.add_argument("--no-pruning", action="store_true", help="train every trial to its end")
    parser.add_argument("--out", metavar="DIR", help="the sweep's folder (default: runs/sweep/<recipe>)")
    parser.add_argument("--storage", metavar="FILE", help="Optuna's SQLite file (default: sweep.db in that folder)")
    options, settings = parser.read(argv)
    for name in ("recipe", "space"):
        if not getattr(options, name):
            parser.error(f"--{name} is missing")
    if options.trials < 1 or options.seed < 0:
        raise EngineError(f"--trials={options.trials} must be 1 or more and --seed={options.seed} 0 or more")
    idle = [path for path in settings if path.startswith(IDLE)]
    if idle:
        raise EngineError(f"--{idle[0]} has no effect on a sweep: leave it out")
    chosen = load.load(options.recipe, options.config_file, settings)
    held_out = added(chosen)
    recipe = load.load(options.recipe, options.config_file, {**settings, **held_out})

    from engine.build.preflight import refuse_early
    from engine.tuning.space import read_space

    space = read_space(options.space, recipe)
    refuse_early(recipe)
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise EngineError("a sweep needs the optuna package: pip install 'cadence-train[sweep]'") from None
    from engine.tuning.sweep import search
    from engine.tuning.trials import Sweep

    sweep = Sweep(recipe, lambda more: load.load(options.recipe, options.config_file,
                                                 {**settings, **held_out, **more}),
                  space, options.seed, not options.no_pruning)
    folder = Path(options.out) if options.out else Path("runs", "sweep", recipe.name)
    return search(sweep, options.trials, folder, Path(options.storage) if options.storage else folder / "sweep.db",
                  held_out, command_of(chosen, options))


def command_of(chosen: load.Recipe, options: Namespace) -> str:
    """The shell command that runs the sweep again; `chosen`: the recipe without what a sweep sets."""
    words = ["--space", options.space, "--trials", str(options.trials), "--seed", str(options.seed)]
    words += ["--no-pruning"] if options.no_pruning else []
    words += [word for name in ("out", "storage") if (value := getattr(options, name)) for word in (f"--{name}", value)]
    return f"{chosen.command('engine.sweep')} {shlex.join(words)}"


def added(recipe: load.Recipe) -> dict[str, object]:
    """What a sweep sets so that there are held-out images, and nothing is chosen on the test set.

    Raises EngineError where the command line or a file asked for the opposite.
    """
    found = {}
    if recipe.values["eval.watch"] == "none":
        if "eval.watch" in recipe.given:
            raise EngineError("eval.watch=none leaves nothing to choose by: leave it out")
        found["eval.watch"] = "auto"
    if not recipe.values["data.validation"]:
        if "data.validation" in recipe.given:
            raise EngineError("data.validation=0: a sweep chooses on held-out images: give a share above 0, or leave "
                              f"it out for {VALIDATION_SHARE:g}")
        found["data.validation"] = VALIDATION_SHARE
    if recipe.values["eval.select"] == "test":
        if "eval.select" in recipe.given:
            raise EngineError("eval.select=test: a sweep chooses on held-out images and never sees the test set: leave "
                              "it out")
        found["eval.select"] = "auto"
    return found


if __name__ == "__main__":
    sys.exit(run_command(main))
