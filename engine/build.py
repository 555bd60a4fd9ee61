"""The composition root: a recipe's values become feeds, network, optimiser, step and loop, with explicit arguments.

Below this file nothing reads a recipe.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from engine.checks import policy_of, resolution_of
from engine.datasets import OnProgress, OnWarning, open_betons, open_data
from engine.devices import choose_device, place_threads
from engine.feeds import build_all_feeds
from engine.models import table
from engine.optim import groups, schedule
from engine.training import mixing, precision
from engine.training.evaluation import evaluate
from engine.training.loop import Loop, Progress, Stops
from engine.training.metrics import Result
from engine.training.step import ToInput, TrainStep
from loaders.beton import Beton
from loaders.feed import Feeds
from recipes.load import Recipe


@dataclass
class Run:
    """Everything a training run is made of."""

    recipe: Recipe
    device: torch.device
    precision: precision.Precision
    class_names: tuple[str, ...]
    resolution: int
    betons: dict[str, Beton]
    feeds: Feeds
    model: nn.Module
    step: TrainStep
    loop: Loop
    evaluate: Callable[[object], Result]
    watched: str

    def close(self) -> None:
        """Close the feeds."""
        self.feeds.close()


def build_model(recipe: Recipe, classes: int) -> nn.Module:
    """The recipe's network on torch's default device, its weights drawn from torch's generator."""
    options = vars(recipe.section("model")).copy()
    return table.build(options.pop("name"), classes, policy_of(recipe).output_height, **options)


def build_schedule(recipe: Recipe, updates_per_epoch: int) -> schedule.Schedule:
    """The learning-rate schedule over the whole run."""
    settings, total = recipe.section("schedule"), updates_per_epoch * recipe.section("train").epochs
    if settings.name == "constant":
        return schedule.Constant(settings.lr)
    if settings.name == "cosine":
        return schedule.Cosine(settings.lr, total, round(settings.warmup_epochs * updates_per_epoch),
                               settings.final_fraction)
    if settings.name == "step":
        return schedule.Step(settings.lr, tuple(e * updates_per_epoch for e in settings.milestones), settings.gamma)
    low, high = recipe.get("schedule.momentum_low"), recipe.get("schedule.momentum_high")
    return schedule.OneCycle(settings.lr, total, settings.pct_start, settings.div, settings.final_div, low, high)


def build_optimizer(recipe: Recipe, model: nn.Module, peak: float) -> torch.optim.Optimizer:
    """The recipe's optimiser over the trainable parameters."""
    settings = vars(recipe.section("optim")).copy()
    name, decay, decay_all = (settings.pop(key) for key in ("name", "weight_decay", "decay_all"))
    members = groups.split_decay(groups.by_pattern(model, {"*": peak}), decay, decay_all)
    return groups.build_optimizer(name, members, **settings)


def build_mixing(recipe: Recipe, height: int, width: int) -> Callable[[int, int], mixing.Mix | None] | None:
    """(epoch, step) -> the batch's Mix or None; None where the recipe never mixes."""
    mix = recipe.section("mix")
    if not mix.p:
        return None
    cutmix_share = {"cutmix": 1.0, "mixup": 0.0}.get(mix.kind, recipe.get("mix.switch_p"))
    alphas = {key: getattr(mix, key) for key in ("cutmix_alpha", "mixup_alpha") if hasattr(mix, key)}
    return partial(mixing.draw_mix, recipe.section("train").seed, height=height, width=width,
                   cutmix_p=mix.p * cutmix_share, mixup_p=mix.p * (1 - cutmix_share), **alphas)


def build(recipe: Recipe, *, on_progress: OnProgress = None, on_warning: OnWarning = None) -> Run:
    """Compose the run that `recipe` describes, at its start."""
    train, data, held = recipe.section("train"), recipe.section("data"), recipe.section("eval")
    device = choose_device(train.device)
    arithmetic = precision.Precision(precision.resolve(train.precision, device), device)
    loader_threads = place_threads(recipe, device)
    # Weights decay towards denormal numbers, on which CPUs are many times slower. It holds for the whole process.
    torch.set_flush_denormal(device.type == "cpu")
    source = open_data(recipe)
    betons = open_betons(recipe, source, on_progress, on_warning)
    policy = policy_of(recipe)
    feeds = build_all_feeds(recipe, betons, device, loader_threads)
    torch.manual_seed(train.seed)
    model = build_model(recipe, len(source.class_names)).to(device)
    if train.channels_last:
        model = model.to(memory_format=torch.channels_last)
    steps = len(feeds.train)
    rates = build_schedule(recipe, -(-steps // train.accumulate))
    optimizer = build_optimizer(recipe, model, rates.lr)
    to_input = ToInput(data.mean, data.std, device, train.channels_last)
    step = TrainStep(model, optimizer, rates, to_input, arithmetic, steps_per_epoch=steps,
                     smoothing=train.label_smoothing, smooth_mixed=recipe.get("mix.smooth", True),
                     draw_mix=build_mixing(recipe, policy.output_height, policy.output_width),
                     clip_norm=train.clip_norm, accumulate=train.accumulate)
    measure = partial(evaluate, model, classes=len(source.class_names), to_input=to_input, precision=arithmetic,
                      flip=held.tta == "flip")
    watched = "none" if held.watch == "none" else "validation" if feeds.validation else "test"
    watched_feed = {"validation": feeds.validation, "test": feeds.test}.get(watched)
    if watched_feed is None:
        watched = "none"
    loop = Loop(step, feeds.train, train.epochs,
                watch=partial(measure, watched_feed) if watched_feed else None,
                select=(watched, held.select) in (("validation", "auto"), ("test", "test")),
                stops=Stops(train.stop_at, train.patience, recipe.get("train.min_delta", 0.0)), progress=Progress())
    return Run(recipe, device, arithmetic, source.class_names, resolution_of(recipe), betons, feeds, model, step, loop,
               measure, watched)
