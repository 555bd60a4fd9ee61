"""How a compiler fuses operations into kernels, and what the kernels then move.

Between two matrix operations all others become one run: it reads what comes from outside once, and writes only what is
read later. A norm needs its statistics before it can go on, so its inputs are read once more. A value that only later
runs read is made there again, where that moves fewer bytes than keeping it, as torch.compile does for backward passes.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch

from benchmarks.modelling.trace import Operation

# Kind -> how many of its inputs are read for sums first.
READ_TWICE = {"norm": 1, "norm backward": 2}
# Inputs of fewer bytes are no reason to keep a value.
SMALL = 1 << 16


@dataclass(frozen=True)
class Work:
    """What a device does at a time: FLOPs, bytes and kernels; other fields as in Operation."""

    kind: str
    part: str
    dtype: torch.dtype
    flops: int
    bytes: int
    kernels: int = 1
    narrow: int = 0


def each_alone(operations: Iterable[Operation], by_tensor: bool = False) -> list[Work]:
    """The work of operations that run one by one; by_tensor: each tensor of a list by itself too."""
    return [Work(each.kind, each.part, each.dtype, each.flops, each.bytes,
                 each.kernels * (each.tensors if by_tensor else 1), each.narrow) for each in operations]


def fused(operations: Sequence[Operation], read_later: Collection[int] = ()) -> list[Work]:
    """The work of operations in one compiled program. read_later: storages that are read after it."""
    runs = [_Run(group) for is_matrix, found in groupby(operations, lambda each: each.flops > 0)
            for group in ([[each] for each in found] if is_matrix else [list(found)])]
    read_by: dict[int, list[int]] = defaultdict(list)
    written_by: dict[int, list[int]] = defaultdict(list)
    outlive = set(read_later)
    for number, run in enumerate(runs):
        for key in run.reads:
            read_by[key].append(number)
            if not written_by[key]:
                # It was there before, and so are others that read it.
                outlive.add(key)
        for key in run.writes:
            written_by[key].append(number)
    for number, run in enumerate(runs):
        for key in [key for key in run.writes if key not in outlive and not run.is_matrix]:
            readers = [runs[reader] for reader in read_by[key] if reader > number]
            if not readers or (written_by[key] == [number] and _made_again(run, key, readers)):
                del run.writes[key]
    return [run.work() for run in runs]


@dataclass
class _Run:
    """A matrix operation, or others without one between them; bytes by storage."""

    operations: list[Operation]
    reads: dict[int, int] = field(default_factory=dict)
    writes: dict[int, int] = field(default_factory=dict)

    def __post_init__(self):
        for operation in self.operations:
            for key, size in operation.reads.items():
                if key not in self.writes:
                    self.reads[key] = max(self.reads.get(key, 0), size)
            self.writes.update(operation.writes)

    @property
    def is_matrix(self) -> bool:
        return self.operations[0].flops > 0

    def work(self) -> Work:
        first = self.operations[0]
        if self.is_matrix:
            return each_alone([first])[0]
        again_bytes = sum(sum(sorted(each.reads.values(), reverse=True)[:READ_TWICE.get(each.kind, 0)])
                          for each in self.operations)
        sums = sum(each.kind in READ_TWICE or each.kind == "reduction" for each in self.operations)
        dtype = max(self.operations, key=lambda each: each.bytes).dtype
        moved = sum(self.reads.values()) + sum(self.writes.values()) + again_bytes
        return Work("fused", first.part, dtype, 0, moved, 1 + sums)


def _made_again(run: _Run, key: int, readers: Sequence[_Run]) -> bool:
    """Let `readers` make what `run` writes to `key` from what it reads, if that moves fewer bytes; whether they do."""
    inputs = {of: size for of, size in run.reads.items() if size >= SMALL}
    kept_bytes = run.writes[key] + sum(reader.reads[key] for reader in readers)
    again_bytes = sum(size for reader in readers for of, size in inputs.items() if of not in reader.reads)
    if again_bytes >= kept_bytes or any(reader.is_matrix for reader in readers):
        return False
    for reader in readers:
        del reader.reads[key]
        reader.reads = inputs | reader.reads
    return True
