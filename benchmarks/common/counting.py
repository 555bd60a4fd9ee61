"""Counts what a call gives a device to do: launches, copies and bytes, on fake tensors, so that no device is needed.

    with FakeTensorMode():
        counts = count(lambda: step(images_on_cuda, labels_on_cuda))

An operation of torch counts as one launch (a few take more); a Triton kernel behind a custom operator is one operation
too. Bytes are those of all arguments and results, each time an operation reads or writes them; caches are not known.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tag, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Besides views, these issue nothing.
NO_LAUNCH = {"prim::device", "aten::_unsafe_view", "aten::_reshape_alias", "aten::detach", "aten::alias", "aten::empty",
             "aten::empty_like", "aten::empty_strided", "aten::new_empty", "aten::new_empty_strided"}
# These read a part of their first argument: as many bytes as the function says.
PARTIAL_READS: dict[str, Callable[[tuple, Tensor], int]] = {
    **dict.fromkeys(("aten::index", "aten::index_select", "aten::gather", "aten::embedding"),
                    lambda arguments, result: result.nbytes),
    "cadence::augmented": lambda arguments, result: arguments[0][0].nbytes * len(arguments[1]),
}


@dataclass
class Counts:
    """What one call issued. copies: those between host and device, which `launches` leaves out; draws: launches that
    draw from torch's random generator."""

    launches: int = 0
    copies: int = 0
    bytes: int = 0
    draws: int = 0
    operations: Counter[str] = field(default_factory=Counter)


def count(call: Callable[[], object]) -> Counts:
    """Run `call` and count its operations on CUDA tensors; those among CPU tensors are the host's own."""
    mode = _Counting()
    with mode:
        call()
    return mode.counts


class _Counting(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.counts = Counts()

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        name = operation._schema.name
        read, written = list(_tensors((arguments, options))), list(_tensors(result))
        places = {tensor.device.type for tensor in (*read, *written)}
        if "cuda" not in places or operation.is_view or name in NO_LAUNCH:
            return result
        if name in PARTIAL_READS:
            self.counts.bytes += PARTIAL_READS[name](arguments, result)
            read = list(_tensors((arguments[1:], options)))
        self.counts.bytes += sum(map(_nbytes, (*read, *written)))
        # A number that torch wraps as a tensor on the CPU is an argument of the launch.
        if all(tensor.dim() == 0 for tensor in (*read, *written) if tensor.device.type == "cpu"):
            self.counts.launches += 1
        else:
            self.counts.copies += 1
        self.counts.draws += Tag.nondeterministic_seeded in operation.tags
        self.counts.operations[name] += 1
        return result


def _tensors(values: object) -> Iterable[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, Tensor))


def _nbytes(tensor: Tensor) -> int:
    """The bytes that lie in memory: an expanded tensor repeats some."""
    return min(tensor.nbytes, tensor.untyped_storage().nbytes())
