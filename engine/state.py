"""All that a run is between two steps, to a checkpoint's content and back."""

from pathlib import Path

from engine.build import Run
from engine.errors import EngineError
from engine.training import checkpoint
from engine.training.loop import Progress
from recipes.load import as_plain


def state_of(run: Run, history: list[dict]) -> dict:
    """What checkpoint.save takes; waits for the device."""
    return {
        "recipe": run.recipe.name,
        "values": {path: as_plain(value) for path, value in run.recipe.values.items()},
        "class_names": list(run.class_names),
        "resolution": run.resolution,
        "model": run.model.state_dict(),
        "optimizer": run.step.optimizer.state_dict(),
        "scaler": run.precision.scaler.state_dict() if run.precision.scaler else {},
        "ema": run.step.ema.state_dict() if run.step.ema else None,
        "lookahead": run.step.lookahead.state_dict() if run.step.lookahead else None,
        "updates_done": run.step.updates_done,
        "updates": run.step.updates,
        "progress": run.loop.state(),
        "rng": checkpoint.rng_state(),
        "history": history,
        "data": checksums(run),
    }


def restore_state(run: Run, saved: dict, folder: Path) -> None:
    """Put a composed run where a checkpoint's content says: weights, followers, optimiser, position, generators."""
    checkpoint.load_weights(run.model, saved["model"], folder)
    run.loop.go_to(Progress(**saved["progress"]))
    run.step.optimizer.load_state_dict(saved["optimizer"])
    for follower, key in ((run.step.ema, "ema"), (run.step.lookahead, "lookahead")):
        if follower is not None:
            follower.load_state_dict(saved[key])
    if run.precision.scaler and saved["scaler"]:
        run.precision.scaler.load_state_dict(saved["scaler"])
    run.step.updates, run.step.updates_done = saved["updates"], saved["updates_done"]
    checkpoint.set_rng_state(saved["rng"])


def checksums(run: Run) -> dict[str, str]:
    """The SHA-256 of each split's beton."""
    return {split: beton.sha256 for split, beton in run.betons.items()}


def refuse_other_data(run: Run, trained_on: dict[str, str], folder: Path) -> None:
    """EngineError where the data set's content is not what the checkpoint's run was trained on."""
    if trained_on != checksums(run):
        raise EngineError(f"{folder} was trained on another {run.recipe.section('data').name} (the checksums of the "
                          "betons differ): give the data it began with, or begin a new run")
