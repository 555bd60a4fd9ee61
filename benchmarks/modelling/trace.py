"""What a call computes and moves, operation by operation.

    with FakeTensorMode():
        operations = traced(lambda: step(images, labels))

On fake tensors no arithmetic is done. Of fake CPU tensors autograd runs too, so a backward pass is seen like a forward
pass.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.common.counting import NO_LAUNCH, PARTIAL_READS

# Part of a name -> kind, the first that fits.
KINDS = (("_fused_", "update"), ("norm_backward", "norm backward"), ("vector_norm", "reduction"),
         ("batch_norm", "norm"), ("layer_norm", "norm"), ("group_norm", "norm"),
         ("pool2d_with_indices_backward", "pool backward"), ("pool2d_backward", "pool backward"), ("pool2d", "pool"),
         ("bernoulli", "random"), ("dropout", "random"), ("gelu_backward", "gelu backward"), ("gelu", "gelu"),
         ("silu_backward", "silu backward"), ("silu", "silu"), ("relu", "relu"), ("copy", "copy"),
         ("clone", "copy"))
# An operation that writes less than this share of what it reads sums or selects.
REDUCED = 0.25
# The first argument of these is only written.
OVERWRITES = ("copy_", "zero_", "fill_", "bernoulli_", "uniform_", "normal_")
# These only look at their argument's shape.
UNREAD = ("new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like")
# An argument that fused updates may write, and do only with a gradient scale.
READ_ONLY = "grads"


@dataclass(frozen=True)
class Operation:
    """One operation of a `part` of the step.

    kind: of a matrix operation "convolution", "convolution backward" or "product", else of KINDS, "reduction" or
    "pointwise". flops: two per multiply-add, 0 unless it is a matrix operation. reads, writes: bytes by storage.
    kernels: that it takes at least; tensors: of a list, which some devices take one by one. narrow: the fewest of a
    convolution's channels, in and out, or of a product's three sizes.
    """

    name: str
    kind: str
    part: str
    dtype: torch.dtype
    flops: int
    reads: Mapping[int, int]
    writes: Mapping[int, int]
    kernels: int = 1
    tensors: int = 1
    narrow: int = 0

    @property
    def bytes(self) -> int:
        """What it reads and writes, each tensor once per kernel."""
        return sum(self.reads.values()) + sum(self.writes.values())


class Tracer(TorchDispatchMode):
    """Within it `operations` lists what is executed, without views; `part` names the part of the step that follows."""

    def __init__(self):
        super().__init__()
        self.operations: list[Operation] = []
        self.part = "passes"
        # Held, or another tensor could get a number that was used before.
        self.storages: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        options = options or {}
        result = operation(*arguments, **options)
        name = operation._schema.name
        tensors = [*_tensors(arguments), *_tensors(options), *_tensors(result)]
        if operation.is_view or name in NO_LAUNCH or name == "aten::as_strided_" or not tensors:
            return result
        reads, writes = self._traffic(operation, arguments, options, result)
        formula = flop_registry.get(operation.overloadpacket)
        flops = formula(*arguments, **options, out_val=result) if formula else 0
        kernels, of_list = 1, arguments and isinstance(arguments[0], (list, tuple)) and _tensors(arguments[0])
        if name == "aten::convolution_backward" and all(arguments[-1][:2]):
            # A kernel for each gradient, and both read the one that comes in.
            kernels, (key, size) = 2, self._storage(arguments[0])
            reads[key] += size
        kind, dtype = kind_of(name, tensors, flops, sum(reads.values()), sum(writes.values()))
        self.operations.append(Operation(name.removeprefix("aten::"), kind, self.part, dtype, flops, reads, writes,
                                         kernels, len(of_list) if of_list else 1,
                                         narrow_side(kind, arguments) if flops else 0))
        return result

    def _traffic(self, operation, arguments, options, result) -> tuple[dict[int, int], dict[int, int]]:
        """(bytes read, bytes written) by storage."""
        reads, writes, name = {}, {}, operation._schema.name
        for index, argument in enumerate(operation._schema.arguments):
            value = arguments[index] if index < len(arguments) else options.get(argument.name)
            written = argument.alias_info is not None and argument.alias_info.is_write and argument.name != READ_ONLY
            unread = name.endswith(UNREAD) or written and (argument.name == "out" or name.endswith(OVERWRITES))
            for tensor in _tensors(value):
                key, size = self._storage(tensor)
                if written:
                    writes[key] = max(writes.get(key, 0), size)
                if not unread:
                    partial = PARTIAL_READS.get(name) if index == 0 else None
                    reads[key] = max(reads.get(key, 0), partial(arguments, result) if partial else size)
        for tensor in _tensors(result):
            key, size = self._storage(tensor)
            if key not in reads:
                writes[key] = max(writes.get(key, 0), size)
        return reads, writes

    def _storage(self, tensor: torch.Tensor) -> tuple[int, int]:
        """(number, bytes that lie in memory) of a tensor's storage; an expanded tensor repeats some."""
        storage = tensor.untyped_storage()
        self.storages[storage._cdata] = storage
        return storage._cdata, min(tensor.nbytes, storage.nbytes())


def kind_of(name: str, tensors: Sequence[torch.Tensor], flops: int, read: int,
            written: int) -> tuple[str, torch.dtype]:
    """(kind, dtype) of an operation; the dtype is that of its largest tensor, of a matrix operation that of a factor.
    """
    if flops:
        kind = "convolution" if "convolution" in name else "product"
        factors = [tensor for tensor in tensors if tensor.dim() > 1]
        return kind + (" backward" if name.endswith("convolution_backward") else ""), factors[-2].dtype
    found = next((kind for part, kind in KINDS if part in name), None)
    return (found or ("reduction" if written < REDUCED * read else "pointwise"),
            max(tensors, key=lambda tensor: tensor.nbytes).dtype)


def narrow_side(kind: str, arguments: Sequence) -> int:
    """As in Operation, of a matrix operation with these arguments."""
    if kind == "product":
        left, right = [tensor for tensor in _tensors(arguments) if tensor.dim() > 1][-2:]
        return min(*left.shape[-2:], right.shape[-1])
    return min(arguments[2 if kind.endswith("backward") else 1].shape[:2])


def traced(call: Callable[[], object]) -> list[Operation]:
    """The operations of `call`."""
    with Tracer() as tracer:
        call()
    return tracer.operations


def _tensors(values: object) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]
