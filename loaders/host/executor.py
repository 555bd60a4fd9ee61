"""The host executor: a batch decoded from raw bytes and augmented in one pass per image, straight into its buffer.

`PackedPolicy` turns a policy into arrays; `augment` runs it. An image is a function of its bytes, the policy, (seed,
epoch) and its index: neither threads nor the rest of the batch matter. One compiled kernel serves every policy, so
later processes reuse it from numba's disk cache.
"""

import itertools
import os
from dataclasses import astuple

import numba
import numpy as np

from loaders.common.counter_rng import epoch_state
from loaders.common.errors import DataError
from loaders.host import batch
from loaders.host.layout import FILL_NAMES, KINDS, OPCODES
from loaders.policy.policy import Policy, check_mean_rgb, parse

# The first parallel kernel of a process fixes its thread layer. Numba must not choose workqueue: TBB, OpenMP, or an
# error. TBB comes first: OpenMP starts a batch of 512 faster, but its waiting threads take the cores from FFCV and the
# caller, and the feed as a whole is slower.
if numba.config.THREADING_LAYER == "default":
    numba.config.THREADING_LAYER = "threadsafe"


# Of the images that a kernel is compiled with; the smallest that a policy takes.
SIDE_PX = 4


class PackedPolicy:
    """A policy as arrays of integers; mean_rgb: the colour of fill=mean, three integers 0..255."""

    def __init__(self, policy: Policy, mean_rgb: tuple[int, int, int]) -> None:
        check_mean_rgb(mean_rgb)
        self.policy = policy
        self.in_bytes = policy.height * policy.width * 3
        self.out_shape = (policy.output_height, policy.output_width, 3)
        self.arrays = _arrays(policy, mean_rgb)


def augment(source_u8: np.ndarray, pointers: np.ndarray, indices: np.ndarray, policy: PackedPolicy, state: np.ndarray,
            destination: np.ndarray, threads: int = 1) -> None:
    """Decode and augment a batch into `destination`.

    source_u8: uint8 (bytes,), the mapped file. pointers: uint64 (N,), byte offset of each image's pixels. indices:
    int64 (B,), the samples of the batch. state: `counter_rng.epoch_state(seed, epoch)`. destination: uint8 (B, out
    height, out width, 3), C-contiguous. threads: at most the process's cores are used; 1 starts none. Raises
    DataError for a wrong shape, type, index or thread layer.
    """
    _check(source_u8, pointers, indices, state, policy, destination, threads)
    if indices.size == 0:
        return
    # One type for every caller (mapped files are read-only): numba would compile and cache another type separately.
    source, pointers, indices, state = (_read_only(array) for array in (source_u8, pointers, indices, state))
    tail = _read_only(_tail(source, pointers, indices, policy.in_bytes))
    parts = min(threads, len(os.sched_getaffinity(0)), numba.config.NUMBA_NUM_THREADS, indices.size)
    arguments = (source, tail, pointers, indices, state, policy.arrays, destination.reshape(-1), parts)
    if parts == 1:
        batch.run_serial(*arguments)
        return
    _require_safe_layer(threads)
    before = numba.get_num_threads()
    numba.set_num_threads(parts)
    try:
        batch.run_parallel(*arguments)
    except ValueError as error:
        raise DataError(f"threads={threads}: {str(error).splitlines()[0]} Install tbb, or set threads=1") from None
    finally:
        numba.set_num_threads(before)


def compile_kernel(threads: int) -> None:
    """Compile what `augment` runs on so many threads, half a minute once per machine; later it comes from the disk."""
    policy, images = PackedPolicy(parse("", SIDE_PX, SIDE_PX), (0, 0, 0)), max(threads, 1)
    destination = np.empty((images, *policy.out_shape), np.uint8)
    pointers = (policy.in_bytes * np.arange(images)).astype(np.uint64)
    augment(np.zeros(destination.size, np.uint8), pointers, np.arange(images), policy, epoch_state(0, 0), destination,
            threads)


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view(np.ndarray)
    view.flags.writeable = False
    return view


