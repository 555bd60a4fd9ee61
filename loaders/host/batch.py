"""The compiled entry points: a batch on one thread or several. Only these kernels are cached on disk.

Each closes over a fingerprint of all kernel sources. Numba's cache key includes the closure, so code compiled from an
older version of any file is never used.
"""

import hashlib
from collections import namedtuple
from pathlib import Path

import numpy as np
from numba import njit, prange

from loaders.host.draws import child
from loaders.host.jit import inner
from loaders.host.memory import borrowed, prefetch
from loaders.host.render import render
from loaders.host.warp import MARGIN

PolicyArrays = namedtuple("PolicyArrays", "sizes passes ops gates ranges tables paint")
Scratch = namedtuple(
    "Scratch", "active first second words padded places weights_x weights_y upper lower middle line matrix factor"
)
READABLE = 16
MOST_TAPS = 32


def _fingerprint() -> int:
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), here.parent / "common/counter_rng.py", here.parent / "policy/passes.py"]):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:7], "little")


@inner
def _scratch(policy):
    """Scratch for one thread: sizes = [in height, in width, out height, out width, largest height, largest width]."""
    high, wide = policy.sizes[4], policy.sizes[5]
    count = high * wide
    return Scratch(
        np.empty(policy.ops.shape[0], np.uint8),
        np.empty(3 * count + READABLE, np.uint8), np.empty(3 * count + READABLE, np.uint8),
        np.empty(count + 4, np.uint32), np.empty((high + MARGIN) * (wide + MARGIN), np.uint32),
        np.empty(wide, np.int32), np.empty(wide, np.int32), np.empty(wide, np.int32),
        np.empty(wide, np.uint64), np.empty(wide, np.uint64),
        np.empty(max(3 * count, 512), np.int32), np.empty(3 * (wide + MOST_TAPS), np.int32),
        np.empty((3, 3), np.float64), np.empty((3, 3), np.float64),
    )


@inner
def _span(first, last, owned_source, owned_tail, pointers, indices, state, owned_policy, owned_out):
    """Render samples first..last - 1 of a batch to its flat bytes.

    tail: the end of source plus READABLE bytes, for kernels that read ahead; empty if no image ends there.
    """
    owned_scratch = _scratch(owned_policy)
    scratch, policy = borrowed(owned_scratch), borrowed(owned_policy)
    source, tail, out = borrowed(owned_source), borrowed(owned_tail), borrowed(owned_out)
    sizes = policy.sizes
    count_in, count_out = 3 * sizes[0] * sizes[1], 3 * sizes[2] * sizes[3]
    for i in range(first, last):
        if i + 2 < last:
            ahead = np.int64(pointers[indices[i + 2]])
            for line in range(0, count_in, 64):
                prefetch(source, ahead + line)
        sample, start = indices[i], np.int64(pointers[indices[i]])
        key = child(state[0], sample)
        alternate = np.int64((child(state[1], sample) >> np.uint64(63)) ^ state[2])
        origin = source
        if start + count_in + READABLE > source.size:
            origin, start = tail, start - (source.size - (tail.size - READABLE))
        render(out, i * count_out, origin, start, key, alternate, policy, scratch)
    # The owner is used last, so that its borrowed arrays live until here.
    return owned_scratch.active.size


def _kept_on_disk(function, **options):
    """Compile with numba's disk cache, or without it if no folder can hold it."""
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(**options)(function)


def _entry(threaded: bool):
    """The batch in `parts` spans, in parallel if `threaded`; numba's cache key includes both closed-over values."""
    fingerprint = _fingerprint()

    def run(source, tail, pointers, indices, state, policy, out, parts):
        for part in prange(parts):
            _span(indices.size * part // parts, indices.size * (part + 1) // parts, source, tail, pointers, indices,
                  state, policy, out)
        return fingerprint, threaded

    return _kept_on_disk(run, parallel=threaded)


run_serial = _entry(threaded=False)
run_parallel = _entry(threaded=True)
