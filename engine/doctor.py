"""Check the installation, or measure what bounds the run of a recipe.

    python -m engine.doctor [--json FILE]
    python -m engine.doctor --recipe NAME [--seconds S] [--json FILE] [--out DIR] [--section.name=VALUE ...]

Without a recipe: the installed packages, devices and precisions, and one command that installs what is missing; the
exit status is 1 if anything is missing, else 0. With a recipe: measures feed, transfer and step, alone and together,
names the one that bounds the run, and tries settings: those that measured faster are named. --out gets a roofline.
"""

import argparse
import sys
from pathlib import Path

from engine.common.errors import EngineError

# Settings that only matter to a whole run.
IDLE = ("run.", "eval.", "checkpoint.", "log.", "train.epochs", "train.repeats", "train.stop_at", "train.patience",
        "train.min_delta")


def main(argv: list[str] | None = None) -> int:
    """Diagnose a recipe; without one, check what is installed."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not any(word.partition("=")[0] == "--recipe" for word in argv):
        return check_install(argv)
    try:
        return diagnose_recipe(argv)
    except ImportError as error:
        raise EngineError(f"--recipe needs a package that cannot be imported ({error}): python -m engine.doctor shows "
                          "how to install it") from None


def check_install(argv: list[str]) -> int:
    """Parse and check; standard library only, as any other package may be missing."""
    from engine.diagnostics.install_report import report_install
    from recipes.settings.docstring import docstring

    parser = argparse.ArgumentParser("python -m engine.doctor", description=docstring("engine.doctor"),
                                     allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter, exit_on_error=False)
    parser.add_argument("--json", metavar="FILE", help="write the findings as JSON too")
    try:
        options, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise EngineError(f"{error} (see --help)") from None
    if rest:
        raise EngineError(f"{rest[0]} is unknown, or needs --recipe NAME (see --help)")
    return report_install(options.json)


def diagnose_recipe(argv: list[str]) -> int:
    """Parse, check, measure, save and show the diagnosis."""
    from engine.build.preflight import refuse_early
    from engine.cli.parser import Parser
    from recipes.settings import load

    parser = Parser("engine.doctor", __doc__)
    parser.add_argument("--recipe", metavar="NAME", help="which recipe (python -m engine.train --list shows them)")
    parser.add_argument("--config-file", metavar="FILE", help="settings (YAML, JSON, TOML), below the command line's")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="how long to measure each (3)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON here too")
    parser.add_argument("--out", metavar="DIR", help="folder for picture and result (default: runs/doctor/<recipe>)")
    options, settings = parser.read(argv)
    if not 0.1 <= options.seconds <= 600:
        raise EngineError(f"--seconds={options.seconds:g} must be from 0.1 to 600")
    if idle := [path for path in settings if path.startswith(IDLE)]:
        raise EngineError(f"--{idle[0]} has no effect on what bounds a run: leave it out")
    recipe = load.load(options.recipe, options.config_file, settings)
    refuse_early(recipe)
    from engine.diagnostics.bottleneck import report_bottleneck

    report_bottleneck(recipe, options.seconds, Path(options.out or f"runs/doctor/{recipe.name}"), options.json)
    return 0


if __name__ == "__main__":
    try:
        from engine.cli.parser import run_command
    except ImportError:
        from engine.diagnostics.install_report import run_bare as run_command
    run_command(main)
