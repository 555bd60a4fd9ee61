"""The training loops that the engine is compared with: their author's style, a well-tuned one, FFCV's stock pipeline.

All train the same network on the same images, in batches of the same size, by the same optimiser; the policy is the
recipe's as far as their libraries have its operations. What the engine switches for the whole process (TF32, denormals
as zero) holds for them too.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch

from benchmarks.throughput.peer_pipelines import author_transform, ffcv_pipeline, tensor_transform
from benchmarks.throughput.plain_step import Learner, Task
from benchmarks.throughput.unit_timing import Contender
from loaders.feeds.ffcv_fixes import import_ffcv
from loaders.feeds.stream import usable_cores

# The seeds' own setting; torch's default of batches that each worker makes ahead.
AUTHORS_WORKERS, PREFETCH = 2, 2
# Networks whose author trained in mixed precision, with weights in channels_last.
AUTHORS_AMP = ("resnet34",)


class Labelled(torch.utils.data.Dataset):
    """Images in memory with their labels, transformed when asked for."""

    def __init__(self, images: np.ndarray | torch.Tensor, labels: list[int], transform: Callable):
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def author(task: Task) -> Contender:
    """The seeds' style: PIL and torchvision v1 under a DataLoader of 2 workers, NCHW, the loss read in each step."""
    data, batch = task.recipe.section("data"), task.recipe.section("train").batch
    transform, left_out = author_transform(task.policy, data.mean, data.std)
    loader = torch.utils.data.DataLoader(Labelled(task.images_nhwc, task.labels, transform), batch, shuffle=True,
                                         num_workers=AUTHORS_WORKERS)
    amp = task.recipe.section("model").name in AUTHORS_AMP
    dtype = (torch.float16 if task.device.type == "cuda" else torch.bfloat16) if amp else None
    return contender(task, lambda epoch: nullcontext(iter(loader)),
                     Learner(task, dtype, channels_last=amp, fused=False, reads=True), len(task.labels),
                     AUTHORS_WORKERS * PREFETCH, AUTHORS_WORKERS, left_out, tunes=False)


def tuned(task: Task, compiled: bool) -> Contender:
    """A well-tuned plain loop: v2 on uint8 tensors, a worker a core that stays, pinned memory, the engine's precision,
    channels_last, a fused optimiser, nothing read."""
    images = torch.from_numpy(np.ascontiguousarray(task.images_nhwc.transpose(0, 3, 1, 2)))
    transform, left_out = tensor_transform(task.policy, task.recipe.section("data").mean)
    batch, workers = task.recipe.section("train").batch, usable_cores()
    loader = torch.utils.data.DataLoader(Labelled(images, task.labels, transform), batch, shuffle=True, drop_last=True,
                                         num_workers=workers, persistent_workers=True,
                                         pin_memory=task.device.type == "cuda")
    return contender(task, lambda epoch: nullcontext(iter(loader)),
                     Learner(task, task.dtype, channels_last=True, fused=True, compiled=compiled),
                     len(loader) * batch, workers * PREFETCH, workers, left_out)


def stock(task: Task) -> Contender:
    """FFCV's Loader with its own operations, a thread a core, and the tuned loop's step."""
    loader_class, safe_iterator, _ = import_ffcv()
    from ffcv.fields.basics import IntDecoder
    from ffcv.loader import OrderOption
    from ffcv.transforms import ToDevice, ToTensor

    data, batch, threads = task.recipe.section("data"), task.recipe.section("train").batch, usable_cores()
    images, left_out = ffcv_pipeline(task.policy, data.mean, data.std, task.device)
    labels = [IntDecoder(), ToTensor(), *([ToDevice(task.device)] if task.device.type == "cuda" else [])]
    loader = loader_class(str(task.beton.path), batch, num_workers=threads, order=OrderOption.RANDOM, drop_last=True,
                          indices=task.indices, pipelines={"image": images, "label": labels})

    @contextmanager
    def epoch(number: int) -> Iterator:
        iterator = iter(loader)
        try:
            yield iterator
        finally:
            # FFCV leaves the thread of an epoch that is not read to its end.
            safe_iterator.finish(iterator)

    return contender(task, epoch, Learner(task, task.dtype, channels_last=True, fused=True), len(loader) * batch,
                     loader.batches_ahead, threads, left_out)


def contender(task: Task, open_epoch: Callable, learner: Learner, images: int, ahead: int, workers: int,
              left_out: list[str], tunes: bool = True) -> Contender:
    """A peer with every core for torch, and what its row says of it."""
    precision = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[learner.dtype]
    return Contender(open_epoch, learner, batch=task.recipe.section("train").batch, images=images, ahead=ahead,
                     device=task.device, threads=usable_cores(), tunes=tunes,
                     facts={"precision": precision, "workers": workers, "left_out": "; ".join(left_out)})
