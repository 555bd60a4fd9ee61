"""The whole training step as one CUDA graph, for updates that need nothing of the host between a batch and the next.

A recording holds the augmentation that a resident feed leaves to the step, mixing, forward and backward pass, clipping,
guard, counts, optimiser and averages. All that changes from step to step it reads from the device: the batch, and a row
of numbers (number of the step, rates, momenta, mix) of a table that the host writes once an epoch. A step costs the
host three small copies and one launch, and two fills where the network draws random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

import torch

from engine.optim.device_rates import DeviceRates
from engine.optim.schedule import Schedule
from engine.training import executors, recording
from engine.training.forward import ForwardPass, to_device
from engine.training.step import TrainStep

# The numbers of a mix, at a row's end.
MIX = 8


class Unmade(Protocol):
    """The images of a batch before augmentation: `make(indices, keys)` gives them as uint8 `shape`, (B, H, W, 3).

    indices: int64 (B,); keys: int64 (3,), of an epoch; both on the device.
    """

    indices: torch.Tensor
    keys: torch.Tensor
    shape: tuple[int, ...]
    make: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def build_step(forward: ForwardPass, *, mode: str, skip_bad: bool = False, **options: Any) -> TrainStep:
    """The training step of a resolved mode; arguments as for TrainStep."""
    if mode == "graph" and not executors.only_passes(forward.precision.name, skip_bad):
        return WholeStep(forward, **options)
    return TrainStep(forward, mode=mode, skip_bad=skip_bad, **options)


class WholeStep(TrainStep):
    """As TrainStep in mode "graph", for one process, without accumulation, fp16 and `skip_bad`.

    Besides tensors it takes batches whose images are `Unmade`. Recordings are kept for each optimiser's groups, so that
    another stage or repeat that trains the same parameters in the same way uses them again.
    """

    def __init__(self, forward: ForwardPass, **options: Any):
        super().__init__(forward, **options)
        self.mode, self.forward, self.loss = "graph", forward, executors.compiled(forward.loss)
        self.pool, self.recorded, self.generations = recording.new_pool(), {}, count()
        self.keys = torch.zeros(3, dtype=torch.int64, device=self.device)
        self.keys_from = self.table = self.table_of = self.shape = None

    def start_stage(self, optimizer: torch.optim.Optimizer, schedule: Schedule, *parts: Any) -> None:
        """As TrainStep's; where an optimiser with the same groups was used before, that one continues as if new."""
        moves = schedule.at(0)[1] is not None
        described = description_of(optimizer, moves)
        if described not in self.recorded:
            numbers = 1 + 2 * len(optimizer.param_groups) + (MIX if self.forward.mixes else 0)
            self.recorded[described] = (DeviceRates(optimizer, moves, executors.compiled), {},
                                        torch.zeros(numbers, dtype=torch.float64, device=self.device),
                                        next(self.generations))
        self.rates, self.graphs, self.row, self.generation = self.recorded[described]
        if optimizer is not self.rates.optimizer:
            for group, new in zip(self.rates.optimizer.param_groups, optimizer.param_groups, strict=True):
                group |= {"pattern": new["pattern"], "lr_scale": new["lr_scale"]}
            self.rates.clear()
        super().start_stage(self.rates.optimizer, schedule, *parts)

    def _train(self, parameters: list[torch.nn.Parameter]) -> None:
        super()._train(parameters)
        self.table_of = None

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """As TrainStep's. The loaded tensors are others than the recorded ones, so the recordings are dropped."""
        super().load_optimizer(state)
        self.recorded.clear()
        self.graphs.clear()
        self.generation = next(self.generations)
        # Without recordings the former one's memory is given back, and it can hold no others.
        self.pool = recording.new_pool()

    def reset(self, draw_mix) -> None:
        super().reset(draw_mix)
        self.table_of = None

    def prepare(self, epoch: int) -> None:
        """Draw the numbers of an epoch that will start next, while the device still works on this one."""
        if self.shape is not None:
            self._tabulate(epoch, 0, self.shape)

    def leave_out(self, step: int) -> None:
        """Pass over a batch, and the update that is due after it."""
        self.updated = True

    def _program(self, images_bhwc: torch.Tensor | Unmade, epoch: int, step: int) -> tuple:
        self.shape = tuple(images_bhwc.shape)[1:]
        if not self._tabulated(epoch, step, self.shape):
            self._tabulate(epoch, step, self.shape)
        self.due = tuple(follower.due(self.updates_done + 1) for follower in self.followers)
        return (*super()._program(images_bhwc, epoch, step), getattr(images_bhwc, "make", None), self.due,
                self.guard is not None, self.training, self.generation)

    def _train_on(self, program: tuple, images_bhwc: torch.Tensor | Unmade, labels: torch.Tensor, epoch: int,
                  step: int) -> None:
        self._set_rates()
        make = getattr(images_bhwc, "make", None)
        if make is not None and images_bhwc.keys is not self.keys_from:
            self.keys_from = images_bhwc.keys
            self.keys.copy_(self.keys_from)
        batch, row = (images_bhwc.indices if make else images_bhwc, labels), self.table[step - self.first]
        if program not in self.graphs:
            self.row.copy_(row)
            self.graphs[program] = self._record(batch, program[1], self.due, make)
        inputs, graph = self.graphs[program]
        for static, tensor in zip(inputs, batch, strict=True):
            static.copy_(tensor, non_blocking=True)
        self.row.copy_(row, non_blocking=True)
        graph.replay()
        self.updates += 1
        self.updates_done += 1
        for follower, what in zip(self.followers, self.due, strict=True):
            follower.count(what)
        if self.guard:
            self.guard.check()

    def _tabulated(self, epoch: int, step: int, shape: tuple[int, ...]) -> bool:
        same = self.table_of == (epoch, self.updates - step, shape)
        return same and 0 <= step - self.first < len(self.table)

    def _tabulate(self, epoch: int, first: int, shape: tuple[int, ...]) -> None:
        """Write the rows of the epoch's steps from `first` on, whose updates follow the present one without a gap."""
        self.table_of, self.first = (epoch, self.updates - first, shape), first
        # Which batch norms are frozen is set before an epoch.
        self.training = tuple(module.training for module in self.model.modules())
        steps = min(self.steps_per_epoch - first, getattr(self.schedule, "total_steps", math.inf) + 1 - self.updates)
        rows = [self._numbers(epoch, first + number, self.updates + number, shape) for number in range(steps)]
        self.table = to_device(torch.tensor(rows, dtype=torch.float64), self.device)

    def _numbers(self, epoch: int, step: int, update: int, shape: tuple[int, ...]) -> list[float]:
        rates, momenta = zip(*self.rates_at(update), strict=True)
        numbers = [float(step), *rates, *(momentum or 0.0 for momentum in momenta)]
        if not self.forward.mixes:
            return numbers
        size_px = self.size_of(epoch, step)
        height, width = (size_px, size_px) if size_px else shape[:2]
        mix = self.draw_mix(epoch, step, height, width) if self.draw_mix else None
        return numbers + self.forward.mix_numbers(mix)

    def _record(self, batch: tuple[torch.Tensor, ...], size_px: int | None, due: tuple[str, ...], make) -> tuple:
        """(the tensors that the recording reads a batch from, the recording)."""
        inputs = [tensor.clone() for tensor in batch]

        def run() -> None:
            self._whole_step(*inputs, size_px, due, make)

        changed = self._changed()
        kept = [tensor.clone() for tensor in changed]
        recording.warm_up(run, self.device)
        # What the first steps of an optimiser have made starts as zeros.
        self.rates.clear()
        for tensor, value in zip(changed, kept, strict=True):
            tensor.detach().copy_(value)
        graph = recording.record(run, self.pool)
        for parameter in self.parameters:
            # The recording's own memory; no one else may read or keep it.
            parameter.grad = None
        return inputs, graph

    def _changed(self) -> list[torch.Tensor]:
        """All tensors that a step changes, as far as they exist."""
        tensors = [*self.model.parameters(), *self.model.buffers(), *self.rates.state_tensors(), self.tally]
        if self.guard:
            tensors += [self.guard.first, self.guard.copy]
        return tensors + [tensor for follower in self.followers for tensor in follower.tensors]

    def _whole_step(self, batch: torch.Tensor, labels: torch.Tensor, size_px: int | None, due: tuple[str, ...],
                    make) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        images_bhwc = make(batch, self.keys) if make else batch
        step, numbers, mix = self.row.split([1, self.rates.numbers.numel(), MIX if self.forward.mixes else 0])
        loss, counts = self.loss(images_bhwc, labels, size_px, mix.float() if self.forward.mixes else None)
        self.forward.backward(loss, 1)
        if self.guard:
            self.guard.mark(counts, step[0].long())
        self.tally += counts
        self.precision.clip(self.parameters, self.clip_norm)
        self.rates.step(numbers.view_as(self.rates.numbers))
        for follower, what in zip(self.followers, due, strict=True):
            follower.follow(what)


def description_of(optimizer: torch.optim.Optimizer, moves: bool) -> tuple:
    """What a recording keeps of an optimiser: the parameters of each group, in order, and its fixed settings.

    moves: whether the schedule moves the momentum.
    """
    def fixed(group: dict[str, Any]) -> tuple:
        scheduled = {"params", "param_names", "pattern", "lr", "lr_scale", *(["momentum"] if moves else ())}
        numbers = {key: value for key, value in group.items() if key not in scheduled}
        if moves and "betas" in numbers:
            numbers["betas"] = numbers["betas"][1:]
        return tuple(map(id, group["params"])), tuple(sorted(numbers.items(), key=lambda item: item[0]))

    kinds = tuple(type(part) for part in getattr(optimizer, "optimizers", (optimizer,)))
    return kinds, moves, tuple(fixed(group) for group in optimizer.param_groups)
