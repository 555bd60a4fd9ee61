"""One training step: mix, forward, backward by one of the programs, then clip and update. Nothing here waits for the
device.

The one exception is fp16's GradScaler, which must look at the gradients to know whether a step was skipped.
"""

import math
from collections.abc import Callable

import torch

from engine.distributed.process_group import ProcessGroup
from engine.distributed.reducer import GradientReducer
from engine.optim.averaging import Ema, Lookahead
from engine.optim.schedule import Schedule
from engine.training.executors import build_executor
from engine.training.forward import Before, Compute
from engine.training.mixing import Mix
from engine.training.nan_guard import NanGuard, NotFinite, all_finite, healthy


class TrainStep:
    """The step, and what it has counted since `reset`.

    `begin` gives it the optimiser and schedule of a stage before the first batch. `schedule.at(update)` gives each
    update's (rate, momentum); a parameter group's rate is that times its "lr_scale", and momentum moves where it is not
    None. `draw_mix(epoch, step, height, width)` gives the batch's Mix or None; without it no batch is mixed.
    `accumulate` batches share an update; the last group of an epoch may be smaller and is averaged over what it has.
    `size_of(epoch)` is the side in px that images are resized to before they are mixed, None for as they are. `ema` and
    `lookahead` follow each update. `mode` is one of programs.MODES. `updated` tells
    whether the last batch was a group's last. `guard` looks at each batch's loss. With `skip_bad` an update to which a
    bad loss or a gradient that is not finite would go is left out, and `skipped` counts such batches; it waits for the
    device in each step.

    Where the batches are one process's blocks, `process_group` are all of the run's and `images_of(step)` says how many
    images the whole batch has: each update then is that of the whole batch, and `totals` are those of all processes,
    which have to agree between steps about what their guards found.
    """

    def __init__(self, compute: Compute, *, steps_per_epoch: int, mode: str = "eager",
                 draw_mix: Callable[[int, int, int, int], Mix | None] | None = None,
                 size_of: Callable[[int], int | None] = lambda epoch: None, clip_norm: float = 0.0,
                 accumulate: int = 1, ema: Ema | None = None, lookahead: Lookahead | None = None,
                 guard: NanGuard | None = None, skip_bad: bool = False, process_group: ProcessGroup | None = None,
                 images_of: Callable[[int], int] | None = None):
        self.model, self.precision, self.to_input = compute.model, compute.precision, compute.to_input
        self.compute, self.mode, self.program = compute, mode, build_executor(mode, compute)
        self.draw_mix, self.size_of = draw_mix, size_of
        self.clip_norm, self.accumulate, self.steps_per_epoch = clip_norm, accumulate, steps_per_epoch
        self.ema, self.lookahead, self.guard, self.skip_bad = ema, lookahead, guard, skip_bad
        self.updates_done, self.updated, self.skipped, self.spoiled = 0, True, 0, False
        self.device = self.to_input.device
        self.process_group, self.images_of, self.reducer = process_group, images_of, None
        self.reset()

    def begin(self, optimizer: torch.optim.Optimizer, schedule: Schedule) -> None:
        """Go on with `optimizer` and `schedule`, at the schedule's first update."""
        self.optimizer, self.schedule, self.updates = optimizer, schedule, 0
        self.updated, self.spoiled = True, False
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.rate = schedule.at(0)[0]
        self.program.begin()
        if self.process_group:
            if self.reducer:
                self.reducer.close()
            self.reducer = GradientReducer(self.parameters)

    def restart(self, draw_mix: Callable[[int, int, int, int], Mix | None] | None) -> None:
        """Forget the updates done so far: the weights are those of a new run, whose mixing is `draw_mix`."""
        self.draw_mix, self.updates_done, self.skipped = draw_mix, 0, 0
        for follower in (self.lookahead, self.ema):
            if follower is not None:
                follower.reset()

    def reset(self) -> None:
        """Start counting anew: summed loss, correct answers, images (on the device, float64)."""
        self.tally = torch.zeros(3, dtype=torch.float64, device=self.device)
        if self.guard:
            self.guard.reset()

    def __call__(self, images_bhwc: torch.Tensor, labels: torch.Tensor, epoch: int, step: int) -> None:
        """Train on one batch, already on the device; `step` counts from 0 inside the epoch.

        Raises the guard's NotFinite where the loss of this batch, or on a GPU of one shortly before, was bad.
        """
        size_px = self.size_of(epoch)
        height, width = (size_px, size_px) if size_px else images_bhwc.shape[1:3]
        mix = self.draw_mix(epoch, step, height, width) if self.draw_mix else None
        group = min(self.accumulate, self.steps_per_epoch - (step - step % self.accumulate))
        share, before = 1 / group, None
        if self.process_group:
            # A block's mean loss counts as much as its images, so that the sum over the blocks is the batch's mean.
            share *= len(labels) / self.images_of(step)
            if mix is not None or (self.draw_mix and self.mode != "eager"):
                before = self.process_group.image_before(images_bhwc, labels)
            if self._ends_group(step):
                self.reducer.expect()
        if self.skip_bad:
            self._compute_or_skip(images_bhwc, labels, size_px, mix, share, before)
        else:
            counts = self.program(images_bhwc, labels, size_px, mix, share, before)
            self.tally += counts
            if self.guard:
                self.guard.note(counts, step)
            if self.guard and not self.process_group:
                self.guard.check()
        self._end_group(step)

    def leave_out(self, step: int) -> None:
        """Pass over a batch: the update that was due after it happens where other batches share it."""
        if self._ends_group(step):
            self.spoiled = self.spoiled or all(p.grad is None for p in self.parameters)
        self._end_group(step)

    def _end_group(self, step: int) -> None:
        self.updated = self._ends_group(step)
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

    def _ends_group(self, step: int) -> bool:
        return (step + 1) % self.accumulate == 0 or step + 1 == self.steps_per_epoch

    def _compute_or_skip(self, images_bhwc: torch.Tensor, labels: torch.Tensor, size_px: int | None, mix: Mix | None,
                         share: float, before: Before) -> None:
        # What a forward pass changes besides gradients: the statistics of normalisation.
        buffers = list(self.model.buffers())
        former = [buffer.clone() for buffer in buffers]
        counts = self.program(images_bhwc, labels, size_px, mix, share, before)
        whole = counts.clone()
        if self.process_group:
            self.process_group.add([whole])
        if healthy(whole):
            self.tally += counts
            return
        self.spoiled, self.skipped = True, self.skipped + 1
        for buffer, value in zip(buffers, former, strict=True):
            buffer.copy_(value)

    def _update(self) -> None:
        self.rate, momentum = self.schedule.at(self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group["lr_scale"]
            if momentum is None:
                continue
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum
        if self.precision.update(self.optimizer, self.parameters, self.clip_norm):
            self.updates += 1
            self.updates_done += 1
            for follower in (self.lookahead, self.ema):
                if follower is not None:
                    follower.update(self.updates_done)

    def totals(self) -> tuple[float, float, int]:
        """Mean loss, share of correct answers (NaN without images) and images since `reset`; waits for the device.

        Raises the guard's NotFinite where the loss of a batch was bad.
        """
        tally = self.tally.clone()
        if self.process_group:
            bad = self.process_group.first_bad(self.guard.known(wait=True))
            if bad >= 0:
                raise NotFinite(bad)
            self.process_group.add([tally])
        elif self.guard:
            self.guard.check(wait=True)
        loss, correct, count = tally.tolist()
        return loss / count if count else math.nan, correct / count if count else math.nan, int(count)
