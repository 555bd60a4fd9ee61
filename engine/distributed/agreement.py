"""How processes agree, between steps, on when to stop, to save, or to recover from a bad step."""

import torch
import torch.distributed as dist

# Above any step.
FAR = 1 << 62


def encode_step(step: int) -> int:
    """A code for a step (-1: none) that is larger for smaller steps."""
    return FAR - step if step >= 0 else 0


def decode_step(wish: int) -> int:
    """The inverse of `encode_step`."""
    return FAR - wish if wish else -1


class Agreement:
    """The maxima of `wishes` integers over the processes, known to all processes at the same step.

    They are sent between the hosts at one step and read at the next: no device waits for them, and hosts rarely do.
    """

    def __init__(self, wishes: int):
        self.wishes, self.sent = wishes, None

    def send(self, *wishes: int) -> None:
        tensor = torch.tensor(wishes)
        self.sent = tensor, dist.all_reduce(tensor, dist.ReduceOp.MAX, async_op=True)

    def take(self) -> list[int]:
        """The maxima of the last `send`, once; zeros if there is none."""
        if self.sent is None:
            return [0] * self.wishes
        (tensor, work), self.sent = self.sent, None
        work.wait()
        return tensor.tolist()

    def maximum_now(self, *wishes: int) -> list[int]:
        """The maxima of these integers and of the last `send`; waits for all processes, at the end of an epoch."""
        self.send(*map(max, wishes, self.take()))
        return self.take()
