"""Go on with a run that was stopped, however it was stopped."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

import torch

from engine.build.run import Run, build
from engine.cli.console import Screen
from engine.common.errors import EngineError
from engine.distributed.process_group import ProcessGroup
from engine.session.launch import leads, once
from engine.session.run_state import refuse_other_data, restore_state
from engine.session.session import Session, begin_in, write_config
from engine.storage import checkpoint
from engine.storage.folder_lock import FolderLock
from engine.storage.run_lookup import changed, finished, read_recipe, refuse_other_recipe
from engine.training.loop import Progress
from recipes.settings import load

# The settings that decide whether a run stops early.
STOPPERS = ("train.patience", "train.min_delta", "train.stop_at")


def resume(run_folder: str, screen: Screen, resume_folder: Path | None = None,
           settings: Mapping[str, object] = MappingProxyType({}), process_group: ProcessGroup | None = None) -> int:
    """Go on with the run in `run_folder` from its last checkpoint: its exit status. `resume_folder`: as in Session.

    settings: those that are to be others from now on; EngineError where one of them would change what was trained.
    process_group: the processes that go on with it, which need not be as many as before; the first one reads
    the folder.
    """
    folder = Path(run_folder)

    def read() -> tuple[dict | None, bool]:
        if not folder.is_dir():
            raise EngineError(f"{run_folder} {'is no run folder' if folder.exists() else 'does not exist'}: give the "
                              "folder of a run")
        locks.enter_context(FolderLock(folder))
        saved = checkpoint.load_newest(folder, screen.say)
        if saved:
            refuse_other_recipe(folder, load.restore(saved["recipe"], saved["values"]))
        return saved, finished(folder)

    with ExitStack() as locks:
        saved, has_summary = once(process_group, read)
        if saved is None:
            if has_summary:
                raise EngineError(f"{folder} is finished and has no checkpoints/last.pt: there is nothing to go on "
                                  "with")
            return _begin_again(folder, screen, resume_folder, settings, process_group)
        recipe = changed(load.restore(saved["recipe"], saved["values"]), settings)
        progress = Progress(**saved["progress"])
        if progress.stopped and any(recipe.get(path) != saved["values"].get(path) for path in STOPPERS):
            progress.stopped = saved["progress"]["stopped"] = ""
        # A run that was stopped between its last epoch and its summary still has that to write.
        if has_summary and (progress.epoch >= recipe.epochs or progress.stopped):
            way = "--train.patience=N or --train.stop_at=SHARE stops it later (0: never)" if progress.stopped else \
                "--train.epochs=N adds epochs"
            how = progress.stopped or f"{progress.epoch} epochs"
            raise EngineError(f"{run_folder} is finished ({how}): nothing is left to go on with; --resume {run_folder} "
                              f"{way}")
        begun_epochs = progress.epoch + (progress.step > 0)
        if begun_epochs > recipe.epochs:
            raise EngineError(f"train.epochs={recipe.epochs}: the run has {begun_epochs} already, or is in the last of "
                              "them: ask for as many or more")
        run = build(recipe, going_on=True, on_progress=screen.writing, on_warning=screen.say,
                    process_group=process_group)
        try:
            refuse_other_data(run, saved["data"], folder)
            restore(run, saved, folder)
            if settings:
                write_config(run, folder)
            if has_summary and leads(process_group):
                # It is not finished any more, and would pass for it.
                (folder / "summary.json").replace(folder / "summary.previous.json")
            screen.say(f"going on with {folder} at epoch {progress.epoch + 1}, step {progress.step}")
            return Session(run, folder, screen, saved["history"], resume_folder, first=progress.steps_done == 0).go()
        finally:
            run.close()


def restore(run: Run, saved: dict, folder: Path) -> None:
    """`restore_state`; EngineError where the entries are of a kind that a run of this recipe does not write."""
    try:
        restore_state(run, saved, folder)
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        if isinstance(error, (EngineError, torch.OutOfMemoryError)):
            raise
        reason = str(error).partition("\n")[0]
        raise EngineError(f"{folder}: the last checkpoint does not fit its own recipe ({type(error).__name__}: "
                          f"{reason:.100}): it was not written by this run") from None


def _begin_again(folder: Path, screen: Screen, resume_folder: Path | None, settings: Mapping[str, object],
                 process_group: ProcessGroup | None) -> int:
    """Train from the start the run whose folder holds what it is, but no checkpoint yet."""
    screen.say(f"{folder} has no checkpoint yet: it begins anew")
    recipe = once(process_group, lambda: read_recipe(folder))
    run = build(changed(recipe, settings), on_progress=screen.writing, on_warning=screen.say,
                process_group=process_group)
    try:
        return begin_in(folder, run, screen, resume_folder)
    finally:
        run.close()
