"""Kernels that are compiled for this machine, before the first epoch, so that no epoch's clock includes it."""

import threading
import time
from collections.abc import Callable

import torch
from torch import nn

from engine.common.errors import EngineError
from engine.kernels.fused_norm import fuse
from engine.kernels.native import library
from loaders.feeds.build import Feed
from recipes.settings.load import Recipe

# Kernels that were compiled before are loaded faster than this.
SILENT_S = 3.0


def announced(compile_now: Callable[[], object], kernel: str, usual: str, say: Callable[[str], None] | None) -> None:
    """Call `compile_now`, and tell `say` if it takes long. usual: how long it usually takes, in words."""
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
    """Let `model` train with fused batch norms where train.norms allows it and they can be; returns whether it does.

    mode: a resolved train.step. `say` is told where only a compiler is missing.
    """
    train, own = recipe.section("train"), recipe.section("model").name not in ("torchvision", "timm")
    possible = own and device.type == "cpu" and mode == "eager" and train.channels_last
    if train.norms == "torch" or not possible or not fuse(model):
        return False
    try:
        announced(library, "batch norm's kernel", "about 10 seconds", say)
    except EngineError as error:
        fuse(model, False)
        if say:
            say(f"warning: using torch's own batch norms, which are slower: {error}")
        return False
    return True
