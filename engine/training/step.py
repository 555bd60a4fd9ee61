"""One training step: mix, forward, backward by one of the programs, then clip and update. Nothing here waits for the
device.

The one exception is fp16's GradScaler, which must look at the gradients to know whether a step was skipped.
"""

from collections.abc import Callable

import torch

from engine.optim.average import Ema, Lookahead
from engine.optim.schedule import Schedule
from engine.training.compute import Compute
from engine.training.mixing import Mix
from engine.training.programs import build_program


class TrainStep:
    """The step, and what it has counted since `reset`.

    `begin` gives it the optimiser and schedule of a stage before the first batch. `schedule.at(update)` gives each
    update's (rate, momentum); a parameter group's rate is that times its "lr_scale", and momentum moves where it is not
    None. `draw_mix(epoch, step, height, width)` gives the batch's Mix or None; without it no batch is mixed.
    `accumulate` batches share an update; the last group of an epoch may be smaller and is averaged over what it has.
    `size_of(epoch)` is the side in px that images are resized to before they are mixed, None for as they are. `ema` and
    `lookahead` follow each update. `mode` is one of programs.MODES. `updated` tells whether the last batch was
    a group's last.
    """

    def __init__(self, compute: Compute, *, steps_per_epoch: int, mode: str = "eager",
                 draw_mix: Callable[[int, int, int, int], Mix | None] | None = None,
                 size_of: Callable[[int], int | None] = lambda epoch: None, clip_norm: float = 0.0,
                 accumulate: int = 1, ema: Ema | None = None, lookahead: Lookahead | None = None):
        self.model, self.precision, self.to_input = compute.model, compute.precision, compute.to_input
        self.compute, self.mode, self.program = compute, mode, build_program(mode, compute)
        self.draw_mix, self.size_of = draw_mix, size_of
        self.clip_norm, self.accumulate, self.steps_per_epoch = clip_norm, accumulate, steps_per_epoch
        self.ema, self.lookahead = ema, lookahead
        self.updates_done, self.updated = 0, True
        self.device = self.to_input.device
        self.reset()

    def begin(self, optimizer: torch.optim.Optimizer, schedule: Schedule) -> None:
        """Go on with `optimizer` and `schedule`, at the schedule's first update."""
        self.optimizer, self.schedule, self.updates = optimizer, schedule, 0
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.rate = schedule.at(0)[0]
        self.program.begin()

    def restart(self, draw_mix: Callable[[int, int, int, int], Mix | None] | None) -> None:
        """Forget the updates done so far: the weights are those of a new run, whose mixing is `draw_mix`."""
        self.draw_mix, self.updates_done = draw_mix, 0
        for follower in (self.lookahead, self.ema):
            if follower is not None:
                follower.reset()

    def reset(self) -> None:
        """Start counting anew: summed loss, correct answers, images (on the device, float64)."""
        self.tally = torch.zeros(3, dtype=torch.float64, device=self.device)

    def __call__(self, images_bhwc: torch.Tensor, labels: torch.Tensor, epoch: int, step: int) -> None:
        """Train on one batch, already on the device; `step` counts from 0 inside the epoch."""
        size_px = self.size_of(epoch)
        height, width = (size_px, size_px) if size_px else images_bhwc.shape[1:3]
        mix = self.draw_mix(epoch, step, height, width) if self.draw_mix else None
        group_start = step - step % self.accumulate
        group = min(self.accumulate, self.steps_per_epoch - group_start)
        self.tally += self.program(images_bhwc, labels, size_px, mix, 1 / group)
        self.updated = step + 1 == group_start + group
        if self.updated:
            self._update()

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
        self.optimizer.zero_grad(set_to_none=True)

    def totals(self) -> tuple[float, float, int]:
        """Mean loss, share of correct answers and images since `reset`; waits for the device."""
        loss, correct, count = self.tally.tolist()
        return loss / max(count, 1), correct / max(count, 1), int(count)
