"""A run that torchrun started in several processes: open what they talk by, and find the run again after a restart."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.cli.parser import USER_ERRORS
from engine.common.errors import EngineError
from engine.common.files import expand
from engine.distributed.torchrun import ranks_of, speaks_for_all
from engine.storage.run_lookup import begun, differing
from recipes.settings.load import Recipe, as_text

if TYPE_CHECKING:
    from engine.distributed.process_group import ProcessGroup

PEER_TIMEOUT_S = 60.0
Value = TypeVar("Value")


def run(act: Callable[["ProcessGroup | None"], int], timeout_s: float | None = None) -> int:
    """Call `act` with the processes of the run, None where there is one, and return its exit status.

    timeout_s: how long they wait for each other, PEER_TIMEOUT_S by default. EngineError where one of them was lost.
    """
    ranks = ranks_of(os.environ)
    if ranks is None or ranks.ranks == 1:
        if timeout_s is not None:
            raise EngineError("--peer-timeout has no effect on a lone process: start several with torchrun, or leave "
                              "it out")
        return act(None)
    from engine.distributed.process_group import is_loss, opened

    with opened(ranks, PEER_TIMEOUT_S if timeout_s is None else timeout_s) as process_group:
        try:
            return act(process_group)
        except USER_ERRORS:
            raise
        except Exception as error:
            # What is wrong with the program is wrong in all of them, and is shown once.
            if (isinstance(error, RuntimeError) and is_loss(error)) or speaks_for_all():
                raise
            raise SystemExit(1) from None


def leads(process_group: "ProcessGroup | None") -> bool:
    """Whether this is the process that writes and prints."""
    return process_group is None or process_group.leads


def once(process_group: "ProcessGroup | None", function: Callable[[], Value]) -> Value:
    """What `function` returns, called in one process only; a user's error that it raises is raised in all."""
    def told() -> Value:
        try:
            return function()
        except USER_ERRORS as error:
            raise EngineError(str(error)) from None

    return process_group.from_first(told) if process_group else function()


def refuse_idle(recipe: Recipe, process_group: "ProcessGroup | None") -> None:
    """EngineError for settings that do nothing, or cannot work, with this number of processes."""
    train = recipe.section("train")
    if process_group is None and train.sync_bn:
        raise EngineError("train.sync_bn=true has no effect on a lone process: start several with torchrun, or leave "
                          "it out")
    if process_group and train.repeats > 1:
        raise EngineError(f"train.repeats={train.repeats} is for a lone process, and torchrun started "
                          f"{process_group.ranks}: train each seed with --train.seed=N in a run of its own")


def refuse_other(folder: Path, recipe: Recipe, launch: str) -> None:
    """EngineError where the run that a launch of this id began is not one of `recipe`."""
    different = differing(folder, recipe)
    if different:
        told = ", ".join(f"{path}={as_text(value)}" for path, value in sorted(different.items()))
        raise EngineError(f"{folder} was begun with this --rdzv-id={launch} and other settings (now {told}): give "
                          "another --rdzv-id to begin another run")


def begun_before(recipe: Recipe) -> str | None:
    """The folder of the run that this very launch of torchrun began before it started its processes anew.

    It is told by torchrun's id, which env.json holds; a launch without one (with --master-addr) needs run.folder.
    """
    ranks, wanted = ranks_of(os.environ), recipe.section("run").folder
    if ranks is None or not (ranks.launch or ranks.restarts):
        return None
    if wanted and ranks.restarts and begun(expand(wanted)):
        return wanted
    for folder in [expand(wanted)] if wanted else sorted(Path("runs", recipe.name).glob("*"), reverse=True):
        try:
            launch = json.loads((folder / "env.json").read_text("utf-8"))["launch"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if launch and launch == ranks.launch:
            refuse_other(folder, recipe, launch)
            return str(folder)
    if ranks.restarts and not ranks.launch and not wanted:
        raise EngineError("torchrun started anew and the run before cannot be told: give --run.folder=DIR, or let "
                          "torchrun have an --rdzv-id")
    return None
