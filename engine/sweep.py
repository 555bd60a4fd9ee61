"""Search for better settings of a recipe: trials by Optuna, judged on held-out images, never on the test set.

    python -m engine.sweep --recipe NAME --space FILE --trials N [--section.name=VALUE ...]

FILE (YAML, JSON or TOML) maps settings to ranges and choices: schedule.lr: {low: 0.01, high: 1, log: true},
train.batch: {choices: [64, 128]}. The same command resumes a sweep that was stopped or killed; a larger N adds
trials. The results are leaderboard.csv and .json, importance.png and best.yaml, which is for --config-file.
"""

import shlex
import sys
from argparse import Namespace
from pathlib import Path

from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from engine.common.optional import import_extra
from engine.tuning.held_out import settings_to_hold_out
from engine.tuning.space import read_space
from recipes.settings import load

IDLE = ("run.", "checkpoint.", "log.", "train.repeats")


def main(argv: list[str] | None = None) -> int:
    """Parse, check, run the sweep."""
    parser = Parser("engine.sweep", __doc__)
    parser.add_argument("--recipe", metavar="NAME", help="which recipe (python -m engine.train --list shows them)")
    parser.add_argument("--config-file", metavar="FILE", help="settings of all trials, below the command line's")
    parser.add_argument("--space", metavar="FILE", help="the settings to search, with ranges or choices")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="in all; the first is the recipe's (20)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="for the proposed settings (0)")
    parser.add_argument("--no-pruning", action="store_true", help="train every trial to its end")
    parser.add_argument("--out", metavar="DIR", help="the sweep's folder (default: runs/sweep/<recipe>)")
    parser.add_argument("--storage", metavar="FILE", help="Optuna's SQLite file (default: sweep.db in that folder)")
    options, settings = parser.read(argv)
    for name in ("recipe", "space"):
        if not getattr(options, name):
            parser.error(f"--{name} is missing")
    if options.trials < 1 or options.seed < 0:
        raise EngineError(f"--trials={options.trials} must be 1 or more and --seed={options.seed} 0 or more")
    if idle := [path for path in settings if path.startswith(IDLE)]:
        raise EngineError(f"--{idle[0]} has no effect on a sweep: leave it out")

    def loaded(more: dict[str, object]) -> load.Recipe:
        return load.load(options.recipe, options.config_file, {**settings, **more})

    asked = loaded({})
    held_out = settings_to_hold_out(asked)
    recipe = loaded(held_out)
    space = read_space(options.space, recipe)

    from engine.build.preflight import refuse_early

    refuse_early(recipe)
    import_extra("optuna", "a sweep", "sweep")
    from engine.tuning.sweep import run_sweep
    from engine.tuning.trials import Sweep

    sweep = Sweep(recipe, lambda more: loaded({**held_out, **more}), space, options.seed, not options.no_pruning)
    folder = Path(options.out or f"runs/sweep/{recipe.name}")
    return run_sweep(sweep, options.trials, folder, Path(options.storage or folder / "sweep.db"), held_out,
                     command_of(asked, options))


def command_of(asked: load.Recipe, options: Namespace) -> str:
    """The shell command that runs the sweep again; `asked`: the recipe without the sweep's settings."""
    words = ["--space", options.space, "--trials", str(options.trials), "--seed", str(options.seed)]
    words += ["--no-pruning"] if options.no_pruning else []
    words += [word for name in ("out", "storage") if (value := getattr(options, name)) for word in (f"--{name}", value)]
    return f"{asked.command('engine.sweep')} {shlex.join(words)}"


if __name__ == "__main__":
    sys.exit(run_command(main))
