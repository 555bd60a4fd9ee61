"""One training step: mix, forward and backward by an executor, then clip and update. Nothing here waits for the device.

The exceptions are fp16's GradScaler, which must look at the gradients to know whether a step was skipped, and the clock
of first steps, which waits around the first three of each program.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch

from engine.common.step_clock import StepClock
from engine.distributed.process_group import ProcessGroup
from engine.distributed.reducer import GradientReducer
from engine.optim.averaging import Ema, Lookahead
from engine.optim.schedule import Schedule
from engine.training.executors import build_executor
from engine.training.forward import ForwardPass
from engine.training.mixing import Mix
from engine.training.nan_guard import NanGuard, NotFinite, all_finite, healthy


class TrainStep:
    """Trains on one batch per call, and counts since `reset_counts`; `start_stage` comes before the first batch.

    steps_per_epoch: batches; `accumulate` of them share an update, the last group of an epoch may be smaller. mode:
    "eager", "compile" or "graph". draw_mix(epoch, step, height, width): the batch's Mix or None; without it none is
    mixed. size_of(epoch, step): the side in px that images are resized to before mixing, None for none. `ema` and
    `lookahead` follow each update. `guard` looks at each batch's loss. With `skip_bad` an update with a bad loss or
    gradient is left out and counted in `skipped`; that waits for the device in each step.

    images_of(step): the size of a whole batch, needed where batches are accumulated or come as the blocks of several
    processes, in `process_group`. Each update is that of the whole batch, `totals` are those of all processes, and what
    the guards found is agreed on between steps.
    """

    def __init__(self, forward: ForwardPass, *, steps_per_epoch: int, mode: str = "eager",
                 draw_mix: Callable[[int, int, int, int], Mix | None] | None = None,
                 size_of: Callable[[int, int], int | None] = lambda epoch, step: None, clip_norm: float = 0.0,
                 accumulate: int = 1, ema: Ema | None = None, lookahead: Lookahead | None = None,
                 guard: NanGuard | None = None, skip_bad: bool = False, process_group: ProcessGroup | None = None,
                 images_of: Callable[[int], int] | None = None):
        self.model, self.precision, self.to_input = forward.model, forward.precision, forward.to_input
        self.mode, self.device = mode, forward.to_input.device
        self.executor = build_executor(mode, forward, in_parts=process_group is not None)
        self.size_of, self.clock = size_of, StepClock(self.device)
        self.clip_norm, self.accumulate, self.steps_per_epoch = clip_norm, accumulate, steps_per_epoch
        self.followers = [follower for follower in (lookahead, ema) if follower is not None]
        self.ema, self.lookahead, self.guard, self.skip_bad = ema, lookahead, guard, skip_bad
        self.process_group, self.images_of, self.reducer = process_group, images_of, None
        self.draw_mix, self.updates_done, self.skipped = draw_mix, 0, 0
        self.tally = torch.zeros(3, dtype=torch.float64, device=self.device)

    def start_stage(self, optimizer: torch.optim.Optimizer, schedule: Schedule,
                    parts: Mapping[str, Schedule] = MappingProxyType({}),
                    part_ended: Callable[[], None] = lambda: None) -> None:
        """Continue with the optimiser and schedule of a stage, at the schedule's first update.

        parts: the optimiser's groups with a schedule of their own, by pattern; when it ends they are frozen, and
        `part_ended` is called.
        """
        self.optimizer, self.schedule, self.updates = optimizer, schedule, 0
        self.parts, self.part_ended = dict(parts), part_ended
        # `updated`: whether the last batch completed an update; `spoiled`: whether the open one has a bad batch.
        self.updated, self.spoiled = True, False
        self.rate = schedule.at(0)[0]
        self._train([p for group in optimizer.param_groups for p in group["params"]])
        if self.lookahead:
            # Its copy must not hold what the parameters that now train were before. The average goes on: it follows all
            # weights, frozen ones to where they stand.
            self.lookahead.reset()

    def _train(self, parameters: list[torch.nn.Parameter]) -> None:
        """From now on these are trained."""
        self.parameters, self.trained = parameters, tuple(map(id, parameters))
        self.executor.start_stage()
        if self.process_group:
            if self.reducer:
                self.reducer.close()
            self.reducer = GradientReducer(parameters)

    def _freeze_ended(self) -> None:
        """Freeze the parts whose schedule is over: no gradient is computed for them any more."""
        ended = [pattern for pattern, schedule in self.parts.items() if self.updates >= schedule.total_steps]
        if not ended:
            return
        for group in self.optimizer.param_groups:
            if group["pattern"] in ended:
                for parameter in group["params"]:
                    parameter.requires_grad_(False)
        for pattern in ended:
            del self.parts[pattern]
        self._train([p for p in self.parameters if p.requires_grad])
        self.part_ended()

    def prepare(self, epoch: int) -> None:
        """Do what can be done for an epoch before it starts: here nothing."""

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Load the state of this stage's optimiser."""
        self.optimizer.load_state_dict(state)

    @property
    def next_rate(self) -> float:
        """The rate of the update that follows."""
        return self.schedule.at(self.updates)[0]

    def reset(self, draw_mix: Callable[[int, int, int, int], Mix | None] | None) -> None:
        """Forget all updates: the weights are those of a new run, whose mixing is `draw_mix`."""
        self.draw_mix, self.updates_done, self.skipped = draw_mix, 0, 0
        for follower in self.followers:
            follower.reset()

    def reset_counts(self) -> None:
        """Reset the counts: summed loss, correct predictions, images (float64, on the device)."""
        self.tally.zero_()
        if self.guard:
            self.guard.reset()

    def __call__(self, images_bhwc: torch.Tensor, labels: torch.Tensor, epoch: int, step: int) -> None:
        """Train on one batch, already on the device: uint8 (B, H, W, 3) and int64 (B,); `step` counts within the epoch.

        Raises the guard's NotFinite where the loss of this batch, or on a GPU of one shortly before, was bad.
        """
        self._freeze_ended()
        program = self._program(images_bhwc, epoch, step)
        self.clock.run(program, epoch, partial(self._train_on, program, images_bhwc, labels, epoch, step))

    def _program(self, images_bhwc: torch.Tensor, epoch: int, step: int) -> tuple:
        """What is compiled or recorded once, of a batch and the present state; its second entry is the image size."""
        recordings = getattr(self.executor, "stages", 0)
        return tuple(images_bhwc.shape), self.size_of(epoch, step), self.trained, recordings

    def _train_on(self, program: tuple, images_bhwc: torch.Tensor, labels: torch.Tensor, epoch: int,
                  step: int) -> None:
        size_px = program[1]
        height, width = (size_px, size_px) if size_px else images_bhwc.shape[1:3]
        mix = self.draw_mix(epoch, step, height, width) if self.draw_mix else None
        # Each mean loss counts by its images, so that the sum over the batches of an update, and over the blocks of
        # several processes, is the mean over all their images.
        share, before = len(labels) / self._images_of_update(step, len(labels)), None
        if self.process_group:
            if mix is not None or (self.draw_mix and self.mode != "eager"):
                before = self.process_group.image_before(images_bhwc, labels)
            if self._completes_update(step):
                self.reducer.expect()
        # What a forward pass changes besides gradients: the statistics of normalisation.
        former = [buffer.clone() for buffer in self.model.buffers()] if self.skip_bad else []
        counts = self.executor(images_bhwc, labels, size_px, mix, share, before)
        if self.skip_bad and not self._whole_batch_is_healthy(counts):
            self.spoiled, self.skipped = True, self.skipped + 1
            for buffer, value in zip(self.model.buffers(), former, strict=True):
                buffer.copy_(value)
        else:
            self.tally += counts
            if self.guard and not self.skip_bad:
                self.guard.note(counts, step)
                if not self.process_group:
                    self.guard.check()
        self._complete_update(step)

    def leave_out(self, step: int) -> None:
        """Pass over a batch; the update that is due after it happens if other batches share it."""
        if self._completes_update(step):
            self.spoiled = self.spoiled or all(p.grad is None for p in self.parameters)
        self._complete_update(step)

    def _whole_batch_is_healthy(self, counts: torch.Tensor) -> bool:
        whole = counts.clone()
        if self.process_group:
            self.process_group.sum_in_place([whole])
        return healthy(whole)

    def _images_of_update(self, step: int, images: int) -> int:
        """The images that share an update with those of batch `step`; `images` are its own, in this process."""
        if self.accumulate == 1 and not self.process_group:
            return images
        first = step - step % self.accumulate
        return sum(map(self.images_of, range(first, min(first + self.accumulate, self.steps_per_epoch))))

    def _completes_update(self, step: int) -> bool:
        return (step + 1) % self.accumulate == 0 or step + 1 == self.steps_per_epoch

    def _complete_update(self, step: int) -> None:
        self.updated = self._completes_update(step)
        if not self.updated:
            return
        if self.reducer:
            self.reducer.finish()
        if self.skip_bad and not self.spoiled and not self.precision.scaler:
            self.spoiled = not all_finite([p.grad for p in self.parameters if p.grad is not None])
            self.skipped += self.spoiled
        if not self.spoiled:
            self._update()
        self.optimizer.zero_grad(set_to_none=True)
        self.spoiled = False

    def rates_at(self, update: int) -> list[tuple[float, float | None]]:
        """(rate, momentum) of each group of the optimiser in an update of the stage; None: its own momentum holds."""
        rate, momentum = self.schedule.at(update)
        of_parts = {pattern: part.at(min(update, part.total_steps)) for pattern, part in self.parts.items()}
        return [of_parts.get(group["pattern"], (rate * group["lr_scale"], momentum))
                for group in self.optimizer.param_groups]

    def _set_rates(self) -> None:
        self.rate = self.next_rate
        numbers = self.rates_at(self.updates)
        for group, (group["lr"], momentum) in zip(self.optimizer.param_groups, numbers, strict=True):
            if momentum is None:
                continue
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum

    def _update(self) -> None:
        self._set_rates()
        if self.precision.update(self.optimizer, self.parameters, self.clip_norm):
            self.updates += 1
            self.updates_done += 1
            for follower in self.followers:
                follower.update(self.updates_done)

    def totals(self) -> tuple[float, float, int]:
        """Mean loss, share of correct predictions (NaN without images) and images counted; waits for the device.

        Raises the guard's NotFinite where the loss of a batch was bad.
        """
        tally = self.tally.clone()
        if self.process_group:
            bad = self.process_group.first_bad(self.guard.known(wait=True))
            if bad >= 0:
                raise NotFinite(bad)
            self.process_group.sum_in_place([tally])
        elif self.guard:
            self.guard.check(wait=True)
        loss, correct, count = tally.tolist()
        return loss / count if count else math.nan, correct / count if count else math.nan, int(count)
