"""Stages, schedules, optimiser, averages, mixing and image sizes, each from the settings of a recipe."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from engine.common.errors import EngineError
from engine.optim import param_groups, schedule
from engine.optim.averaging import Ema, Lookahead
from engine.training import mixing, stages
from recipes.settings.load import Recipe


def build_stages(recipe: Recipe) -> tuple[stages.Stage, ...]:
    """The stages of a recipe; without any it has one, called all."""
    given = recipe.section("train").stages
    lrs = recipe.get("schedule.lrs") or {"*": recipe.get("schedule.lr")}
    return stages.in_order(given or [{"name": "all", "epochs": recipe.epochs, "lrs": lrs}])


def build_schedule(recipe: Recipe, stage: stages.Stage, updates_per_epoch: int) -> schedule.Schedule:
    """The learning-rate schedule of a stage, for the group with the highest rate."""
    settings, lr, total = recipe.section("schedule"), max(stage.lrs.values()), updates_per_epoch * stage.epochs
    if settings.name == "constant":
        return schedule.Constant(lr)
    if settings.name in ("cosine", "linear"):
        kind = schedule.Cosine if settings.name == "cosine" else schedule.Linear
        return kind(lr, total, round(settings.warmup_epochs * updates_per_epoch), settings.final_fraction)
    if settings.name == "step":
        return schedule.StepDecay(lr, tuple(e * updates_per_epoch for e in settings.milestones), settings.gamma)
    low, high = recipe.get("schedule.momentum_low"), recipe.get("schedule.momentum_high")
    return schedule.OneCycle(lr, total, settings.pct_start, settings.div, settings.final_div, low, high)


def build_optimizer(recipe: Recipe, model: nn.Module, stage: stages.Stage) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that train in `stage`.

    Patterns of Muon that name only frozen weights are left out; without any left, the rest's optimiser takes all.
    """
    settings = vars(recipe.section("optim")).copy()
    name, decay, decay_all = (settings.pop(key) for key in ("name", "weight_decay", "decay_all"))
    members = param_groups.split_decay(param_groups.by_pattern(model, stage.lrs), decay, decay_all)
    if name == "muon" and settings["muon_for"]:
        settings["muon_for"] = [pattern for pattern in settings["muon_for"] if trains(model, pattern)]
        if not settings["muon_for"]:
            name = settings["rest"]
            settings = ({"momentum": settings["rest_momentum"], "nesterov": settings["rest_momentum"] > 0}
                        if name == "sgd" else {key: settings[key] for key in param_groups.REST[name]})
    return param_groups.build_optimizer(name, members, **settings)


def check_stages(recipe: Recipe, model: nn.Module, fixed: frozenset[str], updates_per_epoch: int) -> None:
    """Raise now what a later stage would raise at its start, and where the run is too short for its averages."""
    planned = build_stages(recipe)
    for stage in planned:
        stages.freeze(model, stage, fixed)
        try:
            build_optimizer(recipe, model, stage)
        except EngineError as error:
            raise EngineError(f"stage {stage.name}: {error}" if len(planned) > 1 else str(error)) from None
    updates = updates_per_epoch * planned[-1].end
    for setting in ("average.ema_every", "average.lookahead"):
        if recipe.get(setting, 0) > updates:
            raise EngineError(f"{setting}={recipe.get(setting)} has no effect in a run of {updates:,} updates: make it "
                              "smaller")


def trains(model: nn.Module, pattern: str) -> bool:
    """False where `pattern` names only frozen parameters; True where it names none, which is refused later."""
    found = [p for name, p in model.named_parameters() if param_groups.matches(pattern, name)]
    return not found or any(p.requires_grad for p in found)


def build_mixing(recipe: Recipe) -> Callable[[int, int, int, int], mixing.Mix | None] | None:
    """(epoch, step, height, width) -> the batch's Mix or None; None where the recipe never mixes."""
    mix = recipe.section("mix")
    if not mix.p:
        return None
    cutmix_share = {"cutmix": 1.0, "mixup": 0.0}.get(mix.kind, recipe.get("mix.switch_p"))
    alphas = {key: getattr(mix, key) for key in ("cutmix_alpha", "mixup_alpha") if hasattr(mix, key)}
    return partial(mixing.draw_mix, recipe.section("train").seed,
                   cutmix_p=mix.p * cutmix_share, mixup_p=mix.p * (1 - cutmix_share), **alphas)


def build_lookahead(recipe: Recipe, model: nn.Module) -> Lookahead | None:
    """Lookahead over the network's parameters, None where the recipe has none."""
    average = recipe.section("average")
    if not average.lookahead:
        return None
    return Lookahead([p for p in model.parameters() if p.requires_grad], average.lookahead, average.lookahead_share)


def build_ema(recipe: Recipe, model: nn.Module) -> Ema | None:
    """The network's exponential average, None where the recipe has none."""
    average = recipe.section("average")
    return Ema(model, average.ema, average.ema_every) if average.ema else None


def size_of(sizes: Mapping[int, int], epoch: int) -> int | None:
    """Progressive resolution: the side in px of the images of `epoch`, None for unchanged."""
    return next((px for first, px in sorted(sizes.items(), reverse=True) if epoch >= first), None)
