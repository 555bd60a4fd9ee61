"""Stages: which parameters train in which epochs, at which highest rates, and what frozen batch norms do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from engine.common.errors import EngineError
from engine.optim.param_groups import matches


@dataclass(frozen=True)
class Stage:
    """`epochs` epochs from `first_epoch` (from 0) on; the last stage's may end within one (8.75).

    lrs: pattern -> highest rate of what trains; frozen: patterns of what does not; between them they name every
    parameter. Without `moving_statistics` a batch norm whose parameters are all frozen keeps its statistics too.
    """

    name: str
    first_epoch: int
    epochs: float
    lrs: Mapping[str, float]
    frozen: tuple[str, ...] = ()
    moving_statistics: bool = False

    @property
    def end(self) -> float:
        """The epoch after its last, or the moment within it."""
        return self.first_epoch + self.epochs


def in_order(stages: Iterable[Mapping[str, object]]) -> tuple[Stage, ...]:
    """Stages from their fields without `first_epoch`, one after another."""
    made: list[Stage] = []
    for fields in stages:
        made.append(Stage(first_epoch=made[-1].end if made else 0, **fields))
    return tuple(made)


def stage_of(stages: Sequence[Stage], epoch: int) -> Stage:
    """The stage that epoch `epoch` belongs to; the last one for an epoch past the end."""
    return next((stage for stage in stages if epoch < stage.end), stages[-1])


def updates_in(epochs: float, updates_per_epoch: int) -> int:
    """The updates of the first `epochs` epochs, of which a fraction counts as the next whole number of updates."""
    # Rounded first: 8.2 * 25 is a little more than 205.
    return math.ceil(round(epochs * updates_per_epoch, 6))


def always_frozen(model: nn.Module) -> frozenset[str]:
    """The parameters that the network itself holds fixed; for use before any stage starts."""
    return frozenset(name for name, p in model.named_parameters() if not p.requires_grad)


def freeze(model: nn.Module, stage: Stage, fixed: frozenset[str] = frozenset()) -> None:
    """Unfreeze the parameters that `stage.lrs` names and freeze those that `stage.frozen` names; `fixed` stay frozen.

    A parameter named by both trains. EngineError for a parameter that neither names, and for a frozen pattern that
    names nothing; the patterns of lrs are checked where the parameter groups are built.
    """
    used = set()
    for name, parameter in model.named_parameters():
        if name in fixed:
            continue
        trains = any(matches(pattern, name) for pattern in stage.lrs)
        holding = [pattern for pattern in stage.frozen if matches(pattern, name)]
        if not trains and not holding:
            raise EngineError(f"stage {stage.name}: {name} matches neither its lrs ({', '.join(stage.lrs)}) nor its "
                              f"frozen patterns; name it in one of them (frozen: * takes the rest)")
        if not trains:
            used |= set(holding)
        parameter.requires_grad_(trains)
    idle = [pattern for pattern in stage.frozen if pattern not in used]
    if idle:
        raise EngineError(f"stage {stage.name}: the frozen pattern {idle[0]} names no parameter that its lrs leave; "
                          "correct it or leave it out")


def set_modes(model: nn.Module, stage: Stage) -> None:
    """Put `model` into training mode, except the frozen batch norms whose statistics `stage` holds."""
    model.train()
    if stage.moving_statistics:
        return
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            own = list(module.parameters(recurse=False))
            if own and not any(p.requires_grad for p in own):
                module.eval()
