"""Does a faster way to run the step compute what the plain one computes? Both train the same batches, side by side."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torchvision.ops import StochasticDepth

from engine.build.run import Run, build
from engine.common.errors import EngineError
from engine.training.nan_guard import NotFinite
from recipes.settings.load import Recipe

# How far the loss of a step may be off, as a share of it. Rounding differs and is carried on from step to step.
TOLERANCE = {"fp32": 2e-3, "bf16": 5e-2, "fp16": 2e-2}


@dataclass(frozen=True)
class Deviation:
    """The largest and the mean difference of a step's loss, as shares of the plain step's loss, over `steps`."""

    mode: str
    precision: str
    steps: int
    largest: float
    mean: float
    allowed: float


def losses(run: Run, steps: int) -> list[float]:
    """The mean loss of each of the first `steps` steps of a run.

    Dropout and stochastic depth are switched off, for their draws differ. Raises EngineError where the run's stage has
    fewer steps.
    """
    for module in run.model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd | StochasticDepth):
            module.p = 0.0
    most = len(run.feeds.train) * run.loop.stage.epochs
    if steps > most:
        raise EngineError(f"{steps} steps cannot be compared, stage {run.loop.stage.name} of {run.recipe.name} has "
                          f"{most}: ask for so many at most")
    step, totals, epoch = run.step, [], 0
    step.reset_counts()
    run.loop.set_modes(run.loop.stage)
    while len(totals) < steps:
        with run.feeds.train.epoch(epoch) as batches:
            for number, batch in zip(range(steps - len(totals)), batches, strict=False):
                step(batch.images_bhwc, batch.labels, epoch, number)
                totals.append(step.tally.clone())
        epoch += 1
    sums = torch.diff(torch.stack([torch.zeros_like(totals[0]), *totals]), dim=0)
    return (sums[:, 0] / sums[:, 2]).tolist()


def check_mode(recipe: Recipe, mode: str, steps: int = 50) -> Deviation:
    """Train `recipe` for `steps` steps by the plain step and by `mode`, from the same weights and on the same batches.

    Returns how far their losses lie apart; raises EngineError where that is more than the precision explains.
    """
    found = {}
    for each in ("eager", mode):
        run = build(recipe.changed({"train.step": each}))
        try:
            found[each], name = losses(run, steps), run.precision.name
        except NotFinite as bad:
            what = "the recipe's own step" if each == "eager" else f"train.step={each}"
            raise EngineError(f"{what} brings a loss that is no finite number at step {bad.step} "
                              f"({run.precision.name}); " + ("lower the learning rate" if each == "eager" else
                                                             "use --train.step=eager")) from None
        finally:
            run.close()
    shares = [abs(a - b) / max(abs(b), 1e-6) for a, b in zip(found[mode], found["eager"], strict=True)]
    # A NaN is larger than nothing: it would go unseen.
    apart = [share if math.isfinite(share) else math.inf for share in shares]
    worst = max(range(steps), key=apart.__getitem__)
    deviation = Deviation(mode, name, steps, apart[worst], sum(apart) / steps, TOLERANCE[name])
    if not deviation.largest <= deviation.allowed:
        raise EngineError(f"train.step={mode} does not compute what eager does: at step {worst} the loss is "
                          f"{found[mode][worst]:.5f} instead of {found['eager'][worst]:.5f} ({name}, allowed are "
                          f"{deviation.allowed:.1%}); use --train.step=eager")
    return deviation
