"""The rates of GPUs, from NVIDIA's data sheets, and what of them a training step is assumed to reach.

Data sheets, all of SXM modules: H200 (nvidia.com/en-us/data-center/h200), H100 (.../h100), A100 80 GB (.../a100). Those
of H200 and H100 give matrix rates with structured sparsity; these are the dense ones, half of them.
"""

from dataclasses import dataclass

import torch

from benchmarks.modelling.fusing import Work


@dataclass(frozen=True)
class Card:
    """A GPU's peaks: FLOP/s of matrix operations in bf16 or fp16, in TF32 and in fp32 proper; bytes/s of memory."""

    name: str
    bf16_flops_s: float
    tf32_flops_s: float
    fp32_flops_s: float
    bytes_s: float


CARDS = {"h200": Card("H200", 989.4e12, 494.7e12, 66.9e12, 4.8e12),
         "h100": Card("H100", 989.4e12, 494.7e12, 66.9e12, 3.35e12),
         "a100": Card("A100", 312e12, 156e12, 19.5e12, 2.039e12)}


@dataclass(frozen=True)
class Assumed:
    """What a step reaches: shares of the matrix and memory peaks; seconds that a kernel takes besides, and a step."""

    matrix: float
    memory: float
    kernel_s: float
    step_s: float


# Nothing is faster than the peaks.
PEAK = Assumed(1.0, 1.0, 0.0, 0.0)
# docs/speed.md says where these come from.
EXPECTED = Assumed(0.4, 0.8, 1e-6, 10e-6)


@dataclass(frozen=True)
class CardRates:
    """Times on a GPU whose step is one graph. tf32: whether fp32 products may use it."""

    card: Card
    assumed: Assumed
    tf32: bool = True

    @property
    def step_s(self) -> float:
        """Seconds that each step takes besides its kernels."""
        return self.assumed.step_s

    def matrix_flops_s(self, dtype: torch.dtype) -> float:
        """The rate of matrix operations in a dtype."""
        if dtype in (torch.bfloat16, torch.float16):
            peak = self.card.bf16_flops_s
        else:
            peak = self.card.tf32_flops_s if self.tf32 else self.card.fp32_flops_s
        return self.assumed.matrix * peak

    def seconds(self, work: Work) -> dict[str, float]:
        """{"matrix" or "memory", whichever takes longer: its seconds, "launches": what the kernels take besides}."""
        matrix_s = work.flops / self.matrix_flops_s(work.dtype)
        memory_s = work.bytes / (self.assumed.memory * self.card.bytes_s)
        longer = {"matrix": matrix_s} if matrix_s > memory_s else {"memory": memory_s}
        return {**longer, "launches": work.kernels * self.assumed.kernel_s}


def card_of(device_name: str) -> Card | None:
    """The card of a device's name, such as "NVIDIA H100 80GB HBM3"; None if the table lacks it."""
    words = device_name.lower().replace("-", " ").split()
    return next((card for key, card in CARDS.items() if key in words), None)
