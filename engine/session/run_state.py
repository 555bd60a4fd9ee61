"""The state of a run between two steps, as the content of a checkpoint and back."""

from pathlib import Path

import torch

from engine.build.run import Run
from engine.storage import checkpoint
from engine.training.loop import Progress
from loaders.common.counter_rng import hash64
from recipes.settings.load import as_plain


def state_of(run: Run, history: list[dict]) -> dict:
    """The content of a checkpoint; waits for the device and for the other processes, which must all call it."""
    progress, own = run.loop.state(), {"rng": checkpoint.rng_state(), "tally": run.step.tally.tolist()}
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
        "progress": progress,
        "processes": run.process_group.gather(own) if run.process_group else [own],
        "history": history,
        "data": checksums(run),
    }


def restore_state(run: Run, saved: dict, folder: Path) -> None:
    """Put a run where a checkpoint's content says: weights, averages, optimiser, position, random generators.

    With as many processes as before, each restores its own generators and counts; otherwise the generators are seeded
    from the position, and the first process restores the counts of all.
    """
    checkpoint.load_weights(run.model, saved["model"], folder)
    rank, ranks = run.process_group.shard if run.process_group else (0, 1)
    before, progress = saved["processes"], Progress(**saved["progress"])
    tallies = [process["tally"] for process in before]
    if len(before) != ranks:
        tallies = [[sum(counts) for counts in zip(*tallies, strict=True)]] + [[0.0] * 3] * (ranks - 1)
    progress.tally = tallies[rank] if progress.step else [0.0] * 3
    run.loop.seek(progress)
    run.step.load_optimizer(saved["optimizer"])
    for follower, key in ((run.step.ema, "ema"), (run.step.lookahead, "lookahead")):
        if follower is not None:
            follower.load_state_dict(saved[key])
    if run.precision.scaler and saved["scaler"]:
        run.precision.scaler.load_state_dict(saved["scaler"])
    run.step.updates, run.step.updates_done = saved["updates"], saved["updates_done"]
    if len(before) == ranks:
        checkpoint.set_rng_state(before[rank]["rng"])
    else:
        seed = run.recipe.section("train").seed
        torch.manual_seed(int(hash64(seed, rank, progress.steps_done)[0]))


def checksums(run: Run) -> dict[str, str]:
    """The SHA-256 of each split's beton."""
    return {split: beton.sha256 for split, beton in run.betons.items()}
