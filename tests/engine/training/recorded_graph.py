"""A stand-in for CUDA graphs on a CPU: the operations of a function, recorded with their arguments and repeated.

As in a CUDA graph, everything that Python decides is decided once: numbers, branches, which tensors are read and
written. An operation that would wait for the device cannot be recorded. Recording changes no tensor that existed.
"""

from weakref import WeakSet

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from engine.training import executors, recording

WAITS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default,
         torch.ops.aten.nonzero.default)


def tensors_in(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def storages(tree):
    return {tensor.untyped_storage()._cdata for tensor in tensors_in(tree)}


class RecordedGraph(TorchDispatchMode):
    """`replay()` repeats what ran while this mode was entered."""

    def __init__(self):
        super().__init__()
        self.calls, self.made, self.before, self.replays = [], set(), {}, 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        if function in WAITS:
            raise RuntimeError(f"{function} waits for the device while a graph is recorded")
        given = {argument.name: value for argument, value in zip(function._schema.arguments, arguments, strict=False)}
        for argument in function._schema.arguments:
            # Batch norm does not declare that it moves its statistics.
            if (argument.alias_info and argument.alias_info.is_write) or argument.name.startswith("running_"):
                self._keep((given | options).get(argument.name))
        results = function(*arguments, **options)
        self.made |= storages(results) - storages((arguments, options))
        self.calls.append((function, arguments, options, tensors_in(results)))
        return results

    def _keep(self, written):
        for tensor in tensors_in(written):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.made and storage._cdata not in self.before:
                self.before[storage._cdata] = storage, storage.clone()

    def put_back(self):
        """Undo what recording has written to tensors that existed."""
        for storage, kept in self.before.values():
            storage.copy_(kept)

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        for function, arguments, options, results in self.calls:
            arguments, options = tree_map_only(torch.Tensor, torch.Tensor.detach, (arguments, options))
            for result, new in zip(results, tensors_in(function(*arguments, **options)), strict=True):
                if new.data_ptr() != result.data_ptr():
                    result.detach().copy_(new)


class Pool:
    """Memory of recordings. As CUDA's it goes with the last of them, and takes none after that."""

    def __init__(self):
        self.living, self.used = WeakSet(), False

    def take(self, graph):
        if self.used and not self.living:
            raise RuntimeError("a pool whose recordings are all gone cannot be recorded into")
        self.living.add(graph)
        self.used = True


def record(function, pool):
    graph = RecordedGraph()
    pool.take(graph)
    with torch.random.fork_rng([]), graph:
        function()
    graph.put_back()
    return graph


def warm_up(function, device):
    with torch.random.fork_rng([]):
        for _ in range(recording.WARM_UPS):
            function()


def use(monkeypatch):
    """Let steps of mode "graph" run on a CPU, recorded as here and not compiled."""
    monkeypatch.setattr(recording, "record", record)
    monkeypatch.setattr(recording, "warm_up", warm_up)
    monkeypatch.setattr(recording, "new_pool", Pool)
    monkeypatch.setattr(executors, "compiled", lambda function: function)
