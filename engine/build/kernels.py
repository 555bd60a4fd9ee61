"""Kernels that are compiled for this machine, before the first epoch, so that no epoch's clock includes it."""

import threading
import time
from collections.abc import Callable

import torch
from torch import nn

from engine.common.errors import EngineError
from engine.kernels.fused_norm import LANES, fuse
from engine.kernels.native import library
from loaders.feeds.build import Feed
from recipes.settings.load import Recipe

# Kernels that were compiled before are loaded faster than this.
SILENT_S = 3.0


def announced(compile_now: Callable[[], object], kernel: str, usual: str, say: Callable[[str], None] | None) -> None:
    """Call `compile_now`; `say` is told where it takes long. usual: how long that is, in words."""
    began = time.monotonic()
    notice = threading.Timer(SILENT_S, say or (lambda line: None),
                             [f"compiling the {kernel} for this machine: {usual}, once"])
    notice.start()
    try:
        compile_now()
    finally:
        notice.cancel()
        notice.join()
    took_s = time.monotonic() - began
    if say and took_s > SILENT_S:
        say(f"the {kernel} was compiled in {took_s:.1f} s")


def compile_kernels(feed: Feed, say: Callable[[str], None] | None) -> None:
    """Compile the feed's kernels."""
    announced(feed.compile, "loader's kernel", "half a minute or more", say)


def fuse_norms(recipe: Recipe, model: nn.Module, device: torch.device, mode: str,
               say: Callable[[str], None] | None) -> bool:
    """Whether `model` trains with fused batch norms from now on, as train.norms asks; mode: a resolved train.step.

    EngineError where `fused` cannot be; with `auto`, `say` is told where only a compiler is missing.
    """
    wanted = recipe.section("train").norms
    demanded, own = wanted == "fused", recipe.section("model").name not in ("torchvision", "timm")
    if wanted == "torch":
        return False
    if device.type != "cpu" or mode != "eager":
        if demanded:
            raise EngineError(f"train.norms=fused is for eager steps on a CPU, not for train.step={mode} on "
                              f"{device.type}: leave it out, compiled steps fuse by themselves")
        return False
    fused = own and fuse(model) > 0
    if not fused:
        if demanded:
            raise EngineError("train.norms=fused has no effect on this network: it is for Cadence's own, with batch "
                              f"norms over a multiple of {LANES} channels; leave it out")
        return False
    try:
        announced(library, "batch norm's kernel", "about 10 seconds", say)
    except EngineError as error:
        if demanded:
            raise EngineError(f"train.norms=fused: {error}, or leave it out") from None
        fuse(model, False)
        if say:
            say(f"warning: batch norms are torch's own, which are slower: {error}")
        return False
    return True
