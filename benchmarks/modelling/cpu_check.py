"""The model against the truth: a recipe's epochs on this processor, predicted from reference kernels and measured.

Kernels, feed and step are timed in turns, round by round, so that other load meets all alike. The kernels are the same
for all recipes; nothing is fitted to a step.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

import torch

from benchmarks.common.results import label_of
from benchmarks.common.timing import Timings
from benchmarks.modelling.cpu_rates import CpuRates, Kernels, cpu_work, keys_for
from benchmarks.modelling.predict import PARTS, Prediction, RecipeWork
from benchmarks.modelling.steps import phases_of, training_images
from engine.build.feeds import build_train_feed
from engine.build.run import build
from engine.training import precision
from loaders.feeds.stream import usable_cores
from recipes.settings.load import Recipe

CPU = torch.device("cpu")


class Checked:
    """A run at its start, ready to be timed, and its step's work; `opened` closes its feeds."""

    def __init__(self, recipe: Recipe, work: RecipeWork, opened: ExitStack):
        self.label, self.work, self.count = label_of(recipe, "train.device"), work, 0
        # The model counts torch's own operations.
        self.run = opened.enter_context(closing(build(recipe.changed({"train.norms": "torch"}))))
        self.feed = opened.enter_context(closing(build_train_feed(recipe, self.run.betons, CPU, 1)))
        self.images = self.run.feeds.train.samples
        self.run.loop.set_modes(self.run.loop.stage)
        self.steps, self.fed = self._steps(), self._fed()

    def _steps(self) -> Iterator[int]:
        """Train, a whole batch at a time, without end; yields its images."""
        epoch, run = 0, self.run
        while True:
            with run.loop.open_epoch(epoch) as batches:
                for number, batch in enumerate(batches):
                    run.step(batch.images_bhwc, batch.labels, epoch, number)
                    if len(batch.labels) == self.work.batch:
                        yield len(batch.labels)
            epoch += 1

    def _fed(self) -> Iterator[int]:
        """Make batches without end; yields their images."""
        epoch = 0
        while True:
            with self.feed.epoch(epoch) as batches:
                yield from (len(batch.labels) for batch in batches)
            epoch += 1

    def step_s(self, seconds: float) -> float:
        """Seconds of a step with its batch, mean over about `seconds`, at least one."""
        if not self.count:
            # The first makes the optimiser's state.
            next(self.steps)
        began, done = time.perf_counter(), 0
        while done == 0 or time.perf_counter() - began < seconds:
            next(self.steps)
            done += 1
        self.count += done
        return (time.perf_counter() - began) / done

    def feed_s(self, seconds: float) -> float:
        """Seconds that the making of a batch, by one thread, takes from all cores together."""
        # Batches that were made while other things were timed.
        waiting = self.run.recipe.get("data.batches_ahead", 3) + 2
        for _ in range(waiting):
            next(self.fed)
        began, images = time.perf_counter(), 0
        while images == 0 or time.perf_counter() - began < seconds:
            images += next(self.fed)
        return (time.perf_counter() - began) * self.work.batch / images / usable_cores()


def check(recipes: Sequence[Recipe], seconds: float, rounds: int) -> list[dict]:
    """A row for each recipe: epochs/s of its first phase, predicted and measured, and their quotient, round by round.

    seconds: about how long a kernel is timed a round; a feed is for 5 times, a step for 50 times as long.
    """
    works = []
    for recipe in recipes:
        arithmetic = precision.resolve(recipe.section("train").precision, CPU)
        first = next(iter(phases_of(recipe, training_images(recipe))))
        works.append(cpu_work(recipe, first, arithmetic))
    with ExitStack() as opened:
        checked = [Checked(recipe, work, opened) for recipe, work in zip(recipes, works, strict=True)]
        kernels = Kernels(keys_for(works))
        found: dict[str, list[tuple[Prediction, float]]] = {each.label: [] for each in checked}
        for _ in range(rounds):
            rates = kernels.measure(seconds)
            for each in checked:
                with_feed = replace(rates, feed_s=each.feed_s(5 * seconds))
                found[each.label].append((each.work.on(with_feed), each.step_s(50 * seconds)))
        return [row_of(each, found[each.label], rates) for each in checked]


def row_of(checked: Checked, found: Sequence[tuple[Prediction, float]], rates: CpuRates) -> dict:
    """The row of a recipe: figures of each round, and the last round's rates of the kernels."""
    run, batch, images = checked.run, checked.work.batch, checked.images
    predicted, measured = (Timings(tuple(values)) for values in (
        [batch / prediction.step_s / images for prediction, _ in found],
        [batch / step_s / images for _, step_s in found]))
    parts = {part: Timings(tuple(prediction.part_s(part) for prediction, _ in found)).row() for part in PARTS}
    middle = found[len(found) // 2][0]
    return {"name": f"{checked.label}, cpu", "label": checked.label, "device": "cpu", "batch": batch,
            "precision": run.precision.name, "threads": torch.get_num_threads(),
            "predicted_epochs_per_second": predicted.row(6), "measured_epochs_per_second": measured.row(6),
            "predicted_of_measured": predicted.per(measured).row(3), "bound_by": middle.bound_of(),
            "timed": f"{checked.count} steps in {len(found)} rounds", "parts_s": parts,
            "bounds": {part: middle.bound_of(part) for part in PARTS},
            "kernels": {f"{kind}, {str(dtype).removeprefix('torch.')}": [[size, round(rate)] for size, rate in table]
                        for (kind, dtype), table in ((key, rates.tables[key]) for key in keys_for([checked.work]))}}
