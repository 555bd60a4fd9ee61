"""The rates of this processor, measured with reference kernels, and the times of a recipe's eager step that follow."""

import math
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.common.timing import alternate
from benchmarks.modelling.fusing import Work, each_alone
from benchmarks.modelling.kernels import references
from benchmarks.modelling.predict import RecipeWork
from benchmarks.modelling.steps import Phase, trace_step, training_images
from recipes.settings.load import Recipe

# Which kernels a work needs: its kind, and bf16 or fp32.
Key = tuple[str, torch.dtype]
LAYERS = 100


@dataclass(frozen=True)
class CpuRates:
    """tables: (size, FLOP/s or bytes/s) for each key, sizes rising; call_s: seconds of a call that does nothing;
    feed_s: seconds that the making of a batch takes from a step."""

    tables: Mapping[Key, Sequence[tuple[float, float]]]
    call_s: float
    feed_s: float = 0.0
    step_s: float = 0.0

    def seconds(self, work: Work) -> dict[str, float]:
        """As in predict.Rates."""
        if work.kind == "feed":
            return {"feed": self.feed_s}
        launches, memory_s = {"launches": work.kernels * self.call_s}, 0.0
        if work.bytes:
            moved = "pointwise" if work.flops else work.kind
            memory_s = work.bytes / rate_at(self.tables[moved, rated(work.dtype)], work.bytes)
        if work.flops:
            matrix_s = work.flops / rate_at(self.tables[key_of(work)], work.narrow)
            if matrix_s > memory_s:
                return {"matrix": matrix_s, **launches}
        return {"memory": memory_s, **launches}


def key_of(work: Work) -> Key:
    return work.kind, rated(work.dtype)


def rated(dtype: torch.dtype) -> torch.dtype:
    """The dtype whose rates stand for a dtype's."""
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32


def rate_at(table: Sequence[tuple[float, float]], size: float) -> float:
    """The rate at a size, between two measured ones by their logarithms, beyond them the last."""
    after = bisect([each for each, _ in table], size)
    if after == 0 or after == len(table):
        return table[min(after, len(table) - 1)][1]
    (low, low_rate), (high, high_rate) = table[after - 1: after + 1]
    share = math.log(size / low) / math.log(high / low)
    return math.exp((1 - share) * math.log(low_rate) + share * math.log(high_rate))


def cpu_work(recipe: Recipe, phase: Phase, precision: str) -> RecipeWork:
    """A step's work on a CPU, operation by operation, with the feed's."""
    works = [(1.0, Work("feed", "feed", torch.uint8, 0, 0, 0))]
    for piece in trace_step(recipe, phase, compiled=False, precision=precision):
        works += [(piece.share, work) for work in each_alone(piece.operations, by_tensor=True)]
    return RecipeWork(recipe.section("train").batch, training_images(recipe), [(1, works)])


def keys_for(works: Iterable[RecipeWork]) -> list[Key]:
    """The keys whose rates are needed."""
    found = [work for each in works for _, phase in each.phases for _, work in phase if work.kind != "feed"]
    return sorted({key for work in found for key in (key_of(work), ("pointwise", rated(work.dtype)))}, key=str)


class Kernels:
    """The reference kernels of `keys`; `measure` times each for at least `seconds`."""

    def __init__(self, keys: Iterable[Key]):
        self.of_key = {key: references(*key) for key in keys}

    def measure(self, seconds: float) -> CpuRates:
        tables = {key: [(each.size, each.rate(seconds)) for each in found] for key, found in self.of_key.items()}
        return CpuRates(tables, overhead_s(seconds))


@torch.enable_grad()
def overhead_s(seconds: float) -> float:
    """Seconds of an operation on next to nothing: half of them forward, half backward."""
    layers = nn.Sequential(*(nn.ReLU() for _ in range(LAYERS)))
    x = torch.ones(1, requires_grad=True)
    passes = alternate({"": lambda: layers(x).sum().backward()}, seconds, 1)[""]
    return passes.median / (2 * LAYERS)
