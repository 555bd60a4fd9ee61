"""Runs kernels under Triton's interpreter, which must be chosen before Triton is imported: in a process of its own."""

import importlib
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from multiprocessing import get_context

import numpy as np

from tests.loaders.images import MEAN_RGB


def choose() -> None:
    os.environ["TRITON_INTERPRET"] = "1"


class Interpreter:
    """A process that augments as a GPU with kernels does; a call raises what the process raises."""

    def __init__(self):
        self.pool = ProcessPoolExecutor(1, get_context("spawn"), choose)

    def __call__(self, text: str, images_nhwc: np.ndarray, indices, seed: int = 3, epoch: int = 7,
                 planted: tuple[str, str, object] | None = None) -> tuple[np.ndarray, int]:
        """The batch of `indices`, and how many of the policy's runs are kernels.

        planted: (a module of loaders.kernels, a constant in it, another value).
        """
        return self.pool.submit(augmented, text, images_nhwc, np.asarray(indices, np.int64), seed, epoch,
                                planted).result()

    def close(self) -> None:
        self.pool.shutdown()


def augmented(text, images_nhwc, indices, seed, epoch, planted):
    import torch
    import triton.language as tl
    from triton.language.extra import libdevice
    from triton.runtime.interpreter import TensorHandle

    from loaders.device.executor import DevicePolicy, keys_of
    from loaders.kernels.runs import Run
    from loaders.policy.policy import parse

    # The interpreter has no device libraries.
    libdevice.tan = lambda x: tl.tensor(TensorHandle(np.tan(x.handle.data), x.handle.dtype), x.type)
    policy = DevicePolicy(parse(text, *images_nhwc.shape[1:3]), mean_rgb=MEAN_RGB, device="cpu")
    with changed(planted) if planted else nullcontext():
        images = policy(torch.from_numpy(images_nhwc), torch.from_numpy(indices), keys_of(seed, epoch, "cpu"))
    return images.numpy(), sum(isinstance(run, Run) for run in policy.runs)


@contextmanager
def changed(planted):
    import triton.language as tl

    module, name, value = planted
    module = importlib.import_module(f"loaders.kernels.{module}")
    right = getattr(module, name)
    setattr(module, name, tl.constexpr(value))
    try:
        yield
    finally:
        setattr(module, name, right)
