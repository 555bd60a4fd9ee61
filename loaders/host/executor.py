"""The host executor: a batch decoded from raw bytes and augmented in one pass per image, straight into its buffer.

`Program` turns a policy into arrays; `augment` runs it. Nothing depends on threads or on what else is in the batch: an
image is a function of its bytes, the policy, (seed, epoch) and its index. One compiled kernel serves every policy and
output type, so what numba keeps on disk serves the next process whatever it trains.
"""

import os

import numba
import numpy as np

from loaders.common.errors import DataError
from loaders.host import batch
from loaders.host.layout import FILL_NAMES, KINDS, OPCODES
from loaders.policy.policy import Policy

OUTPUT_KINDS = {
    np.dtype("uint8"): batch.UINT8, np.dtype("float32"): batch.FLOAT32, np.dtype("float16"): batch.FLOAT16,
}
NO_BYTES, NO_FLOATS, NO_HALVES = np.empty(0, np.uint8), np.empty(0, np.float32), np.empty(0, np.uint16)


class Program:
    """A policy as arrays, with the data set's colours.

    mean_rgb: the mean colour, three integers 0..255, what fill=mean paints. mean and std: three floats each in units of
    full scale, for float outputs only: (v / 255 - mean) / std, computed as v * scale + shift in float32.
    """

    def __init__(self, policy: Policy, mean_rgb: tuple[int, int, int], mean: tuple[float, ...] = (0.0, 0.0, 0.0),
                 std: tuple[float, ...] = (1.0, 1.0, 1.0)) -> None:
        if not (len(mean_rgb) == 3 and all(0 <= value <= 255 for value in mean_rgb)):
            raise DataError(f"mean_rgb={tuple(mean_rgb)}: it must be three integers from 0 to 255")
        if not (len(mean) == 3 == len(std) and all(value > 0 for value in std)):
            raise DataError(f"mean={tuple(mean)}, std={tuple(std)}: each must be three numbers, std above 0")
        self.policy = policy
        self.in_bytes = policy.height * policy.width * 3
        self.out_shape = (policy.output_height, policy.output_width, 3)
        self.arrays = _arrays(policy, mean_rgb)
        scale = 1.0 / (255.0 * np.asarray(std, np.float64))
        shift = -np.asarray(mean, np.float64) / np.asarray(std, np.float64)
        self.normal = np.concatenate([np.tile(row, policy.output_width) for row in (scale, shift)]).astype(np.float32)


def augment(source_u8: np.ndarray, pointers: np.ndarray, indices: np.ndarray, program: Program, state: np.ndarray,
            destination: np.ndarray, threads: int = 1) -> None:
    """Decode and augment a batch into `destination`.

    source_u8: uint8 (bytes,), the mapped file. pointers: uint64 (N,), byte offset of each image's pixels. indices:
    int64 (B,), the samples of the batch. state: `counter_rng.epoch_state(seed, epoch)`. destination: C-contiguous
    (B, out height, out width, 3), uint8 (0..255), or float32 or float16 (normalised). threads: as many as this process
    has cores at most; with 1, no thread is made. Raises DataError on a wrong shape, type, index or thread layer.
    """
    _check(source_u8, pointers, indices, state, program, destination, threads)
    if indices.size == 0:
        return
    # One type for every caller, mapped files are read-only: another type would be compiled, and cached, apart.
    source, pointers, indices, state = (_read_only(array) for array in (source_u8, pointers, indices, state))
    flat, kind = destination.reshape(-1), OUTPUT_KINDS[destination.dtype]
    outputs = (flat if kind == batch.UINT8 else NO_BYTES, flat if kind == batch.FLOAT32 else NO_FLOATS,
               flat.view(np.uint16) if kind == batch.FLOAT16 else NO_HALVES)
    tail = _read_only(_tail(source, pointers, indices, program))
    parts = min(threads, len(os.sched_getaffinity(0)), numba.config.NUMBA_NUM_THREADS, indices.size)
    arguments = (source, tail, pointers, indices, state, program.arrays, kind, *outputs, program.normal, parts)
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


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view(np.ndarray)
    view.flags.writeable = False
    return view


