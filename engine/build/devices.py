"""The device of a run, torch's CPU threads and the loader's threads."""

import ctypes
import os

import torch

from engine.common.errors import EngineError
from loaders.feeds.stream import usable_cores
from recipes.settings.load import Recipe

# OpenMP's omp_pause_hard, and the elements for each thread that make torch use all of them.
PAUSE_HARD, SHARE = 2, 1 << 16
# Parameters of glibc's mallopt.
TRIM_THRESHOLD, MMAP_MAX = -1, -4


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one; EngineError for cuda without a GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise EngineError("train.device=cuda but torch sees no GPU: choose cpu, or see `python -m engine.doctor`")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def take_own_gpu(local_rank: int, local_ranks: int) -> None:
    """Use GPU `local_rank` in this process; EngineError where the node has fewer GPUs than processes."""
    count = torch.cuda.device_count()
    if local_ranks > count:
        raise EngineError(f"{local_ranks} processes on a node with {count} GPUs: start one for each with "
                          f"--nproc-per-node {count}, or choose train.device=cpu")
    torch.cuda.set_device(local_rank)


def place_threads(recipe: Recipe, device: torch.device, processes: int = 1) -> int:
    """Set torch's CPU threads and return the number of loader threads: one on a CPU, whose cores the network needs.

    Each of several `processes` on this node takes its share of the cores.
    """
    cores = max(1, usable_cores() // processes)
    torch.set_num_threads(min(recipe.section("train").threads or cores, os.cpu_count() or 1))
    return recipe.get("data.workers", 0) or (1 if device.type == "cpu" else cores)


def keep_memory() -> bool:
    """Make this process keep freed memory for reuse; returns whether it could.

    By default glibc returns large blocks to the system, which has to clear each page when the next step asks for it
    again. C libraries without mallopt are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, -1))


def flush_denormals(wanted: bool) -> bool:
    """Whether arithmetic on the CPU takes denormal numbers for 0, in this thread and in torch's workers for it.

    Returns whether all obey. A thread takes the mode over from the one that starts it, and workers may be there
    from before, in a notebook for example: they are ended, and torch's next operation starts others.
    """
    torch.set_flush_denormal(wanted)
    threads, pause = torch.get_num_threads(), getattr(ctypes.CDLL(None), "omp_pause_resource_all", None)
    if pause:
        pause(PAUSE_HARD)
        # Some runtimes forget it.
        torch.set_num_threads(threads)
    return not (wanted and keeps_denormals())


def keeps_denormals() -> bool:
    """Whether this thread, or any of torch's workers for it, keeps denormal numbers."""
    # As integers, for arithmetic would change what it is asked about.
    smallest = torch.ones(SHARE * torch.get_num_threads(), dtype=torch.int32).view(torch.float32)
    return bool((smallest * 1.0).view(torch.int32).any())
