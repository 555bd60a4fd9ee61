"""Compiles kernels for GPUs that are not there, as a launch there would, and reads the assembler's report."""

import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import torch
import triton
from triton.backends.compiler import GPUTarget

from loaders.kernels.kernel import options_of, render
from loaders.kernels.runs import Run


@dataclass(frozen=True)
class Report:
    """A compiled kernel: bytes of its code, registers per thread, bytes of registers spilled to memory, assembly."""

    code: int
    registers: int
    spilled: int
    ptx: str


class Driver:
    """Stands in for CUDA's: device N has compute capability N / 10."""

    def __init__(self, arch: int):
        self.arch = arch

    def get_current_device(self) -> int:
        return self.arch

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)


def compiled(run: Run, arch: int, folder: Path, from_source: bool = True, **options: int) -> Report:
    """Compile a run's kernel for sm_<arch>; folder: an empty one, as cached code comes without a report."""
    shape = 2, run.in_height, run.in_width, 3
    images, out = torch.empty(shape, dtype=torch.uint8), torch.empty(2, run.out_height, run.out_width, 3,
                                                                     dtype=torch.uint8)
    numbers, mean_rgb = torch.zeros(8, dtype=torch.int64), torch.zeros(3, dtype=torch.uint8)
    log, knobs = StringIO(), triton.knobs
    with (patch.object(triton.runtime.driver, "_active", Driver(arch)), knobs.cache.scope(), knobs.nvidia.scope(),
          redirect_stdout(log)):
        knobs.cache.dir, knobs.nvidia.dump_ptxas_log = str(folder), True
        kernel = render.warmup(images, numbers, numbers[:3], mean_rgb, numbers, out, run, from_source,
                               grid=(2, run.tiles), **options_of(run) | options)
    render.device_caches.clear()
    report = log.getvalue()
    [registers] = re.findall(r"Used (\d+) registers", report)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    return Report(len(kernel.asm["cubin"]), int(registers), sum(int(number) for pair in spills for number in pair),
                  kernel.asm["ptx"])
