"""The kernel of a run, and the operator that launches it, which compilers and fake tensors take as one operation."""

import functools

import torch
import triton
import triton.language as tl

from loaders.kernels.covers import covered
from loaders.kernels.draws import is_active, sample_key
from loaders.kernels.filters import filtered
from loaders.kernels.photo import changed
from loaders.kernels.runs import Run, runs_of
from loaders.kernels.warp import sampled
from loaders.policy.policy import parse


@triton.jit(do_not_specialize_on_alignment=["source", "samples", "keys", "mean_rgb", "tables", "out"])
def render(source, samples, keys, mean_rgb, tables, out, RUN: tl.constexpr, FROM_SOURCE: tl.constexpr):
    """Image number program_id(0), tile program_id(1): read, changed and written once.

    source, out: uint8 (N, H, W, 3) and (B, H', W', 3). samples: int64 (B,), which key the draws; FROM_SOURCE says that
    they are also the images' places in `source`, whose order is the batch's otherwise.
    """
    number = tl.program_id(0).to(tl.int64)
    sample = tl.load(samples + number)
    key, alternate = sample_key(keys, sample)
    PIXELS: tl.constexpr = RUN.out_height * RUN.out_width
    place = tl.program_id(1) * RUN.block + tl.arange(0, RUN.block)
    inside = place < PIXELS
    y, x = place // RUN.out_width, place % RUN.out_width
    image = source + (sample if FROM_SOURCE else number) * (RUN.in_height * RUN.in_width * 3)
    r, g, b = sampled(image, y, x, inside, mean_rgb, tables, RUN, key, alternate)
    for k in tl.static_range(len(RUN.changes)):
        if is_active(RUN.changes[k].op, key, alternate):
            if RUN.changes[k].family == "cover":
                r, g, b = covered(r, g, b, y, x, mean_rgb, tables, RUN.changes[k], key)
            elif RUN.changes[k].family == "filter":
                r, g, b = filtered(r, g, b, inside, place, tables, RUN.changes[k], key)
            else:
                r, g, b = changed(r, g, b, inside, place, tables, RUN.changes[k], key, PIXELS)
    at = out + number * (PIXELS * 3) + 3 * place
    tl.store(at, r.to(tl.uint8), inside)
    tl.store(at + 1, g.to(tl.uint8), inside)
    tl.store(at + 2, b.to(tl.uint8), inside)


def options_of(run: Run) -> dict[str, int]:
    """How a run is compiled: without fusing products and sums, which would round once instead of twice."""
    return {"num_warps": run.warps, "enable_fp_fusion": False}


@functools.cache
def _run(policy: str, height: int, width: int, number: int) -> Run:
    return runs_of(parse(policy, height, width))[number]


@torch.library.custom_op("cadence::augmented", mutates_args=())
def augmented(source: torch.Tensor, samples: torch.Tensor, keys: torch.Tensor, mean_rgb: torch.Tensor,
              tables: torch.Tensor, policy: str, height: int, width: int, number: int,
              from_source: bool) -> torch.Tensor:
    """Run `number` of `runs_of(parse(policy, height, width))` on a batch, in one launch: uint8 (B, H', W', 3).

    tables: int64, `runs.tables_of` of the policy. The rest as in `render`.
    """
    run, source, samples = _run(policy, height, width, number), source.contiguous(), samples.contiguous()
    out = source.new_empty((len(samples), run.out_height, run.out_width, 3))
    if len(samples):
        # Triton launches on the current device, whatever device the tensors are on.
        with torch.cuda.device_of(source):
            render[(len(samples), run.tiles)](source, samples, keys, mean_rgb, tables, out, run, from_source,
                                              **options_of(run))
    return out


@augmented.register_fake
def _(source, samples, keys, mean_rgb, tables, policy, height, width, number, from_source):
    run = _run(policy, height, width, number)
    return source.new_empty((len(samples), run.out_height, run.out_width, 3))
