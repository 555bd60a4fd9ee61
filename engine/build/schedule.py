"""The stages of a recipe and the learning-rate schedule of each."""

from collections.abc import Mapping
from dataclasses import replace

from engine.optim import schedule
from engine.training import stages
from recipes.settings.load import Recipe
from recipes.settings.moments import in_epochs


def build_stages(recipe: Recipe) -> tuple[stages.Stage, ...]:
    """The stages of a recipe; without any it has one, called all."""
    given = recipe.section("train").stages
    lrs = recipe.get("schedule.lrs") or {"*": recipe.get("schedule.lr")}
    return stages.in_order(given or [{"name": "all", "epochs": recipe.epochs, "lrs": lrs}])


def build_schedule(recipe: Recipe, stage: stages.Stage, updates_per_epoch: int) -> schedule.Schedule:
    """The learning-rate schedule of a stage, for the group with the highest rate."""
    settings, lr = recipe.section("schedule"), max(stage.lrs.values())
    total = stages.updates_in(stage.epochs, updates_per_epoch)
    if settings.name == "constant":
        return schedule.Constant(lr)
    if settings.name in ("cosine", "linear"):
        kind = schedule.Cosine if settings.name == "cosine" else schedule.Linear
        return kind(lr, total, round(settings.warmup_epochs * updates_per_epoch), settings.final_fraction)
    if settings.name == "step":
        return schedule.StepDecay(lr, tuple(e * updates_per_epoch for e in settings.milestones), settings.gamma)
    if settings.name == "onecycle":
        low, high = recipe.get("schedule.momentum_low"), recipe.get("schedule.momentum_high")
        return schedule.OneCycle(lr, total, settings.pct_start, settings.div, settings.final_div, low, high)
    raise KeyError(settings.name)


def build_part_schedules(recipe: Recipe, stage: stages.Stage,
                         updates_per_epoch: int) -> Mapping[str, schedule.Schedule]:
    """Pattern -> own schedule of each part of the network that ends before the run; there it is frozen."""
    return {pattern: build_schedule(recipe, replace(stage, epochs=in_epochs(moment, stage.epochs),
                                                    lrs={pattern: stage.lrs[pattern]}), updates_per_epoch)
            for pattern, moment in recipe.get("schedule.ends", {}).items()}
