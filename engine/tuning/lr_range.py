"""The learning-rate range test: train while the rate rises, and choose a rate by the losses.

Smith 2017 (arXiv:1506.01186): the loss is constant where the rate is too small, falls where it is useful, and grows
where it is too large. The smoothed curve, its steepest point and the early end follow fastai's `lr_find`.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.build.run import build
from engine.cli.console import Screen
from engine.common.errors import EngineError
from engine.optim.schedule import Exponential
from engine.plots.lr_curve import draw_lr_curve
from engine.training.step import TrainStep
from recipes.settings.load import Recipe

# The test ends when the smoothed loss is this many times its minimum so far.
WORSE_TIMES = 4.0
# Losses are read, which waits for the GPU, after this many updates.
READ_EVERY = 20
# The loss's fall is compared with the standard deviation of the smoothed loss's noise, and with the loss itself. Pure
# independent normal noise passes the lower bound in about 1 of 4 tests, the higher one in about 1 of 30.
LEAST_NOISE_TIMES, CLEAR_NOISE_TIMES = 3.0, 5.0
LEAST_FALL_SHARE = 1e-3


@dataclass(frozen=True)
class RangeTest:
    """The rate of each update done, and the mean loss per sample before it. `steps`: planned updates."""

    steps: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def smoothed(self) -> np.ndarray:
        """The smoothed losses, float64 (steps done,)."""
        return smooth(self.losses, window_of(self.steps))


@dataclass(frozen=True)
class Suggestion:
    """`steepest`: the rate where the loss falls fastest over the rate's logarithm; `careful`: a tenth of the rate with
    the lowest loss. `edge`: "low" if the loss falls fastest at the start, "high" if it still falls at the end (a better
    rate may lie outside), else "". `faint`: the loss falls by little more than its noise."""

    steepest: float
    careful: float
    edge: str
    faint: bool


def window_of(steps: int) -> int:
    """How many steps the smoothed loss averages over: a twentieth of the planned ones, at least 5."""
    return max(5, steps // 20)


def smooth(losses: Sequence[float], window_steps: int) -> np.ndarray:
    """Exponential average, float64: the newest loss weighs 1 / window_steps, bias-corrected as Adam's moments; it lags
    by about `window_steps` steps."""
    kept, averages, average = 1 - 1 / window_steps, [], 0.0
    for count, loss in enumerate(losses, 1):
        average = kept * average + (1 - kept) * loss
        averages.append(average / (1 - kept**count))
    return np.array(averages)


def steps_kept(losses: Sequence[float], window_steps: int) -> int:
    """How many losses belong to the test: those up to the first whose smoothed loss exceeds WORSE_TIMES the minimum so
    far, or before the first that is not finite."""
    best = math.inf
    for index, average in enumerate(smooth(losses, window_steps).tolist()):
        if not math.isfinite(average):
            return index
        best = min(best, average)
        if average > WORSE_TIMES * best:
            return index + 1
    return len(losses)


def train_rising(step: TrainStep, feed, steps: int, on_read: Callable[[int, float, float], None]) -> RangeTest:
    """Train on `feed` for `steps` updates or until the test ends (steps_kept). `step` must have a rising schedule; its
    tally is reset. When losses are read, `on_read(steps done, rate, loss)` gets the newest."""
    # The loss may explode here.
    step.guard = None
    rates, losses, tallies = [], [], []
    for epoch in itertools.count():
        step.reset_counts()
        with feed.epoch(epoch) as batches:
            for number, batch in enumerate(batches, 1):
                step(batch.images_bhwc, batch.labels, epoch, number - 1)
                if number % step.accumulate and number < len(feed):
                    continue
                rates.append(step.rate)
                tallies.append(step.tally.clone())
                step.reset_counts()
                if len(tallies) < READ_EVERY and len(rates) < steps:
                    continue
                loss, _, count = torch.stack(tallies).unbind(1)
                losses += (loss / count).tolist()
                tallies = []
                on_read(len(rates), rates[-1], losses[-1])
                kept = steps_kept(losses, window_of(steps))
                if kept < len(losses) or len(losses) == steps:
                    return RangeTest(steps, tuple(rates[:kept]), tuple(losses[:kept]))


def suggest(test: RangeTest) -> Suggestion:
    """The rates that a test suggests; its first window, in which the average settles, is ignored. Raises EngineError
    if the loss exploded too early to judge, or never fell by more than its noise.

    The fall at a step is that of the lowest smoothed loss so far over the two windows after it: so neither a single
    batch nor the recovery from a rise decides, and the average's lag has no effect.
    """
    window, done = window_of(test.steps), len(test.losses)
    if done < 3 * window + 1:
        at = f" at rate {test.rates[-1]:.2g}" if done else ""
        raise EngineError(f"the loss grew out of bounds after {done} of {test.steps} steps{at}: lower --low, or raise "
                          "--steps")
    averages = test.smoothed
    lowest = window + int(np.argmin(averages[window:]))
    fall, noise = averages[window] - averages[lowest], noise_of(test.losses, window)
    if fall <= max(LEAST_NOISE_TIMES * noise, LEAST_FALL_SHARE * averages[window]):
        raise EngineError(f"the loss did not fall between the rates {test.rates[0]:.2g} and {test.rates[-1]:.2g} (by "
                          f"{fall:.2g}, its noise is {noise:.2g}): raise --steps, widen --low and --high, or check "
                          "what the recipe trains")
    bests = np.minimum.accumulate(averages[window:])
    steepest = window + int(np.argmax(bests[: -2 * window] - bests[2 * window:]))
    still_falls = done == test.steps and lowest >= done - window
    edge = "high" if still_falls else "low" if steepest == window else ""
    return Suggestion(test.rates[steepest], test.rates[lowest] / 10, edge,
                      faint=bool(fall <= CLEAR_NOISE_TIMES * noise))


def noise_of(losses: Sequence[float], window_steps: int) -> float:
    """The standard deviation of the smoothed loss's noise. For independent normal noise the median |difference| of
    neighbours is 0.6745 * sqrt(2) * sd, and an exponential average with newest weight 1 / w has sd / sqrt(2 * w - 1).
    """
    deviation = np.median(np.abs(np.diff(losses))) / (0.6745 * math.sqrt(2))
    return float(deviation / math.sqrt(2 * window_steps - 1))


def find_lr(recipe: Recipe, steps: int, low: float, high: float, screen: Screen) -> dict:
    """Train the recipe's first stage with rates from `low` to `high`; the result as plain values.

    Keys: recipe, stage, stages (how many there are), low, high, steps (planned), suggestion, careful, edge and faint
    (see Suggestion), own_lr (the recipe's highest rate), lrs (pattern of parameters -> suggested rate), rates, losses
    and smoothed (one value per step done), device, precision, seed, command.
    """
    with closing(build(recipe, on_progress=screen.writing, on_warning=screen.say)) as run:
        stage, stages, step = run.loop.stage, len(run.loop.stages), run.step
        screen.say(f"{recipe.name} on {run.device}, {run.precision.name}: up to {steps:,} steps, rates {low:g} to "
                   f"{high:g}")
        if stages > 1:
            screen.say(f"only stage {stage.name}, the first of {stages}, is tried")
        step.start_stage(step.optimizer, Exponential(low, high, steps))
        run.loop.set_modes(stage)
        test = train_rising(step, run.feeds.train, steps, lambda done, rate, loss: screen.say(
            f"step {done:>4}/{steps}  rate {rate:.3g}  loss {loss:.4f}"))
    found, own = suggest(test), max(stage.lrs.values())
    return {"recipe": recipe.name, "stage": stage.name, "stages": stages, "low": low, "high": high, "steps": steps,
            "suggestion": found.steepest, "careful": found.careful, "edge": found.edge, "faint": found.faint,
            "own_lr": own, "lrs": {pattern: found.steepest * lr / own for pattern, lr in stage.lrs.items()},
            "rates": test.rates, "losses": test.losses, "smoothed": test.smoothed.tolist(),
            "device": str(run.device), "precision": run.precision.name, "seed": recipe.section("train").seed,
            "command": f"{recipe.command('engine.lr_find')} --steps {steps} --low {low:g} --high {high:g}"}


def draw(found: dict, path: Path) -> Path:
    """Draw the curve of a result; it marks the recipe's own rate if the test reached it."""
    marks = {"steepest fall": found["suggestion"], "a tenth of the lowest's": found["careful"]}
    if found["rates"][0] <= found["own_lr"] <= found["rates"][-1]:
        marks["the recipe's own"] = found["own_lr"]
    return draw_lr_curve(found["rates"], found["losses"], found["smoothed"], marks, path,
                         f"Learning rate of {found['recipe']}, stage {found['stage']}")


def summary_rows(found: dict, picture: Path) -> list[tuple[str, str]]:
    """(name, value) rows that sum up a result."""
    rows = [
        ("suggestion", f"{found['suggestion']:.2g} (the loss falls fastest)", True),
        ("its parts", ", ".join(f"{name} {lr:.2g}" for name, lr in found["lrs"].items()), len(found["lrs"]) > 1),
        ("more careful", f"{found['careful']:.2g} (a tenth of the rate with the lowest loss)", True),
        ("the recipe's own", f"{found['own_lr']:g}", True),
        ("stage", f"{found['stage']}, the first of {found['stages']}", found["stages"] > 1),
        ("but", "the loss falls by little more than its noise: try more --steps", found["faint"]),
        ("but", "the loss falls fastest at the start: try a lower --low", found["edge"] == "low"),
        ("but", "the loss still falls at the end: try a higher --high", found["edge"] == "high"),
        ("steps", f"{len(found['rates']):,} of {found['steps']:,}, to rate {found['rates'][-1]:.2g}", True),
        ("picture", str(picture), True)]
    return [(name, value) for name, value, applies in rows if applies]