def _tail(source: np.ndarray, pointers: np.ndarray, indices: np.ndarray, program: Program) -> np.ndarray:
    """The end of the source with spare bytes after it, where an image of the batch is too close to it to read ahead."""
    size = program.in_bytes
    last = batch.highest(pointers, indices)
    if last < 0:
        raise DataError(f"indices from {indices.min()} to {indices.max()}: they must be from 0 to {pointers.size - 1}")
    if last + size > source.size:
        raise DataError(f"an image begins at byte {last} and takes {size}, but the source ends at {source.size}: it is "
                        "cut short, or of another size")
    if last + size + batch.READABLE <= source.size:
        return NO_BYTES
    end = source[max(0, source.size - size - batch.READABLE):]
    return np.concatenate([end, np.zeros(batch.READABLE, np.uint8)])


def _require_safe_layer(threads: int) -> None:
    """Numba's workqueue layer aborts the process when two threads launch kernels: use TBB or OpenMP, or refuse."""
    try:
        layer = numba.threading_layer()
    except ValueError:
        # No kernel has run in parallel yet.
        layer = numba.config.THREADING_LAYER
    if layer == "workqueue":
        raise DataError(f"threads={threads}: numba runs its workqueue layer, which is not thread-safe; install tbb and "
                        "unset NUMBA_THREADING_LAYER, or set threads=1")


def _check(source_u8, pointers, indices, state, program, destination, threads) -> None:
    wanted = (indices.size, *program.out_shape)
    if destination.dtype not in OUTPUT_KINDS:
        known = ", ".join(map(str, OUTPUT_KINDS))
        raise DataError(f"destination of type {destination.dtype}: it must be one of {known}")
    if destination.shape != wanted or not destination.flags.c_contiguous:
        raise DataError(f"destination of shape {destination.shape}: it must be C-contiguous and {wanted}")
    for name, array, dtype in (("source", source_u8, np.uint8), ("pointers", pointers, np.uint64),
                               ("indices", indices, np.int64), ("state", state, np.uint64)):
        if array.dtype != dtype or array.ndim != 1 or not (array.flags.c_contiguous and array.flags.aligned):
            raise DataError(f"{name} of type {array.dtype} and shape {array.shape}: it must be contiguous 1-D "
                            f"{dtype.__name__}")
    if threads < 1:
        raise DataError(f"threads={threads}: at least 1 is needed")


def _refuse_workqueue() -> None:
    """Keep numba from picking workqueue by itself: TBB, or OpenMP, or an error.

    On import, because the first kernel of the process that runs in parallel, whoever's it is, decides for all. TBB
    comes first: OpenMP starts a batch of 512 faster, but its waiting threads take the cores from FFCV's and the
    caller's, and the feed as a whole is slower.
    """
    if numba.config.THREADING_LAYER == "default":
        numba.config.THREADING_LAYER = "threadsafe"


_refuse_workqueue()


def _arrays(policy: Policy, mean_rgb: tuple[int, int, int]) -> batch.Program:
    stages, steps, gates, ranges, tables = [], [], [], [], []
    for stage in policy.stages:
        first = len(steps)
        for step in stage.steps:
            constants = (*step.constants, 0, 0, 0, 0)[:4]
            steps.append((OPCODES.index(step.opcode), step.slot, step.height, step.width, len(gates),
                          len(gates) + len(step.gates), len(ranges), len(tables),
                          FILL_NAMES.index(step.fill or "zero"), *constants))
            gates += [(gate.slot, gate.low, gate.high) for gate in step.gates]
            ranges += [(r.slot, r.base, r.offset, r.span, r.steps, r.signed, r.whole) for r in step.ranges]
            tables += [number for row in step.table for number in row]
        stages.append((KINDS.index(stage.kind), first, len(steps), stage.in_height, stage.in_width, stage.out_height,
                       stage.out_width, FILL_NAMES.index(stage.fill or "zero")))
    heights = [policy.height, *(stage.out_height for stage in policy.stages)]
    widths = [policy.width, *(stage.out_width for stage in policy.stages)]
    sizes = (policy.height, policy.width, policy.output_height, policy.output_width, max(heights), max(widths))
    row = np.tile(np.asarray(mean_rgb, np.uint8), max(widths))
    return batch.Program(
        np.array(sizes, np.int64), _rows(stages, 8), _rows(steps, 13), _rows(gates, 3), _rows(ranges, 7),
        np.array(tables, np.int64), np.concatenate([np.zeros_like(row), row]),
    )


def _rows(rows: list, columns: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(len(rows), columns)
