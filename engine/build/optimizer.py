"""The optimiser of a stage and the averages of the weights, from the settings of a recipe."""

import torch
from torch import nn

from engine.build.schedule import build_stages
from engine.common.errors import EngineError
from engine.optim import param_groups
from engine.optim.averaging import Ema, Lookahead
from engine.training import stages
from recipes.settings.load import Recipe


def build_optimizer(recipe: Recipe, model: nn.Module, stage: stages.Stage) -> torch.optim.Optimizer:
    """The recipe's optimiser over the parameters that train in `stage`.

    Patterns of Muon that name only frozen weights are left out; without any left, the rest's optimiser takes all.
    """
    settings = vars(recipe.section("optim")).copy()
    name, decay, decay_all = (settings.pop(key) for key in ("name", "weight_decay", "decay_all"))
    members = param_groups.split_decay(param_groups.by_pattern(model, stage.lrs), decay, decay_all,
                                       settings.pop("decay_per", "rate"))
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
    updates = stages.updates_in(planned[-1].end, updates_per_epoch)
    for setting in ("average.ema_every", "average.lookahead"):
        if recipe.get(setting, 0) > updates:
            raise EngineError(f"{setting}={recipe.get(setting)} has no effect in a run of {updates:,} updates: make it "
                              "smaller")


def trains(model: nn.Module, pattern: str) -> bool:
    """False where `pattern` names only frozen parameters; True where it names none, which is refused later."""
    found = [p for name, p in model.named_parameters() if param_groups.matches(pattern, name)]
    return not found or any(p.requires_grad for p in found)


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
