"""Train a recipe: `python -m engine.train --recipe NAME [--section.name=VALUE ...]`."""

import sys
from pathlib import Path

from engine import cli
from engine.errors import EngineError
from recipes import load


def main(argv: list[str] | None = None) -> int:
    """The door: parse, check, build, train, tell."""
    parser = cli.Parser("engine.train", __doc__)
    parser.add_argument("--recipe", metavar="NAME", help="which recipe (--list shows them)")
    parser.add_argument("--config-file", metavar="FILE", help="settings in YAML or JSON, below the command line's")
    parser.add_argument("--resume", metavar="RUN", help="go on with the run in this folder; auto: with the newest that "
                        "is not finished, or, with --recipe, start where there is none")
    parser.add_argument("--list", action="store_true", help="the recipes, a line each")
    parser.add_argument("--plan", action="store_true", help="say what the recipe will do, without data")
    parser.add_argument("--json", metavar="FILE", help="with --plan: write it as JSON too")
    options, settings = parser.read(argv)
    if options.list:
        width = max(map(len, load.names()))
        for name in load.names():
            print(f"{name:<{width}}  {load.doc(name).splitlines()[0]}")
        return 0
    if options.json and not options.plan:
        parser.error("--json goes with --plan: a run writes its own summary.json")
    if options.resume == "auto":
        return go_on_or_start(options, settings)
    if options.resume:
        if options.recipe or options.config_file:
            parser.error("--resume takes the recipe from the run's folder: leave --recipe and --config-file out")
        return go_on(options.resume, settings)
    if not options.recipe:
        parser.error("--recipe is missing: --list shows the recipes")
    recipe = load.load(options.recipe, options.config_file, settings)

    from engine.checks import refuse_early, refuse_folder

    refuse_early(recipe, data_needed=not options.plan)
    if options.plan:
        from engine.plan import make_plan, show_plan

        show_plan(make_plan(recipe), options.json)
        return 0
    refuse_folder(recipe.section("run").folder)
    return begin(recipe)


def begin(recipe: load.Recipe) -> int:
    """Train a recipe, or its repeats, from the start; returns the exit status."""
    if recipe.section("train").repeats > 1:
        from engine.repeats import start
    else:
        from engine.session import start

    return start(recipe)


def go_on(run_folder: str, settings: dict[str, str]) -> int:
    """Go on with the run, or the repeats, in a folder; returns the exit status."""
    from engine import repeats
    from engine.resume import resume
    from engine.training.screen import Screen

    if (Path(run_folder) / repeats.MARK).exists():
        if settings:
            raise EngineError(f"--{next(iter(settings))} has no effect on repeats that go on: leave it out")
        return repeats.go_on(Path(run_folder))
    with Screen() as screen:
        return resume(run_folder, screen, settings=settings)


def go_on_or_start(options, settings: dict[str, str]) -> int:
    """--resume auto: go on with the newest run that is not finished, or, where --recipe says what, start one."""
    recipe = load.load(options.recipe, options.config_file, settings) if options.recipe else None

    from engine import going_on
    from engine.checks import refuse_early

    folder = going_on.newest_unfinished(options.recipe, recipe.section("run").folder if recipe else "")
    if folder is None:
        if recipe is None:
            raise EngineError("--resume auto: no run below runs/ waits to go on: name its folder, or give the --recipe "
                              "to start")
        refuse_early(recipe)
        return begin(recipe)
    if going_on.finished(Path(folder)):
        print(f"{folder} is finished: there is nothing to go on with")
        return 0
    print(f"--resume auto: {folder}")
    return go_on(folder, going_on.differing(Path(folder), recipe) if recipe else settings)


if __name__ == "__main__":
    sys.exit(cli.run(main))
