"""Train a recipe: `python -m engine.train --recipe NAME [--section.name=VALUE ...]`."""

import sys
from functools import partial

from engine.cli.parser import Parser, run_command
from recipes.settings import load


def main(argv: list[str] | None = None) -> int:
    """Parse, check, and train, resume, plan or list."""
    parser = Parser("engine.train", __doc__)
    parser.add_argument("--recipe", metavar="NAME", help="which recipe (--list shows them)")
    parser.add_argument("--config-file", metavar="FILE", help="settings (YAML, JSON, TOML), below the command line's")
    parser.add_argument("--resume", metavar="RUN", help="resume the run in this folder; auto: the newest that is not "
                        "finished, or, with --recipe, start where there is none")
    parser.add_argument("--list", action="store_true", help="list the recipes, one per line")
    parser.add_argument("--plan", action="store_true", help="say what the recipe will do, without data (of class "
                        "folders it counts the files)")
    parser.add_argument("--json", metavar="FILE", help="with --plan: write it as JSON too")
    parser.add_argument("--peer-timeout", type=float, metavar="S", help="under torchrun: seconds that another process "
                        "may give no sign of life before the run ends (60); a slow one gives them")
    options, settings = parser.read(argv)
    if options.peer_timeout is not None and not 1 <= options.peer_timeout <= 86_400:
        parser.error(f"--peer-timeout={options.peer_timeout:g} must be 1 to 86,400 seconds")
    if options.resume is not None and not options.resume.strip():
        parser.error("--resume needs the folder of a run, or auto")
    if options.plan and options.resume:
        parser.error("--plan says what a recipe will do, and --resume resumes a run: leave one of them out")
    if options.list:
        width = max(map(len, load.names()))
        for name in load.names():
            print(f"{name:<{width}}  {load.doc(name).splitlines()[0]}")
        return 0
    if options.json and not options.plan:
        parser.error("--json goes with --plan: a run writes its own summary.json")
    if options.resume and options.resume != "auto":
        if options.recipe or options.config_file:
            parser.error("--resume takes the recipe from the run's folder: leave --recipe and --config-file out")

        from engine.session import launch

        return launch.run(partial(launch.resume, options.resume, settings), options.peer_timeout)
    if not options.recipe and not options.resume:
        parser.error("--recipe is missing: --list shows the recipes")
    recipe = load.load(options.recipe, options.config_file, settings) if options.recipe else None

    from engine.session import launch

    if options.resume:
        return launch.run(partial(launch.resume_or_start, recipe, settings), options.peer_timeout)

    from engine.build.preflight import refuse_early

    refuse_early(recipe, data_needed=not options.plan)
    if options.plan:
        from engine.build.plan import make_plan, show_plan

        show_plan(make_plan(recipe), options.json)
        return 0

    from engine.session.trackers import refuse_missing

    refuse_missing(recipe.section("log").to)
    return launch.run(partial(launch.start, recipe), options.peer_timeout)


if __name__ == "__main__":
    sys.exit(run_command(main))
