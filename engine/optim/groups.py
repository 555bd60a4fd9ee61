"""Which parameter learns at which rate, with which weight decay; and the optimiser over those groups.

    groups = by_pattern(model, {"layer4": 1e-3, "fc": 5e-3})
    groups = split_decay(groups, weight_decay=5e-4, decay_all=False)
    optimizer = build_optimizer("sgd", groups, momentum=0.9, nesterov=True)

A group is a dict as torch's optimisers take it: "params" (pairs of name and parameter), "pattern", "lr",
"weight_decay", and "lr_scale", its rate's share of the highest: one schedule whose `lr` is that highest rate serves
every group, each at its scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from engine.errors import EngineError

# name -> (class, the settings it has beyond the groups')
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, ("momentum", "nesterov")),
    "adam": (torch.optim.Adam, ("beta1", "beta2", "eps")),
    "adamw": (torch.optim.AdamW, ("beta1", "beta2", "eps")),
}
FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")


def by_pattern(model: nn.Module, lrs: Mapping[str, float]) -> list[dict[str, Any]]:
    """One group a pattern, over the parameters that require a gradient.

    A pattern names a module or parameter with all beneath it (`layer3`: `layer3.0.conv1.weight`, not `layer30`), or
    is a shell pattern over the whole name (`*.bn?.*`, `*`). A parameter goes to the first pattern that matches it, in
    the order given. Raises EngineError for a pattern left without parameters, a parameter without a pattern, no
    pattern at all, and a rate that is not above 0.
    """
    if not lrs:
        raise EngineError("no pattern was given: `*` takes every parameter")
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    taken: dict[str, list[tuple[str, nn.Parameter]]] = {pattern: [] for pattern in lrs}
    unmatched = []
    for name, parameter in trainable:
        pattern = next((pattern for pattern in lrs if matches(pattern, name)), None)
        if pattern is None:
            unmatched.append(name)
        else:
            taken[pattern].append((name, parameter))
    for pattern, members in taken.items():
        if not members:
            raise EngineError(_nothing_for(pattern, model))
    if unmatched:
        raise EngineError(
            f"{len(unmatched)} parameters match no pattern, the first {unmatched[0]}; patterns: "
            f"{', '.join(lrs)}; add a pattern (`*` takes the rest) or freeze them"
        )
    for pattern, lr in lrs.items():
        if not 0 < lr < float("inf"):
            raise EngineError(f"the learning rate {lr} of pattern {pattern} must be above 0 and finite")
    highest = max(lrs.values())
    return [
        {"params": members, "pattern": pattern, "lr": lrs[pattern], "lr_scale": lrs[pattern] / highest}
        for pattern, members in taken.items()
    ]


def matches(pattern: str, name: str) -> bool:
    """Whether `pattern` is `name`, names a module above it, or matches all of it as a case-sensitive shell pattern."""
    return name == pattern or name.startswith(pattern + ".") or fnmatchcase(name, pattern)


def split_decay(groups: Iterable[dict[str, Any]], weight_decay: float, decay_all: bool) -> list[dict[str, Any]]:
    """The same groups with "weight_decay", in the same order.

    With decay_all every parameter decays. Without, a group's parameters of fewer than two dimensions (biases, the
    scales and shifts of norms) become a group of their own with a decay of 0, after the rest of it. Raises
    EngineError for a negative decay and for decay_all=False with nothing to decay.
    """
    if not 0 <= weight_decay < float("inf"):
        raise EngineError(f"optim.weight_decay={weight_decay} must be 0 or more and finite")
    if decay_all:
        return [{**group, "weight_decay": weight_decay} for group in groups]
    if weight_decay == 0:
        raise EngineError("optim.decay_all=false has no effect with optim.weight_decay=0: leave one of them out")
    split = []
    for group in groups:
        matrices = [(name, p) for name, p in group["params"] if p.ndim >= 2]
        vectors = [(name, p) for name, p in group["params"] if p.ndim < 2]
        for members, decay in ((matrices, weight_decay), (vectors, 0.0)):
            if members:
                split.append({**group, "params": members, "weight_decay": decay})
    return split


def build_optimizer(name: str, groups: Sequence[dict[str, Any]], **settings: Any) -> torch.optim.Optimizer:
    """The optimiser `name` over groups that carry their own rate and weight decay.

    settings: momentum and nesterov for sgd; beta1, beta2 and eps for adam and adamw; left out, torch's own values
    hold (no momentum; 0.9, 0.999, 1e-8). Weight decay is an L2 term in sgd and adam, decoupled in adamw (Loshchilov &
    Hutter 2019). The update is one fused kernel where torch has one for the parameters' device and type. Loaded
    optimiser state takes each parameter's memory layout, which fused kernels rely on without a check.

    Raises EngineError for an unknown name, a setting that this optimiser does not have, and values out of range.
    """
    if name not in OPTIMIZERS:
        raise EngineError(f"optim.name={name} must be one of {', '.join(OPTIMIZERS)}")
    optimizer_class, known = OPTIMIZERS[name]
    for setting in settings:
        if setting not in known:
            raise EngineError(f"optim.{setting} is no setting of {name}, which has {', '.join(known)}")
    for setting in ("momentum", "beta1", "beta2"):
        if not 0 <= settings.get(setting, 0.0) < 1:
            raise EngineError(f"optim.{setting}={settings[setting]} must be at least 0 and below 1")
    if settings.get("nesterov") and not settings.get("momentum"):
        raise EngineError("optim.nesterov=true needs optim.momentum above 0")
    if "eps" in settings and not settings["eps"] > 0:
        raise EngineError(f"optim.eps={settings['eps']} must be above 0")

    if name != "sgd":
        settings = dict(settings)
        settings["betas"] = (settings.pop("beta1", 0.9), settings.pop("beta2", 0.999))
    parameters = [p for group in groups for _, p in group["params"]]
    fused = all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in parameters)
    optimizer = optimizer_class(groups, lr=0.0, fused=True if fused else None, **settings)
    optimizer.register_load_state_dict_post_hook(_match_layout)
    return optimizer


def _match_layout(optimizer: torch.optim.Optimizer) -> None:
    # Fused kernels walk parameter, gradient and state in memory order: a momentum buffer saved under another layout
    # would update the wrong weights without a word.
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            like_it = isinstance(value, torch.Tensor) and value.shape == parameter.shape
            if like_it and value.stride() != parameter.stride():
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _nothing_for(pattern: str, model: nn.Module) -> str:
    found = [(name, p) for name, p in model.named_parameters() if matches(pattern, name)]
    if not found:
        modules = [name for name, _ in model.named_modules() if name]
        near = get_close_matches(pattern, modules, n=1, cutoff=0.5)
        parts = ", ".join(name for name, _ in model.named_children())
        hint = f"did you mean {near[0]}?" if near else f"its parts: {parts}"
        return f"pattern {pattern} matches no parameter of the network; {hint}"
    if not any(p.requires_grad for _, p in found):
        return f"pattern {pattern} matches only frozen parameters; unfreeze them or leave the pattern out"
    return f"pattern {pattern} is left without parameters: earlier patterns match all of its; put it before them"
