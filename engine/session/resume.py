"""Resume a run that was stopped, however it was stopped."""

import math
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import MappingProxyType

import torch

from engine.build.run import build
from engine.cli.console import Screen
from engine.common.errors import EngineError
from engine.common.files import remove
from engine.distributed.process_group import ProcessGroup
from engine.session.processes import leads, once
from engine.session.run_state import checksums, restore_state
from engine.session.session import Session, write_config
from engine.storage import checkpoint
from engine.storage.folder_lock import FolderLock
from engine.storage.run_lookup import changed, finished, read_recipe, refuse_other_recipe
from engine.training.loop import Loop, Progress
from recipes.settings import load
from recipes.settings.load import Recipe, as_plain

# The settings that decide whether a run stops early.
STOPPERS = ("train.patience", "train.min_delta", "train.stop_at")


def resume_run(folder_text: str, screen: Screen, resume_folder: Path | None = None,
               settings: Mapping[str, object] = MappingProxyType({}),
               process_group: ProcessGroup | None = None, began: float | None = None) -> int:
    """Resume the run in a folder from its last checkpoint; returns the exit status.

    resume_folder, began: as in Session.

    settings: new values from now on; EngineError where one would change what was trained. process_group: its size may
    differ from before; the first process reads the folder. A run without a checkpoint starts again.
    """
    folder = Path(folder_text)

    def read() -> tuple[dict | None, bool]:
        if not folder.is_dir():
            raise EngineError(f"{folder} {'is no run folder' if folder.exists() else 'does not exist'}: give the "
                              "folder of a run")
        locks.enter_context(FolderLock(folder))
        saved = checkpoint.load_newest(folder, screen.say)
        if saved:
            refuse_other_recipe(folder, load.restore(saved["recipe"], saved["values"]))
        return saved, finished(folder)

    with ExitStack() as locks:
        saved, has_summary = once(process_group, read)
        if saved:
            recipe = changed(load.restore(saved["recipe"], saved["values"]), settings)
            refuse_finished(folder, saved, recipe, has_summary)
        elif has_summary:
            raise EngineError(f"{folder} is finished and has no checkpoints/last.pt: there is nothing to resume")
        else:
            screen.say(f"{folder} has no checkpoint yet: it starts again")
            recipe = changed(once(process_group, lambda: read_recipe(folder)), settings)
        run = locks.enter_context(closing(build(recipe, resuming=bool(saved), on_progress=screen.writing,
                                                on_warning=screen.say, process_group=process_group)))
        if not saved:
            return Session(run, folder, screen, None, resume_folder, began=began).train()
        if saved["data"] != checksums(run):
            splits = [", ".join(sorted(data)) for data in (saved["data"], checksums(run))]
            why = "the checksums of the betons differ" if splits[0] == splits[1] else \
                f"then it had the splits {splits[0]}, now {splits[1]}"
            raise EngineError(f"{folder} was trained on another {recipe.section('data').name} ({why}): give the data "
                              "it started with, or start a new run")
        refuse_passed(run.loop, saved)
        try:
            restore_state(run, saved, folder)
        except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
            if isinstance(error, (EngineError, torch.OutOfMemoryError)):
                raise
            reason = str(error).partition("\n")[0]
            raise EngineError(f"{folder}: the last checkpoint does not fit its own recipe ({type(error).__name__}: "
                              f"{reason:.100}): it was not written by this run") from None
        if leads(process_group):
            # Former versions wrote the history there too; it would fall out of date.
            remove(folder / "metrics.jsonl")
            if settings:
                # At once: a run that is killed before it saves again keeps its new settings.
                values = {path: as_plain(value) for path, value in recipe.values.items()}
                checkpoint.save(folder / "checkpoints" / "last.pt", {**saved, "values": values}, keep_previous=True)
                write_config(run, folder)
            if has_summary:
                # The run is not finished any more, and must not look finished.
                (folder / "summary.json").replace(folder / "summary.previous.json")
        progress = run.loop.progress
        screen.say(f"resuming {folder} at epoch {progress.epoch + 1}, step {progress.step}")
        return Session(run, folder, screen, saved["history"], resume_folder, first=progress.steps_done == 0,
                       began=began).train()


def refuse_passed(loop: Loop, saved: dict) -> None:
    """EngineError where the run's new end lies within its last epoch and before the checkpoint's position."""
    epoch, step = saved["progress"]["epoch"], saved["progress"]["step"]
    if step > (left := loop.steps_in(epoch)):
        raise EngineError(f"train.epochs={loop.stages[-1].end} ends after step {left} of epoch {epoch + 1}, and the "
                          f"run is at step {step}: ask for more")


def refuse_finished(folder: Path, saved: dict, recipe: Recipe, has_summary: bool) -> None:
    """EngineError where a checkpoint leaves `recipe` nothing to train. Other settings for stopping early undo a stop.
    """
    progress = Progress(**saved["progress"])
    if progress.stopped and any(recipe.get(path) != saved["values"].get(path) for path in STOPPERS):
        progress.stopped = saved["progress"]["stopped"] = ""
    # A run that was stopped between its last epoch and its summary still has that to write.
    if has_summary and (progress.epoch >= recipe.epochs or progress.stopped):
        way = "--train.patience=N or --train.stop_at=SHARE stops it later (0: never)" if progress.stopped else \
            "--train.epochs=N adds epochs"
        raise EngineError(f"{folder} is finished ({progress.stopped or f'{progress.epoch} epochs'}): nothing is left "
                          f"to resume; --resume {folder} {way}")
    started_epochs = progress.epoch + (progress.step > 0)
    if started_epochs > math.ceil(recipe.epochs):
        raise EngineError(f"train.epochs={recipe.epochs}: the run has {started_epochs} already, or is in the last of "
                          "them: ask for as many or more")
