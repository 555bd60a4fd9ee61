"""Renders one sample, from its bytes in the beton to its bytes in the batch: a policy's passes, run for one key."""

import numpy as np

from loaders.host import layout
from loaders.host.covers import cover
from loaders.host.draws import mark_active
from loaders.host.filters import blur, by_histogram, sharpness, shrink
from loaders.host.homography import homography, whole_move
from loaders.host.jit import inlined
from loaders.host.memory import copy, pack, unpack
from loaders.host.photo import change
from loaders.host.shifts import shift
from loaders.host.warp import pad, warp


@inlined
def render(target, to, source, start, key, alternate, policy, scratch):
    """Write the rgb bytes of one sample to target[to:]; source[start:] holds its rgb bytes and 16 more readable bytes.

    policy and scratch are the named tuples of `loaders.host.batch`; key is the sample's, alternate its flip bit. The
    image is in bytes (in `source`, scratch, finally `target`) or in scratch.words, as the next pass needs.
    """
    sizes, passes, ops, gates, ranges, tables, paint = policy
    active, words = scratch.active, scratch.words
    final = mark_active(active, passes, ops, gates, key, alternate)
    height, width = sizes[0], sizes[1]
    in_words, in_first, zero = False, False, np.int64(0)
    if final < 0:
        copy(target, to, source, start, 3 * height * width)
    for pass_ in range(passes.shape[0]):
        if not _acts(pass_, passes, active):
            continue
        kind, fill = passes[pass_, layout.PASS_KIND], passes[pass_, layout.PASS_FILL]
        op = passes[pass_, layout.PASS_FIRST]
        opcode = ops[op, layout.OP_CODE]
        out_height, out_width = passes[pass_, layout.PASS_OUT_H], passes[pass_, layout.PASS_OUT_W]
        whole, mirrored, dx, dy = False, False, 0, 0
        if kind == layout.MOVE:
            whole, mirrored, dx, dy = whole_move(passes, pass_, ops, active, key)
        if whole or kind == layout.COVER:
            if in_words and pass_ <= final:
                pack(scratch.first, zero, words, zero, height * width)
                source, start, in_words, in_first = scratch.first, zero, False, True
            board, corner = (scratch.second, zero) if in_first else (scratch.first, zero)
            if pass_ >= final:
                board, corner = target, to
            if kind == layout.MOVE:
                shift(board, corner, source, start, height, width, mirrored, dx, dy, fill, paint)
            else:
                if pass_ < final:
                    copy(board, corner, source, start, 3 * height * width)
                cover(board, corner, ops, op, tables, key, paint)
            source, start, in_first = board, corner, not in_first
        else:
            if not in_words:
                unpack(words, source, start, height * width)
                in_words = True
            written = False
            if kind == layout.MOVE:
                affine, enlarged = homography(scratch.matrix, scratch.factor, passes, pass_, ops, ranges, active, key)
                pad(scratch.padded, words, height, width, fill, paint)
                written = pass_ == final
                warp(written, target, to, scratch, height, width, out_height, out_width, affine, enlarged, fill)
            elif kind == layout.SHRINKING:
                shrink(words, scratch.middle, scratch.line, height, width, ops, op, tables)
            elif opcode == layout.BLUR:
                blur(words, scratch.middle, scratch.line, height, width, ops, op, tables, key)
            elif opcode == layout.SHARPNESS:
                sharpness(words, scratch.middle, scratch.line, height, width, ops, op, ranges, key)
            elif opcode == layout.EQUALIZE or opcode == layout.AUTOCONTRAST:
                by_histogram(words, height * width, opcode == layout.EQUALIZE, scratch.middle)
            else:
                change(words, height * width, ops, op, ranges, key)
            if pass_ == final and not written:
                pack(target, to, words, zero, out_height * out_width)
        height, width = out_height, out_width


@inlined
def _acts(pass_, passes, active):
    """Whether any op of the pass acts on this sample."""
    for op in range(passes[pass_, layout.PASS_FIRST], passes[pass_, layout.PASS_LAST]):
        if active[op] != 0:
            return True
    return False
