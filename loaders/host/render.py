"""One sample from its bytes in the beton to its bytes in the batch: the stages of a program, run for one key."""

import numpy as np

from loaders.host import layout as at
from loaders.host.covers import cover
from loaders.host.draws import mark_active
from loaders.host.filters import blur, sharpen, shrink
from loaders.host.jit import inlined
from loaders.host.memory import copy
from loaders.host.moves import homography, whole_move
from loaders.host.photo import change
from loaders.host.shifts import shift
from loaders.host.warp import pad, warp
from loaders.host.words import pack, unpack


@inlined
def render(target, to, source, start, key, alternate, program, scratch):
    """Write the rgb bytes of one sample to target[to:]; source[start:] holds its rgb bytes and 16 readable ones more.

    program and scratch are the named tuples of `kernels.batch`; key is the sample's, alternate its flip bit. The image
    is in bytes (in `source`, then in scratch, at last in `target`) or in scratch.words, whichever the next stage needs.
    """
    sizes, stages, steps, gates, ranges, tables, paint = program
    active, words = scratch.active, scratch.words
    mark_active(active, steps, gates, key, alternate)
    final = _last_before_covers(stages, active)
    height, width = sizes[0], sizes[1]
    in_words, in_first, zero = False, False, np.int64(0)
    if final < 0:
        copy(target, to, source, start, 3 * height * width)
    for s in range(stages.shape[0]):
        if not _acts(s, stages, active):
            continue
        t, kind, fill = stages[s, at.STAGE_FIRST], stages[s, at.STAGE_KIND], stages[s, at.STAGE_FILL]
        out_height, out_width = stages[s, at.STAGE_OUT_H], stages[s, at.STAGE_OUT_W]
        whole, mirrored, dx, dy = False, False, 0, 0
        if kind == at.MOVE:
            whole, mirrored, dx, dy = whole_move(stages, s, steps, active, key)
        if whole or kind == at.COVER:
            if in_words and s <= final:
                pack(scratch.first, zero, words, zero, height * width)
                source, start, in_words, in_first = scratch.first, zero, False, True
            board, corner = (scratch.second, zero) if in_first else (scratch.first, zero)
            if s >= final:
                board, corner = target, to
            if kind == at.MOVE:
                shift(board, corner, source, start, height, width, mirrored, dx, dy, fill, paint)
            else:
                if s < final:
                    copy(board, corner, source, start, 3 * height * width)
                cover(board, corner, steps, t, tables, key, paint)
            source, start, in_first = board, corner, not in_first
        else:
            if not in_words:
                unpack(words, source, start, height * width)
                in_words = True
            written = False
            if kind == at.MOVE:
                affine, enlarged = homography(scratch.matrix, scratch.factor, stages, s, steps, ranges, active, key)
                pad(scratch.padded, words, height, width, fill, paint)
                written = s == final
                warp(written, target, to, scratch, height, width, out_height, out_width, affine, enlarged, fill)
            elif kind == at.SHRINKING:
                shrink(words, scratch.middle, scratch.line, height, width, steps, t, tables)
            elif steps[t, at.STEP_OPCODE] == at.BLUR:
                blur(words, scratch.middle, scratch.line, height, width, steps, t, tables, key)
            elif steps[t, at.STEP_OPCODE] == at.SHARPNESS:
                sharpen(words, scratch.middle, scratch.line, height, width, steps, t, ranges, key)
            else:
                change(words, scratch.middle, height * width, steps, t, ranges, key)
            if s == final and not written:
                pack(target, to, words, zero, out_height * out_width)
        height, width = out_height, out_width


@inlined
def _acts(s, stages, active):
    """Whether any step of stage s acts on this sample."""
    for t in range(stages[s, at.STAGE_FIRST], stages[s, at.STAGE_LAST]):
        if active[t] != 0:
            return True
    return False


@inlined
def _last_before_covers(stages, active):
    """The last stage that acts and is no cover, -1 for none: what it gives, and all after it, is in the batch."""
    for s in range(stages.shape[0] - 1, -1, -1):
        if stages[s, at.STAGE_KIND] != at.COVER and _acts(s, stages, active):
            return s
    return -1