def _tail(source: np.ndarray, pointers: np.ndarray, indices: np.ndarray, size: int) -> np.ndarray:
    """The source's end plus spare bytes, if an image of the batch is too close to it to read ahead; else empty."""
    if indices.min() < 0 or indices.max() >= pointers.size:
        raise DataError(f"indices from {indices.min()} to {indices.max()}: they must be from 0 to {pointers.size - 1}")
    last = int(pointers[indices].max())
    if last + size > source.size:
        raise DataError(f"an image starts at byte {last} and takes {size}, but the source ends at {source.size}: it is "
                        "cut short, or of another size")
    if last + size + batch.READABLE <= source.size:
        return np.empty(0, np.uint8)
    return np.concatenate([source[max(0, source.size - size - batch.READABLE):], np.zeros(batch.READABLE, np.uint8)])


def _require_safe_layer(threads: int) -> None:
    """DataError for numba's workqueue layer, which aborts the process when two threads launch kernels."""
    try:
        layer = numba.threading_layer()
    except ValueError:
        # No kernel has run in parallel yet.
        layer = numba.config.THREADING_LAYER
    if layer == "workqueue":
        raise DataError(f"threads={threads}: numba runs its workqueue layer, which is not thread-safe; install tbb and "
                        "unset NUMBA_THREADING_LAYER, or set threads=1")


def _check(source_u8, pointers, indices, state, policy, destination, threads) -> None:
    wanted = (indices.size, *policy.out_shape)
    if destination.dtype != np.uint8 or destination.shape != wanted or not destination.flags.c_contiguous:
        raise DataError(f"destination of type {destination.dtype} and shape {destination.shape}: it must be uint8, "
                        f"C-contiguous and {wanted}")
    for name, array, dtype in (("source", source_u8, np.uint8), ("pointers", pointers, np.uint64),
                               ("indices", indices, np.int64), ("state", state, np.uint64)):
        if array.dtype != dtype or array.ndim != 1 or not (array.flags.c_contiguous and array.flags.aligned):
            raise DataError(f"{name} of type {array.dtype} and shape {array.shape}: it must be contiguous 1-D "
                            f"{dtype.__name__}")
    if threads < 1:
        raise DataError(f"threads={threads}: at least 1 is needed")


def _arrays(policy: Policy, mean_rgb: tuple[int, int, int]) -> batch.PolicyArrays:
    passes, ops, gates, ranges, tables = [], [], [], [], []
    for pass_ in policy.passes:
        passes.append((KINDS.index(pass_.kind), len(ops), len(ops) + len(pass_.ops), pass_.in_height, pass_.in_width,
                       pass_.out_height, pass_.out_width, FILL_NAMES.index(pass_.fill)))
        for op in pass_.ops:
            ops.append((OPCODES.index(op.opcode), op.slot, op.height, op.width, len(gates), len(gates) + len(op.gates),
                        len(ranges), len(tables), FILL_NAMES.index(op.fill or "zero"),
                        *(*op.constants, 0, 0, 0, 0)[:4]))
            gates += map(astuple, op.gates)
            ranges += map(astuple, op.ranges)
            tables += itertools.chain(*op.table)
    sizes = [(policy.height, policy.width), *((pass_.out_height, pass_.out_width) for pass_ in policy.passes)]
    highest, widest = map(max, zip(*sizes, strict=True))
    row = np.tile(np.asarray(mean_rgb, np.uint8), widest)
    return batch.PolicyArrays(
        np.array((*sizes[0], *sizes[-1], highest, widest), np.int64),
        *(np.array(rows, np.int64).reshape(len(rows), columns)
          for rows, columns in ((passes, 8), (ops, 13), (gates, 3), (ranges, 7))),
        np.array(tables, np.int64), np.concatenate([np.zeros_like(row), row]),
    )
