"""The training loops that the engine is compared with: the seeds' style, a well-tuned one, FFCV's stock pipeline.

All train the same network on the same images, with the same batch size and optimiser, and with the recipe's policy as
far as their libraries have its operations. The engine's process-wide settings (TF32, denormals as zero) apply to them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch.utils.data import DataLoader, StackDataset

from benchmarks.throughput.peer_loaders import Mapped
from benchmarks.throughput.peer_pipelines import author_transform, ffcv_pipeline, tensor_transform
from benchmarks.throughput.plain_step import PlainStep, TrainingSetup
from benchmarks.throughput.unit_timing import Contender
from loaders.feeds.ffcv_fixes import import_ffcv
from loaders.feeds.stream import usable_cores

# The seeds' setting; torch's default number of batches that each worker prepares.
AUTHORS_WORKERS, PREFETCH = 2, 2
# Networks whose author trained in mixed precision and channels_last.
AUTHORS_AMP = ("resnet34",)


def author(setup: TrainingSetup) -> Contender:
    """(a) The seeds' style: PIL and torchvision v1 under a DataLoader of 2 workers, NCHW, each step's loss read."""
    data, batch = setup.recipe.section("data"), setup.recipe.section("train").batch
    transform, left_out = author_transform(setup.policy, data.mean, data.std)
    images = StackDataset(Mapped(setup.images_nhwc, transform), setup.labels)
    loader = DataLoader(images, batch, shuffle=True, num_workers=AUTHORS_WORKERS)
    amp = setup.recipe.section("model").name in AUTHORS_AMP
    dtype = (torch.float16 if setup.device.type == "cuda" else torch.bfloat16) if amp else None
    return contender("a", setup, lambda epoch: nullcontext(iter(loader)),
                     PlainStep(setup, dtype, channels_last=amp, fused=False, reads=True), len(setup.labels),
                     AUTHORS_WORKERS * PREFETCH, AUTHORS_WORKERS, left_out, tunes=False)


def tuned(setup: TrainingSetup, compiled: bool) -> Contender:
    """(b) A well-tuned plain loop: torchvision v2 on uint8 tensors, a persistent worker per core, pinned memory, the
    engine's precision, channels_last, a fused optimiser, no loss read."""
    images = torch.from_numpy(np.ascontiguousarray(setup.images_nhwc.transpose(0, 3, 1, 2)))
    transform, left_out = tensor_transform(setup.policy, setup.recipe.section("data").mean)
    batch, workers = setup.recipe.section("train").batch, usable_cores()
    loader = DataLoader(StackDataset(Mapped(images, transform), setup.labels), batch, shuffle=True, drop_last=True,
                        num_workers=workers, persistent_workers=True, pin_memory=setup.device.type == "cuda")
    return contender("b", setup, lambda epoch: nullcontext(iter(loader)),
                     PlainStep(setup, setup.dtype, channels_last=True, fused=True, compiled=compiled),
                     len(loader) * batch, workers * PREFETCH, workers, left_out)


def stock(setup: TrainingSetup) -> Contender:
    """(c) FFCV's Loader with its own operations, one thread per core, and the tuned loop's step."""
    loader_class, safe_iterator, _ = import_ffcv()
    from ffcv.fields.basics import IntDecoder
    from ffcv.loader import OrderOption
    from ffcv.transforms import ToDevice, ToTensor

    data, batch, threads = setup.recipe.section("data"), setup.recipe.section("train").batch, usable_cores()
    images, left_out = ffcv_pipeline(setup.policy, data.mean, data.std, setup.device)
    labels = [IntDecoder(), ToTensor(), *([ToDevice(setup.device)] if setup.device.type == "cuda" else [])]
    loader = loader_class(str(setup.beton.path), batch, num_workers=threads, order=OrderOption.RANDOM, drop_last=True,
                          indices=setup.indices, pipelines={"image": images, "label": labels})

    @contextmanager
    def epoch(number: int) -> Iterator:
        iterator = iter(loader)
        try:
            yield iterator
        finally:
            # FFCV does not stop the thread of an epoch that is left early.
            safe_iterator.finish(iterator)

    return contender("c", setup, epoch, PlainStep(setup, setup.dtype, channels_last=True, fused=True),
                     len(loader) * batch, loader.batches_ahead, threads, left_out)


def contender(kind: str, setup: TrainingSetup, open_epoch: Callable, step: PlainStep, images: int, ahead: int,
              workers: int, left_out: list[str], tunes: bool = True) -> Contender:
    """A peer with every core for torch, and the facts of its row."""
    precision = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[step.dtype]
    return Contender(kind, open_epoch, step, batch=setup.recipe.section("train").batch, images=images, ahead=ahead,
                     device=setup.device, threads=usable_cores(), tunes=tunes,
                     facts={"precision": precision, "workers": workers, "left_out": "; ".join(left_out)})
