"""What the train command starts: a new run, a run to resume or repeats, in one process or in those of torchrun."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.build.preflight import refuse_early, refuse_folder
from engine.build.splits import fit_to_folders
from engine.cli.parser import USER_ERRORS
from engine.common.errors import EngineError
from engine.common.files import expand, read_json
from engine.distributed.torchrun import ranks_of, speaks_for_all
from engine.session.processes import leads, once
from engine.storage import run_lookup
from recipes.settings.load import Recipe, as_text

if TYPE_CHECKING:
    from engine.distributed.process_group import ProcessGroup

PEER_TIMEOUT_S = 60.0


def run(act: Callable[[ProcessGroup | None], int], timeout_s: float | None = None) -> int:
    """Call `act` with the process group, None for a single process, and return its exit status.

    timeout_s: how long a process may give no sign of life, PEER_TIMEOUT_S by default. EngineError where one was lost.
    """
    ranks = ranks_of(os.environ)
    if ranks is None or ranks.ranks == 1:
        if timeout_s is not None:
            raise EngineError("--peer-timeout has no effect on a single process: start several with torchrun, or "
                              "leave it out")
        return act(None)
    from engine.distributed.process_group import is_loss, opened

    with opened(ranks, PEER_TIMEOUT_S if timeout_s is None else timeout_s) as process_group:
        try:
            return act(process_group)
        except USER_ERRORS:
            raise
        except Exception as error:
            # A fault of the program is the same in all processes, and is shown once.
            if (isinstance(error, RuntimeError) and is_loss(error)) or speaks_for_all():
                raise
            raise SystemExit(1) from None


def start(recipe: Recipe, process_group: ProcessGroup | None = None) -> int:
    """Train a recipe, or its repeats, from the start; returns the exit status.

    Processes that torchrun has restarted resume the run they had started.
    """
    began = time.monotonic()
    refuse_idle(recipe, process_group)
    before = once(process_group, lambda: started_before(fit_to_folders(recipe)))
    if before:
        return 0 if told_finished(before, process_group) else resume(before, {}, process_group)
    once(process_group, partial(refuse_folder, recipe.section("run").folder))

    from engine.build.run import build
    from engine.cli.console import Screen
    from engine.session import repeats
    from engine.session.session import train_new

    if recipe.section("train").repeats > 1:
        return repeats.start(recipe)
    with Screen(quiet=not leads(process_group)) as screen, closing(build(
            recipe, on_progress=screen.writing, on_warning=screen.say, process_group=process_group)) as built:
        return train_new(built, screen, began=began)


def resume(run_folder: str, settings: dict[str, str], process_group: ProcessGroup | None = None) -> int:
    """Resume the run, or the repeats, in a folder, with other `settings` from now on; returns the exit status."""
    began = time.monotonic()

    from engine.cli.console import Screen
    from engine.session import repeats
    from engine.session.resume import resume_run

    if once(process_group, (Path(run_folder) / run_lookup.REPEATS).exists):
        if process_group:
            raise EngineError(f"{run_folder} holds repeats, which need a single process: start it without torchrun")
        if settings:
            raise EngineError(f"--{next(iter(settings))} has no effect on repeats that are resumed: leave it out")
        return repeats.resume(Path(run_folder))
    with Screen(quiet=not leads(process_group)) as screen:
        return resume_run(run_folder, screen, settings=settings, process_group=process_group, began=began)


def resume_or_start(recipe: Recipe | None, settings: dict[str, str],
                    process_group: ProcessGroup | None = None) -> int:
    """Resume the newest unfinished run (of `recipe`, where it is given), or start `recipe` where there is none."""
    name, own_folder = (recipe.name, recipe.section("run").folder) if recipe else (None, "")
    folder = once(process_group, partial(run_lookup.newest_unfinished, name, own_folder))
    if folder is None:
        if recipe is None:
            raise EngineError("--resume auto: no run below runs/ waits to be resumed: name its folder, or give the "
                              "--recipe to start")
        refuse_early(recipe)
        return start(recipe, process_group)
    if told_finished(folder, process_group):
        return 0
    if leads(process_group):
        print(f"--resume auto: {folder}")
    if recipe:
        settings = once(process_group, partial(run_lookup.differing, Path(folder), fit_to_folders(recipe)))
    return resume(folder, settings, process_group)


def told_finished(folder: str, process_group: ProcessGroup | None = None) -> bool:
    """Whether what was started in the folder is finished; if so, it is said."""
    done = once(process_group, partial(run_lookup.finished, Path(folder)))
    if done and leads(process_group):
        print(f"{folder} is finished: there is nothing to resume")
    return done


def refuse_idle(recipe: Recipe, process_group: ProcessGroup | None) -> None:
    """EngineError for settings that have no effect, or cannot work, with this number of processes."""
    train = recipe.section("train")
    if process_group is None and train.sync_bn:
        raise EngineError("train.sync_bn=true has no effect on a single process: start several with torchrun, or "
                          "leave it out")
    if process_group and train.repeats > 1:
        raise EngineError(f"train.repeats={train.repeats} needs a single process, and torchrun started "
                          f"{process_group.ranks}: train each seed with --train.seed=N in a run of its own")


def started_before(recipe: Recipe) -> str | None:
    """The folder of the run that this launch of torchrun started before it restarted its processes.

    env.json holds torchrun's id of the launch; a launch without one (with --master-addr) needs run.folder.
    """
    ranks, wanted = ranks_of(os.environ), recipe.section("run").folder
    if ranks is None or not (ranks.launch or ranks.restarts):
        return None
    if wanted and ranks.restarts and run_lookup.started(expand(wanted)):
        return wanted
    for folder in [expand(wanted)] if wanted else sorted(Path("runs", recipe.name).glob("*"), reverse=True):
        try:
            launch = read_json(folder / "env.json", "").get("launch")
        except EngineError:
            continue
        if launch and launch == ranks.launch:
            refuse_other(folder, recipe, launch)
            return str(folder)
    if ranks.restarts and not ranks.launch and not wanted:
        raise EngineError("torchrun restarted and the run before cannot be identified: give --run.folder=DIR, or give "
                          "torchrun an --rdzv-id")
    return None


def refuse_other(folder: Path, recipe: Recipe, launch: str) -> None:
    """EngineError where the run that a launch of this id started is not one of `recipe`."""
    different = run_lookup.differing(folder, recipe)
    if different:
        told = ", ".join(f"{path}={as_text(value)}" for path, value in sorted(different.items()))
        raise EngineError(f"{folder} was started with this --rdzv-id={launch} and other settings (now {told}): give "
                          "another --rdzv-id to start another run")
