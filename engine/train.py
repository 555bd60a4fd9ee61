"""Train a recipe: `python -m engine.train --recipe NAME [--section.name=VALUE ...]`."""

import sys
from functools import partial
from pathlib import Path

from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from engine.session import launch
from engine.storage import run_lookup
from recipes.settings import load


def main(argv: list[str] | None = None) -> int:
    """The door: parse, check, build, train, tell."""
    parser = Parser("engine.train", __doc__)
    parser.add_argument("--recipe", metavar="NAME", help="which recipe (--list shows them)")
    parser.add_argument("--config-file", metavar="FILE", help="settings in YAML or JSON, below the command line's")
    parser.add_argument("--resume", metavar="RUN", help="go on with the run in this folder; auto: with the newest that "
                        "is not finished, or, with --recipe, start where there is none")
    parser.add_argument("--list", action="store_true", help="the recipes, a line each")
    parser.add_argument("--plan", action="store_true", help="say what the recipe will do, without data")
    parser.add_argument("--json", metavar="FILE", help="with --plan: write it as JSON too")
    parser.add_argument("--peer-timeout", type=float, metavar="S", help="under torchrun: seconds to wait for another "
                        "process before the run ends (60)")
    options, settings = parser.read(argv)
    if options.peer_timeout is not None and not 1 <= options.peer_timeout <= 86_400:
        parser.error(f"--peer-timeout={options.peer_timeout:g} must be 1 to 86,400 seconds")
    if options.resume is not None and not options.resume.strip():
        parser.error("--resume needs the folder of a run, or auto")
    if options.plan and options.resume:
        parser.error("--plan says what a recipe will do, and --resume goes on with a run: leave one of them out")
    if options.list:
        width = max(map(len, load.names()))
        for name in load.names():
            print(f"{name:<{width}}  {load.doc(name).splitlines()[0]}")
        return 0
    if options.json and not options.plan:
        parser.error("--json goes with --plan: a run writes its own summary.json")
    if options.resume == "auto":
        return launch.run(partial(go_on_or_start, options, settings), options.peer_timeout)
    if options.resume:
        if options.recipe or options.config_file:
            parser.error("--resume takes the recipe from the run's folder: leave --recipe and --config-file out")
        return launch.run(partial(go_on, options.resume, settings), options.peer_timeout)
    if not options.recipe:
        parser.error("--recipe is missing: --list shows the recipes")
    recipe = load.load(options.recipe, options.config_file, settings)

    from engine.build.preflight import refuse_early

    refuse_early(recipe, data_needed=not options.plan)
    if options.plan:
        from engine.build.plan import make_plan, show_plan

        show_plan(make_plan(recipe), options.json)
        return 0

    from engine.session.trackers import refuse_missing

    refuse_missing(recipe.section("log").to)
    return launch.run(partial(begin, recipe), options.peer_timeout)


def begin(recipe: load.Recipe, process_group=None) -> int:
    """Train a recipe, or its repeats, from the start, by several processes `process_group`; returns the exit status.

    After torchrun started its processes anew they go on with the run that they had begun.
    """
    from engine.build.preflight import refuse_folder

    launch.refuse_idle(recipe, process_group)
    before = launch.once(process_group, partial(launch.begun_before, recipe))
    if before:
        return go_on(before, {}, process_group, ended=True)
    launch.once(process_group, partial(refuse_folder, recipe.section("run").folder))
    if recipe.section("train").repeats > 1:
        from engine.session.repeats import start

        return start(recipe)
    from engine.session.session import start

    return start(recipe, process_group)


def go_on(run_folder: str, settings: dict[str, str], process_group=None, ended: bool = False) -> int:
    """Go on with the run, or the repeats, in a folder; returns the exit status, 0 for one that `ended` may have."""
    from engine.cli.console import Screen
    from engine.session import repeats
    from engine.session.resume import resume

    if ended and told_finished(run_folder, process_group):
        return 0
    if launch.once(process_group, (Path(run_folder) / repeats.REPEATS).exists):
        if process_group:
            raise EngineError(f"{run_folder} holds repeats, which are for a lone process: start it without torchrun")
        if settings:
            raise EngineError(f"--{next(iter(settings))} has no effect on repeats that go on: leave it out")
        return repeats.go_on(Path(run_folder))
    with Screen(quiet=not launch.leads(process_group)) as screen:
        return resume(run_folder, screen, settings=settings, process_group=process_group)


def told_finished(folder: str, process_group=None) -> bool:
    """Whether what began in the folder is finished; where it is, that is said."""
    done = launch.once(process_group, partial(run_lookup.finished, Path(folder)))
    if done and launch.leads(process_group):
        print(f"{folder} is finished: there is nothing to go on with")
    return done


def go_on_or_start(options, settings: dict[str, str], process_group=None) -> int:
    """--resume auto: go on with the newest run that is not finished, or, where --recipe says what, start one."""
    recipe = load.load(options.recipe, options.config_file, settings) if options.recipe else None

    from engine.build.preflight import refuse_early

    own_folder = recipe.section("run").folder if recipe else ""
    folder = launch.once(process_group, partial(run_lookup.newest_unfinished, options.recipe, own_folder))
    if folder is None:
        if recipe is None:
            raise EngineError("--resume auto: no run below runs/ waits to go on: name its folder, or give the --recipe "
                              "to start")
        refuse_early(recipe)
        return begin(recipe, process_group)
    if told_finished(folder, process_group):
        return 0
    if launch.leads(process_group):
        print(f"--resume auto: {folder}")
    if recipe:
        settings = launch.once(process_group, partial(run_lookup.differing, Path(folder), recipe))
    return go_on(folder, settings, process_group)


if __name__ == "__main__":
    sys.exit(run_command(main))
