"""The device of a run, torch's CPU threads and the loader's threads."""

import os

import torch

from engine.common.errors import EngineError
from loaders.feeds.stream import usable_cores
from recipes.settings.load import Recipe


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
