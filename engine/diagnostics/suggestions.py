"""Try what might help: build a run with each setting, and measure feed and step together, as they would train."""

import gc
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch

from engine.build.run import build
from engine.cli.console import Screen
from engine.common.errors import EngineError
from engine.common.text import one_line
from engine.diagnostics.advice import WORTH, Advice, rate_text
from engine.diagnostics.peaks import waiter
from engine.diagnostics.throughput import hold_and_warm_up, measure_together
from loaders.common.errors import DataError
from recipes.settings.load import Recipe, RecipeError

# No setting is begun after so many seconds of trying.
TRIES_S = 60.0
# What takes a minute to build, and so comes last.
COMPILES = ({"train.step": "compile"}, {"train.step": "graph"})


@dataclass(frozen=True)
class Trial:
    """What a run with a setting made: images per second, or None and the problem that kept it from being measured."""

    setting: str
    why: str
    images_s: float | None
    problem: str = ""


def try_out(recipe: Recipe, advice: Sequence[Advice], seconds: float, screen: Screen) -> tuple[float, list[Trial]]:
    """(images per second of the recipe as it is, the trials of `advice`), each measured for about `seconds`; 0 without
    advice.

    A trial is begun only in the first TRIES_S. The recipe itself comes last: other load on the machine that ends
    meanwhile must not look like a gain.
    """
    if not advice:
        return 0.0, []
    screen.say(f"trying what might help, about {seconds:g} s each, and a minute more for one that compiles; none is "
               f"begun after {TRIES_S:g} s: {', '.join(each.setting for each in advice)} ...")
    trials, ends = [], time.monotonic() + TRIES_S
    for each in sorted(advice, key=lambda each: each.changes in COMPILES):
        images_s, problem = None, "no time was left"
        if time.monotonic() < ends:
            try:
                images_s, problem = measure_with(recipe, each.changes, seconds, screen), ""
            except (EngineError, DataError, RecipeError, torch.OutOfMemoryError) as error:
                problem = one_line(error)
        trials.append(Trial(each.setting, each.why, images_s, problem))
    return measure_with(recipe, {}, seconds, screen), trials


def measure_with(recipe: Recipe, changes: Mapping[str, str], seconds: float, screen: Screen) -> float:
    """Images per second of feed and step together in a run of the recipe with some settings changed."""
    # The run before may hold a GPU's memory until its cycles are found.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with closing(build(recipe.changed(changes), on_progress=screen.writing, on_warning=screen.say)) as run:
        wait = waiter(run.device)
        run.loop.set_modes(run.loop.stage)
        hold_and_warm_up(run.feeds.train, run.step, wait)
        return measure_together(run.feeds.train, run.step, seconds, wait)


def helpful(trials: Iterable[Trial], images_s: float) -> list[Trial]:
    """The trials that made clearly more than `images_s`, the fastest first."""
    better = [trial for trial in trials if trial.images_s and trial.images_s > WORTH * images_s]
    return sorted(better, key=lambda trial: -trial.images_s)


def show_trials(trials: Sequence[Trial], images_s: float, screen: Screen) -> None:
    """Show what helps a run that makes `images_s` as it is, and what was tried besides."""
    good = helpful(trials, images_s)
    if good:
        screen.table("what helps, as measured", [
            (each.setting, f"{rate_text(each.images_s)} images/s together, {each.images_s / images_s:.2f} x as many: "
                           f"{each.why}") for each in good])
    useless = [f"{each.setting} ({rate_text(each.images_s)} images/s together)" for each in trials
               if each.images_s and each not in good]
    if useless:
        screen.say(f"measured, and no faster than {rate_text(images_s)} images/s: {', '.join(useless)}")
    for each in trials:
        if each.images_s is None:
            screen.say(f"not measured: {each.setting} ({each.problem})")
    if not good:
        screen.say("no setting is known to help: change the network, the image size or the machine")
