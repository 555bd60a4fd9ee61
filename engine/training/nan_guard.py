"""Notices a loss that is not finite or explodes, without making a GPU wait."""

from collections.abc import Sequence

import torch
from torch import nn

from engine.common.errors import EngineError

# Nats per sample: a thousand times the loss of guessing among 10,000 classes.
EXPLODED = 1e4


class NotFinite(EngineError):
    """The loss of batch `step` of `epoch` (None: the current one) was not a number, infinite or above EXPLODED."""

    def __init__(self, step: int, epoch: int | None = None):
        super().__init__(f"the loss is not finite, or exploded, at step {step} of the epoch: lower the "
                         "learning rate")
        self.step, self.epoch = step, epoch


def suspects(known: Sequence[list[int]], place: list[int], steps: int, accumulate: int) -> list[list[int]]:
    """The batches to skip besides `known`, [epoch, step] each, after the loss of the batch at `place` was bad.

    Where the batches just before it were bad too, the cause is not in them but in weights that an earlier update
    spoiled: the batches of that update are suspect. An epoch has `steps`; `accumulate` batches share an update.
    """
    def before(epoch: int, step: int) -> list[int]:
        return [epoch, step - 1] if step else [epoch - 1, steps - 1]

    first = place
    while before(*first) in known:
        first = before(*first)
    epoch, last = before(*first)
    if first == place or epoch < 0:
        return [place]
    return [[epoch, step] for step in range(last - last % accumulate, last + 1)] + [place]


class NanGuard:
    """Remembers the first bad step of an epoch on the device; the host reads a copy once it has arrived."""

    def __init__(self, device: torch.device):
        self.device = device
        self.first = torch.full((), -1, dtype=torch.int64, device=device)
        # What the host reads; a GPU writes it whole, eight aligned bytes at once.
        self.copy = torch.full((), -1, dtype=torch.int64)
        if device.type == "cuda":
            self.copy = self.copy.pin_memory()

    def reset(self) -> None:
        """Start an epoch: nothing bad has been seen. Waits for the device, whose copies under way would be old."""
        self.first.fill_(-1)
        self.copy.copy_(self.first)

    def note(self, counts: torch.Tensor, step: int) -> None:
        """Check the counts of a batch, float64 (3,): summed loss, correct predictions, images. Does not wait."""
        if self.device.type == "cpu":
            if self.first < 0 and not healthy(counts):
                self.first.fill_(step)
            return
        self.mark(counts, step)

    def mark(self, counts: torch.Tensor, step: int | torch.Tensor) -> None:
        """As `note`, in a few operations that no host decides; `step` may be a tensor without dimensions."""
        bad = ~(counts[0] <= EXPLODED * counts[2])
        self.first.copy_(torch.where(bad & (self.first < 0), step, self.first))
        self.copy.copy_(self.first, non_blocking=True)

    def check(self, wait: bool = False) -> None:
        """Raise NotFinite for the first bad step known here: on a GPU a few steps late, unless it may `wait`."""
        step = self.known(wait)
        if step >= 0:
            raise NotFinite(step)

    def known(self, wait: bool = False) -> int:
        """The first bad step known here, -1 where none is: on a GPU a few steps late, unless it may `wait`."""
        if wait or self.device.type == "cpu":
            return int(self.first.item())
        return int(self.copy.item())


def healthy(counts: torch.Tensor) -> bool:
    """Whether the mean loss of a batch is finite and not above EXPLODED; waits for the device."""
    loss, _, images = counts.tolist()
    return loss <= EXPLODED * images


def all_finite(tensors: list[torch.Tensor]) -> bool:
    """Whether no element of floating `tensors` is NaN or infinite, as far as their norms tell; waits for the device."""
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    if not floating:
        return True
    # Norms by the largest magnitude: unlike a sum of squares it cannot overflow.
    norms = torch._foreach_norm(floating, ord=float("inf"))
    return bool(torch.stack([norm.float() for norm in norms]).isfinite().all())


def finite_weights(model: nn.Module) -> bool:
    """Whether all parameters and buffers are finite; waits for the device."""
    return all_finite([*model.parameters(), *model.buffers()])
