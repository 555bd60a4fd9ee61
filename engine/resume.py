"""Go on with a run that was stopped, however it was stopped."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from engine.build import build
from engine.errors import EngineError
from engine.going_on import changed, finished, read_recipe, refuse_other_recipe
from engine.processes import once
from engine.session import Session, begin_in, write_config
from engine.state import refuse_other_data, restore_state
from engine.training import checkpoint
from engine.training.lock import FolderLock
from engine.training.loop import Progress
from engine.training.screen import Screen
from engine.training.together import Together
from recipes.load import restore


def resume(run_folder: str, screen: Screen, go_on_with: Path | None = None,
           settings: Mapping[str, object] = MappingProxyType({}), together: Together | None = None) -> int:
    """Go on with the run in `run_folder` from its last checkpoint: its exit status. `go_on_with`: as in Session.

    settings: those that are to be others from now on; EngineError where one of them would change what was trained.
    together: the processes that go on with it, which need not be as many as before; the first one reads the folder.
    """
    folder = Path(run_folder)

    def read() -> tuple[dict | None, bool]:
        if not folder.is_dir():
            raise EngineError(f"{run_folder} {'is no run folder' if folder.exists() else 'does not exist'}: give the "
                              "folder of a run")
        locks.enter_context(FolderLock(folder))
        saved = checkpoint.load_newest(folder, screen.say)
        if saved:
            refuse_other_recipe(folder, restore(saved["recipe"], saved["values"]))
        return saved, finished(folder)

    with ExitStack() as locks:
        saved, has_summary = once(together, read)
        if saved is None:
            if has_summary:
                raise EngineError(f"{folder} is finished and has no checkpoints/last.pt: there is nothing to go on "
                                  "with")
            return _begin_again(folder, screen, go_on_with, settings, together)
        recipe = changed(restore(saved["recipe"], saved["values"]), settings)
        progress = Progress(**saved["progress"])
        # A run that was stopped between its last epoch and its summary still has that to write.
        if has_summary and (progress.epoch >= recipe.epochs or progress.stopped):
            raise EngineError(f"{run_folder} is finished ({progress.epoch} epochs): nothing is left to go on with; "
                              f"--resume {run_folder} --train.epochs=N adds epochs")
        if progress.epoch > recipe.epochs:
            raise EngineError(f"train.epochs={recipe.epochs}: the run has {progress.epoch} already: ask for more")
        run = build(recipe, going_on=True, on_progress=screen.writing, on_warning=screen.say, together=together)
        try:
            refuse_other_data(run, saved["data"], folder)
            restore_state(run, saved, folder)
            if settings:
                write_config(run, folder)
            screen.say(f"going on with {folder} at epoch {progress.epoch + 1}, step {progress.step}")
            return Session(run, folder, screen, saved["history"], go_on_with, first=progress.epoch == 0).go()
        finally:
            run.close()


def _begin_again(folder: Path, screen: Screen, go_on_with: Path | None, settings: Mapping[str, object],
                 together: Together | None) -> int:
    """Train from the start the run whose folder holds what it is, but no checkpoint yet."""
    screen.say(f"{folder} has no checkpoint yet: it begins anew")
    recipe = once(together, lambda: read_recipe(folder))
    run = build(changed(recipe, settings), on_progress=screen.writing, on_warning=screen.say, together=together)
    try:
        return begin_in(folder, run, screen, go_on_with)
    finally:
        run.close()
