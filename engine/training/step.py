"""One training step: normalise, mix, forward, backward, clip, update. Nothing here waits for the device.

The one exception is fp16's GradScaler, which must look at the gradients to know whether a step was skipped.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from engine.optim.average import Ema, Lookahead
from engine.optim.schedule import Schedule
from engine.training.loss import mixed_cross_entropy
from engine.training.mixing import Mix, apply_mix
from engine.training.precision import Precision


class ToInput:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), (x / 255 - mean) / std a channel, channels_last or contiguous."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], device: torch.device, channels_last: bool = True):
        as_row = {"device": device, "dtype": torch.float32}
        self.device = device
        self.scale = (1 / (255 * torch.tensor(std, **as_row))).view(1, 3, 1, 1)
        self.shift = (-torch.tensor(mean, **as_row) / torch.tensor(std, **as_row)).view(1, 3, 1, 1)
        self.channels_last = channels_last

    def __call__(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        # The permuted view of a BHWC batch already is a channels_last BCHW one: no bytes move.
        images = torch.addcmul(self.shift, images_bhwc.permute(0, 3, 1, 2).float(), self.scale)
        return images if self.channels_last else images.contiguous()


def resize(images: torch.Tensor, side_px: int) -> torch.Tensor:
    """Float images (B, 3, H, W) to (B, 3, side_px, side_px), bilinear, antialiased where they shrink."""
    return F.interpolate(images, size=(side_px, side_px), mode="bilinear", antialias=True)


class TrainStep:
    """The step, and what it has counted since `reset`.

    `begin` gives it the optimiser and schedule of a stage before the first batch. `schedule.at(update)` gives each
    update's (rate, momentum); a parameter group's rate is that times its "lr_scale", and momentum moves where it is not
    None. `draw_mix(epoch, step, height, width)` gives the batch's Mix or None; without it no batch is mixed.
    `accumulate` batches share an update; the last group of an epoch may be smaller and is averaged over what it has.
    `size_of(epoch)` is the side in px that images are resized to before they are mixed, None for as they are. `ema` and
    `lookahead` follow each update.
    """

    def __init__(self, model: nn.Module, to_input: ToInput, precision: Precision, *, steps_per_epoch: int,
                 smoothing: float = 0.0, smooth_mixed: bool = True,
                 draw_mix: Callable[[int, int, int, int], Mix | None] | None = None,
                 size_of: Callable[[int], int | None] = lambda epoch: None, clip_norm: float = 0.0,
                 accumulate: int = 1, ema: Ema | None = None, lookahead: Lookahead | None = None):
        self.model, self.to_input, self.precision = model, to_input, precision
        self.draw_mix, self.size_of = draw_mix, size_of
        self.smoothing, self.smooth_mixed = smoothing, smooth_mixed
        self.clip_norm, self.accumulate, self.steps_per_epoch = clip_norm, accumulate, steps_per_epoch
        self.ema, self.lookahead = ema, lookahead
        self.updates_done = 0
        self.device = next(model.parameters()).device
        self.reset()

    def begin(self, optimizer: torch.optim.Optimizer, schedule: Schedule) -> None:
        """Go on with `optimizer` and `schedule`, at the schedule's first update."""
        self.optimizer, self.schedule, self.updates = optimizer, schedule, 0
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.rate = schedule.at(0)[0]

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
        images, labels_b, lam = self.to_input(images_bhwc), labels, 1.0
        size_px = self.size_of(epoch)
        if size_px is not None:
            images = resize(images, size_px)
        mix = self.draw_mix(epoch, step, *images.shape[2:]) if self.draw_mix else None
        if mix is not None:
            images, labels, labels_b, lam = apply_mix(images, labels, mix)
        group_start = step - step % self.accumulate
        group = min(self.accumulate, self.steps_per_epoch - group_start)
        with self.precision.autocast():
            logits = self.model(images)
        smoothing = self.smoothing if mix is None or self.smooth_mixed else 0.0
        loss = mixed_cross_entropy(logits, labels, labels_b, lam, smoothing)
        self.precision.backward(loss / group if group > 1 else loss)
        self._count(logits, labels, labels_b, lam, loss)
        if step + 1 == group_start + group:
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

    @torch.no_grad()
    def _count(self, logits, labels, labels_b, lam, loss) -> None:
        """A mixed batch counts each of its two labels by its share."""
        guess = logits.argmax(1)
        correct = (guess == labels).sum()
        if labels_b is not labels:
            correct = lam * correct + (1 - lam) * (guess == labels_b).sum()
        count = len(labels)
        self.tally += torch.stack([loss.detach().double() * count, correct.double(),
                                   torch.full((), count, dtype=torch.float64, device=logits.device)])

    def totals(self) -> tuple[float, float, int]:
        """Mean loss, share of correct answers and images since `reset`; waits for the device."""
        loss, correct, count = self.tally.tolist()
        return loss / max(count, 1), correct / max(count, 1), int(count)
