"""CUDA graphs: launches recorded once and replayed as one."""

from collections.abc import Callable

import torch

WARM_UPS = 3


def new_pool():
    """Memory for recordings that are never replayed at the same time."""
    return torch.cuda.graph_pool_handle()


def warm_up(function: Callable[[], None], device: torch.device) -> None:
    """Call a function until what it compiles and tunes is done; generators stay as they were."""
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.random.fork_rng([device]), torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            function()
    side.synchronize()


def record(function: Callable[[], None], pool) -> torch.cuda.CUDAGraph:
    """Record a function's launches, without running them; `replay()` runs them."""
    graph = torch.cuda.CUDAGraph()
    # The loader's thread may pin memory meanwhile.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        function()
    return graph
