"""From a recipe's steps and a device's rates to times: of a step, part by part, of an epoch, of the run.

Caches are not known: what one kernel writes and the next reads counts as memory's, though it may still be on the chip.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from benchmarks.modelling.augmentation import augmentation_counts
from benchmarks.modelling.cards import EXPECTED, PEAK, Card, CardRates, card_of
from benchmarks.modelling.fusing import Work, each_alone, fused
from benchmarks.modelling.steps import phases_of, trace_step, training_images
from engine.build.preflight import policy_of
from recipes.settings.load import Recipe

PARTS = ("feed", "matrix", "rest", "update", "launches")


class Rates(Protocol):
    """A device's rates. step_s: seconds that each step takes besides; seconds(work): its seconds by what bounds them,
    of which "launches" come on top of the others."""

    step_s: float

    def seconds(self, work: Work) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Prediction:
    """Mean times of a recipe's steps of `batch` images: seconds by part and bound. images: of an epoch; steps: of the
    run, without evaluation."""

    batch: int
    images: int
    steps: int
    parts: Mapping[str, Mapping[str, float]]

    @property
    def step_s(self) -> float:
        return sum(map(self.part_s, self.parts))

    @property
    def images_per_second(self) -> float:
        return self.batch / self.step_s

    @property
    def epochs_per_second(self) -> float:
        """Epochs of full batches and a share of one."""
        return self.images_per_second / self.images

    @property
    def run_s(self) -> float:
        """Seconds of training to the recipe's end."""
        return self.step_s * self.steps

    def part_s(self, part: str) -> float:
        """Seconds of a part in a step."""
        return sum(self.parts[part].values())

    def bound_of(self, *parts: str) -> str:
        """What bounds parts, by default the step: "matrix", "memory", "launches" or "feed"; "" if they take no time."""
        seconds: dict[str, float] = defaultdict(float)
        for part in parts or self.parts:
            for bound, value in self.parts[part].items():
                seconds[bound] += value
        return max(seconds, key=seconds.__getitem__) if any(seconds.values()) else ""


@dataclass(frozen=True)
class RecipeWork:
    """The work of a recipe's steps: (steps, [(times a step, work)]) for each phase."""

    batch: int
    images: int
    phases: Sequence[tuple[int, Sequence[tuple[float, Work]]]]

    def on(self, rates: Rates) -> Prediction:
        """The times on a device."""
        parts: dict[str, dict[str, float]] = {part: defaultdict(float) for part in PARTS}
        steps = sum(count for count, _ in self.phases)
        for count, works in self.phases:
            for times, work in works:
                for bound, seconds in rates.seconds(work).items():
                    part = "launches" if bound == "launches" else part_of(work)
                    parts[part][bound] += seconds * times * count / steps
        parts["launches"]["launches"] += rates.step_s
        return Prediction(self.batch, self.images, steps, {part: dict(found) for part, found in parts.items()})

    def longest(self) -> "RecipeWork":
        """The phase with the most steps alone."""
        return RecipeWork(self.batch, self.images, [max(self.phases, key=lambda phase: phase[0])])


def part_of(work: Work) -> str:
    """The part of PARTS that a work counts in."""
    return work.part if work.part != "passes" else "matrix" if work.flops else "rest"


def gpu_work(recipe: Recipe) -> RecipeWork:
    """A recipe's work as one graph on a GPU: augmentation by kernels, compiled passes, and the update as it is."""
    train, images = recipe.section("train"), training_images(recipe)
    augmentation = augmentation_counts(policy_of(recipe), train.batch)
    feed = Work("augmentation", "feed", torch.uint8, 0, augmentation.bytes, augmentation.launches)
    phases = []
    for phase, steps in phases_of(recipe, images).items():
        works = [(1.0, feed)]
        for piece in trace_step(recipe, phase, compiled=True):
            update = all(each.part == "update" for each in piece.operations)
            made = each_alone(piece.operations) if update else fused(piece.operations, piece.read_later)
            works += [(piece.share, work) for work in made]
        phases.append((steps, works))
    return RecipeWork(train.batch, images, phases)


def on_card(work: RecipeWork, recipe: Recipe, card: Card) -> tuple[Prediction, Prediction]:
    """(expected, at peak): with the share of the card's peaks that steps are assumed to reach, and with all of them."""
    tf32 = recipe.get("train.tf32", True)
    return work.on(CardRates(card, EXPECTED, tf32)), work.on(CardRates(card, PEAK, tf32))


def predicted(recipe: Recipe, device_name: str, longest: bool = False) -> tuple[Prediction, Prediction]:
    """(expected, at peak) of a recipe's run, or of its longest phase, on a GPU of a name that `card_of` knows."""
    work = gpu_work(recipe)
    return on_card(work.longest() if longest else work, recipe, card_of(device_name))
