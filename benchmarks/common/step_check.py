"""Does a faster executor compute what the eager one does? Trains both on the same batches and compares the losses."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torchvision.ops import StochasticDepth

from engine.build.run import Run, build
from engine.common.errors import EngineError
from engine.training.nan_guard import NotFinite
from engine.training.stages import updates_in
from recipes.settings.load import Recipe

# Allowed deviation of a step's loss, as a share of it: rounding differs and accumulates.
TOLERANCE = {"fp32": 2e-3, "bf16": 5e-2, "fp16": 2e-2}


@dataclass(frozen=True)
class Deviation:
    """The largest and the mean deviation over `steps` losses, as shares of the eager step's losses."""

    mode: str
    precision: str
    steps: int
    largest: float
    mean: float
    allowed: float


def step_losses(run: Run, steps: int) -> list[float]:
    """The mean loss of each of a run's first `steps` steps, without dropout or stochastic depth: draws differ.

    Where parts of the network end before the run, the step after half of them is the first without these parts.
    """
    for module in run.model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd | StochasticDepth):
            module.p = 0.0
    if steps > (most := updates_in(run.loop.stage.epochs, len(run.feeds.train))):
        raise EngineError(f"{steps} steps cannot be compared, stage {run.loop.stage.name} of {run.recipe.name} has "
                          f"{most}: ask for at most that many")
    step, totals, epoch = run.step, [], 0
    end, share = max((part.total_steps for part in step.parts.values()), default=0), step.accumulate
    updates = updates_in(run.loop.stage.epochs, -(-len(run.feeds.train) // share))
    # No more updates may follow than the schedule has left; a group of batches may be cut at an epoch's end.
    jump = max(steps // 2, steps - share * (updates - end - (share > 1)))
    step.reset_counts()
    run.loop.set_modes(run.loop.stage)
    while len(totals) < steps:
        with run.loop.open_epoch(epoch) as batches:
            for number, batch in zip(range(steps - len(totals)), batches, strict=False):
                if len(totals) >= jump and step.updated:
                    step.updates = max(step.updates, end)
                step(batch.images_bhwc, batch.labels, epoch, number)
                totals.append(step.tally.clone())
        epoch += 1
    sums = torch.diff(torch.stack([torch.zeros_like(totals[0]), *totals]), dim=0)
    return (sums[:, 0] / sums[:, 2]).tolist()


def check_mode(recipe: Recipe, mode: str, steps: int = 50) -> Deviation:
    """How far the losses of `mode` are from the eager step's, from the same weights and on the same batches.

    EngineError if rounding in the recipe's precision cannot explain it, or a loss is not finite.
    """
    losses_by_mode = {}
    for each in ("eager", mode):
        run = build(recipe.changed({"train.step": each}))
        try:
            losses_by_mode[each], precision = step_losses(run, steps), run.precision.name
        except NotFinite as bad:
            what, advice = (("the recipe's own step", "lower the learning rate") if each == "eager" else
                            (f"train.step={each}", "use --train.step=eager"))
            raise EngineError(f"{what} gives a loss that is not finite at step {bad.step} ({run.precision.name}); "
                              f"{advice}") from None
        finally:
            run.close()
    fast, eager = losses_by_mode[mode], losses_by_mode["eager"]
    shares = [abs(a - b) / max(abs(b), 1e-6) for a, b in zip(fast, eager, strict=True)]
    # max() would miss a NaN.
    shares = [share if math.isfinite(share) else math.inf for share in shares]
    worst, allowed = max(range(steps), key=shares.__getitem__), TOLERANCE[precision]
    if shares[worst] > allowed:
        raise EngineError(f"train.step={mode} does not compute what eager does: at step {worst} the loss is "
                          f"{fast[worst]:.5f} instead of {eager[worst]:.5f} ({precision}, allowed are {allowed:.1%}); "
                          "use --train.step=eager")
    return Deviation(mode, precision, steps, shares[worst], sum(shares) / steps, allowed)
