"""Parameter groups, with their learning rate and weight decay, and the optimiser over them.

    groups = by_pattern(model, {"layer4": 1e-3, "fc": 5e-3})
    groups = split_decay(groups, weight_decay=5e-4, decay_all=False)
    optimizer = build_optimizer("sgd", groups, momentum=0.9, nesterov=True)

A group is a dict as torch's optimisers take it: "params" (pairs of name and parameter), "pattern", "lr",
"weight_decay", and "lr_scale", its rate divided by the highest, which scales the schedule for this group.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from engine.common.errors import EngineError, check, check_one_of, check_share
from engine.optim.muon import ITERATIONS, Muon
from engine.optim.optimizer_list import OptimizerList
from engine.optim.param_patterns import matches, nothing_among, nothing_for

# name -> (class, its settings in addition to the groups')
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, ("momentum", "nesterov")),
    "adam": (torch.optim.Adam, ("beta1", "beta2", "eps")),
    "adamw": (torch.optim.AdamW, ("beta1", "beta2", "eps")),
    "muon": (Muon, ("momentum", "nesterov", "muon_for", "muon_scale", "muon_iterations", "rest")),
}
# Muon's `rest` -> the settings of that optimiser
REST = {"sgd": ("rest_momentum",), "adamw": ("beta1", "beta2", "eps")}
FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


def by_pattern(model: nn.Module, lrs: Mapping[str, float]) -> list[dict[str, Any]]:
    """One group per pattern, over the parameters that require a gradient.

    A pattern names a module or parameter with all beneath it (`layer3`: `layer3.0.conv1.weight`, not `layer30`), or
    is a shell pattern over the whole name (`*.bn?.*`, `*`). A parameter goes to the first pattern that matches it.
    Raises EngineError for a pattern without parameters, a parameter without a pattern, and a rate not above 0.
    """
    if not lrs:
        raise EngineError("no pattern was given: `*` takes every parameter")
    taken: dict[str | None, list[tuple[str, nn.Parameter]]] = {pattern: [] for pattern in (*lrs, None)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            taken[next((pattern for pattern in lrs if matches(pattern, name)), None)].append((name, parameter))
    unmatched = taken.pop(None)
    for pattern, members in taken.items():
        if not members:
            raise EngineError(nothing_for(pattern, model))
    if unmatched:
        raise EngineError(f"{len(unmatched)} parameters match no pattern, the first {unmatched[0][0]}; patterns: "
                          f"{', '.join(lrs)}; add a pattern (`*` takes the rest) or freeze them")
    for pattern, lr in lrs.items():
        if not 0 < lr < math.inf:
            raise EngineError(f"the learning rate {lr} of pattern {pattern} must be above 0 and finite")
    highest = max(lrs.values())
    return [{"params": members, "pattern": pattern, "lr": lrs[pattern], "lr_scale": lrs[pattern] / highest}
            for pattern, members in taken.items()]


def split_decay(groups: Iterable[dict[str, Any]], weight_decay: float, decay_all: bool,
                decay_per: str = "rate") -> list[dict[str, Any]]:
    """The same groups with "weight_decay", in the same order.

    A step takes rate * "weight_decay" off a weight. This is `weight_decay`, or with decay_per="step" `weight_decay`
    over the group's highest rate, so that one step at that rate takes `weight_decay` off the weights of any group.

    With decay_all every parameter decays. Without, a group's parameters of fewer than two dimensions (biases, scales
    and shifts of norms) become a separate group with decay 0, after the others. Raises EngineError for a negative
    decay and for decay_all=False with nothing to decay.
    """
    check("optim.weight_decay", weight_decay, 0 <= weight_decay < math.inf, "0 or more and finite")
    check_one_of("optim.decay_per", decay_per, ("rate", "step"))
    groups = [{**group, "weight_decay": weight_decay / (group["lr"] if decay_per == "step" else 1)}
              for group in groups]
    if decay_all:
        return groups
    if weight_decay == 0:
        raise EngineError("optim.decay_all=false has no effect with optim.weight_decay=0: leave one of them out")
    return [{**part, "weight_decay": decay} for group in groups
            for part, decay in zip(_parted(group, lambda _, p: p.ndim >= 2), (group["weight_decay"], 0.0), strict=True)
            if part["params"]]


def split_muon(groups: Sequence[dict[str, Any]], muon_for: Sequence[str]) -> tuple[list[dict], list[dict]]:
    """(groups for Muon, groups for the rest), each in the groups' order and with all that they carry.

    Muon's are the parameters of two or more dimensions that one of the patterns `muon_for` matches. Raises EngineError
    for no pattern, and for one that matches no parameter of the groups or none of two or more dimensions.
    """
    if not muon_for:
        raise EngineError("optim.muon_for is empty: name the weights for Muon (`*` takes all), or another optimiser")
    everything = [member for group in groups for member in group["params"]]
    for pattern in muon_for:
        found = [(name, p) for name, p in everything if matches(pattern, name)]
        if not found:
            raise EngineError(f"optim.muon_for: {nothing_among(pattern, [name for name, _ in everything])}")
        if all(p.ndim < 2 for _, p in found):
            raise EngineError(f"optim.muon_for: pattern {pattern} matches no weight of two or more dimensions, only "
                              f"such as {found[0][0]}; leave it out")
    parted = [_parted(group, lambda name, p: p.ndim >= 2 and any(matches(pattern, name) for pattern in muon_for))
              for group in groups]
    muon, rest = ([part for part in parts if part["params"]] for parts in zip(*parted, strict=True))
    return muon, rest


def _parted(group: dict[str, Any], chosen: Callable[[str, nn.Parameter], bool]) -> tuple[dict, dict]:
    """Two copies of the group, with the parameters that are `chosen` and with the others."""
    first = [member for member in group["params"] if chosen(*member)]
    second = [member for member in group["params"] if not chosen(*member)]
    return {**group, "params": first}, {**group, "params": second}


def build_optimizer(name: str, groups: Sequence[dict[str, Any]],
                    **settings: Any) -> torch.optim.Optimizer | OptimizerList:
    """The optimiser `name` over groups that carry their own rate and weight decay.

    settings: momentum and nesterov for sgd and muon; beta1, beta2 and eps for adam and adamw; defaults are torch's
    (no momentum; 0.9, 0.999, 1e-8; muon 0.95 and nesterov). Weight decay is an L2 term in sgd and adam, decoupled in
    adamw (Loshchilov & Hutter 2019) and muon. The update is one fused kernel where torch has one for the parameters'
    device and type. Loaded optimiser state is brought into each parameter's memory layout.

    muon also has muon_for (patterns, "*"), muon_scale ("rms"; "unit" decays no weight of Muon's), muon_iterations (5)
    and rest: "adamw" or "sgd", the latter with rest_momentum (0) in Nesterov's form, for the parameters that
    `split_muon` leaves. Both are returned as one; Muon alone where nothing is left.

    Raises EngineError for an unknown name, a setting that this optimiser does not have, and values out of range.
    """
    check_one_of("optim.name", name, OPTIMIZERS)
    known, title = OPTIMIZERS[name][1], name
    if name == "muon":
        rest = settings.setdefault("rest", "adamw")
        check_one_of("optim.rest", rest, REST)
        known, title = known + REST[rest], f"muon beside {rest}"
    for setting, value in settings.items():
        if setting not in known:
            raise EngineError(f"optim.{setting} is not a setting of {title}, which has {', '.join(known)}")
        if setting in ("momentum", "rest_momentum", "beta1", "beta2"):
            check_share(f"optim.{setting}", value)
        elif setting == "eps":
            check("optim.eps", value, value > 0, "above 0")
    if settings.get("nesterov") and not settings.get("momentum", name == "muon"):
        raise EngineError("optim.nesterov=true needs optim.momentum above 0")
    return _muon_and_rest(groups, **settings) if name == "muon" else _of_torch(name, groups, **settings)


def _muon_and_rest(groups: Sequence[dict[str, Any]], rest: str, muon_for: Sequence[str] = ("*",),
                   muon_scale: str = "rms", muon_iterations: int = ITERATIONS, momentum: float = 0.95,
                   nesterov: bool = True, rest_momentum: float = 0.0,
                   **of_rest: Any) -> torch.optim.Optimizer | OptimizerList:
    by_muon, others = split_muon(groups, muon_for)
    if muon_scale == "unit":
        if any(group["weight_decay"] for group in by_muon) and not any(group["weight_decay"] for group in others):
            raise EngineError("optim.weight_decay has no effect with optim.muon_scale=unit, which sets the norms of "
                              "all weights that would decay: make it 0")
        by_muon = [{**group, "weight_decay": 0.0} for group in by_muon]
    muon = Muon(by_muon, momentum=momentum, nesterov=nesterov, scale=muon_scale, iterations=muon_iterations)
    muon.register_load_state_dict_post_hook(_match_layout)
    if not others:
        return muon
    if rest == "sgd":
        of_rest = {"momentum": rest_momentum, "nesterov": rest_momentum > 0}
    return OptimizerList([muon, _of_torch(rest, others, **of_rest)])


def _of_torch(name: str, groups: Sequence[dict[str, Any]], **settings: Any) -> torch.optim.Optimizer:
    if name != "sgd":
        settings["betas"] = (settings.pop("beta1", 0.9), settings.pop("beta2", 0.999))
    parameters = [p for group in groups for _, p in group["params"]]
    fused = all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in parameters)
    optimizer = OPTIMIZERS[name][0](groups, lr=0.0, fused=True if fused else None, **settings)
    optimizer.register_load_state_dict_post_hook(_match_layout)
    return optimizer


def _match_layout(optimizer: torch.optim.Optimizer) -> None:
    # Fused kernels walk parameter, gradient and state in memory order without a check: a momentum buffer saved in
    # another layout would update the wrong weights.
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            per_weight = isinstance(value, torch.Tensor) and value.shape == parameter.shape
            if per_weight and value.stride() != parameter.stride():
                state[key] = torch.empty_like(parameter).copy_(value)
