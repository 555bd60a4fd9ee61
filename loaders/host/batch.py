"""The entry points: a batch, or a range of it, on one thread or on several. The only kernels cached on disk.

Each is made by a function that closes over a fingerprint of all kernel sources: numba makes the closure part of the
cache's key, so that a change in any file is never served by code compiled from the old one.
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
from loaders.host.words import to_float16, to_float32

Program = namedtuple("Program", "sizes stages steps gates ranges tables paint")
Scratch = namedtuple(
    "Scratch", "active first second words padded places weights_x weights_y upper lower middle line matrix factor"
)
UINT8, FLOAT32, FLOAT16 = range(3)
READABLE = 16
FAR = np.uint64(1 << 62)
MOST_TAPS = 32


def _fingerprint() -> int:
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), here.parent / "common/counter_rng.py", here.parent / "policy/steps.py"]):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:7], "little")


@inner
def _scratch(program):
    """Scratch for one thread: sizes = [in height, in width, out height, out width, largest height, largest width]."""
    high, wide = program.sizes[4], program.sizes[5]
    count = high * wide
    return Scratch(
        np.empty(program.steps.shape[0], np.uint8),
        np.empty(3 * count + READABLE, np.uint8), np.empty(3 * count + READABLE, np.uint8),
        np.empty(count + 4, np.uint32), np.empty((high + MARGIN) * (wide + MARGIN), np.uint32),
        np.empty(wide, np.int32), np.empty(wide, np.int32), np.empty(wide, np.int32),
        np.empty(wide, np.uint64), np.empty(wide, np.uint64),
        np.empty(max(3 * count, 512), np.int32), np.empty(3 * (wide + MOST_TAPS), np.int32),
        np.empty((3, 3), np.float64), np.empty((3, 3), np.float64),
    )


@inner
def _lent_program(p):
    return Program(borrowed(p.sizes), borrowed(p.stages), borrowed(p.steps), borrowed(p.gates), borrowed(p.ranges),
                   borrowed(p.tables), borrowed(p.paint))


@inner
def _lent_scratch(s):
    return Scratch(
        borrowed(s.active), borrowed(s.first), borrowed(s.second), borrowed(s.words), borrowed(s.padded),
        borrowed(s.places), borrowed(s.weights_x), borrowed(s.weights_y), borrowed(s.upper), borrowed(s.lower),
        borrowed(s.middle), borrowed(s.line), borrowed(s.matrix), borrowed(s.factor),
    )


@inner
def _span(first, last, owned_source, owned_tail, pointers, indices, state, owned_program, kind, owned_bytes_out,
          floats_out, halves_out, normal):
    """Samples first..last - 1 of a batch, each in one pass; kind says which of the three flat outputs is written.

    tail: the end of source with READABLE bytes after it, for kernels that read ahead; empty if no image ends there.
    """
    owner = _scratch(owned_program)
    scratch, program = _lent_scratch(owner), _lent_program(owned_program)
    source, tail, bytes_out = borrowed(owned_source), borrowed(owned_tail), borrowed(owned_bytes_out)
    sizes = program.sizes
    count_in, count_out = 3 * sizes[0] * sizes[1], 3 * sizes[2] * sizes[3]
    owned_pixels = np.empty(count_out + READABLE, np.uint8)
    pixels = borrowed(owned_pixels)
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
        image, to = (bytes_out, i * count_out) if kind == UINT8 else (pixels, np.int64(0))
        render(image, to, origin, start, key, alternate, program, scratch)
        if kind == FLOAT32:
            to_float32(floats_out, i * count_out, pixels, sizes[2], normal)
        elif kind == FLOAT16:
            to_float16(halves_out, i * count_out, pixels, sizes[2], normal)
    # The owners are used last: what was borrowed from them lives until here.
    return owner.active.size + owned_pixels.size


def _entry(fingerprint: int, threaded: bool):
    def serial(source, tail, pointers, indices, state, program, kind, bytes_out, floats_out, halves_out, normal,
               parts):
        _span(np.int64(0), indices.size, source, tail, pointers, indices, state, program, kind, bytes_out, floats_out,
              halves_out, normal)
        return fingerprint

    def parallel(source, tail, pointers, indices, state, program, kind, bytes_out, floats_out, halves_out, normal,
                 parts):
        for part in prange(parts):
            _span(indices.size * part // parts, indices.size * (part + 1) // parts, source, tail, pointers, indices,
                  state, program, kind, bytes_out, floats_out, halves_out, normal)
        return fingerprint

    return _kept_on_disk(parallel, parallel=True) if threaded else _kept_on_disk(serial)


def _highest(pointers, indices):
    """The last byte offset that `indices` point to, -1 where one of them is no place in `pointers`.

    Offsets that are no int64 count as FAR, which lies beyond the end of any source.
    """
    last = np.int64(0)
    for i in indices:
        if i < 0 or i >= pointers.size:
            return np.int64(-1)
        last = max(last, np.int64(min(pointers[i], FAR)))
    return last


def _kept_on_disk(function, **options):
    """Compile with numba's disk cache, or without it where no folder of this machine can hold one."""
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        return njit(**options)(function)


_FINGERPRINT = _fingerprint()
run_serial = _entry(_FINGERPRINT, threaded=False)
run_parallel = _entry(_FINGERPRINT, threaded=True)
highest = _kept_on_disk(_highest)
