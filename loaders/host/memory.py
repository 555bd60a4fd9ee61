"""Moves bytes: block copies and fixed byte shuffles, as LLVM instructions that numba does not expose.

Offsets count elements of their array (bytes for uint8, pixels for uint32), are never negative and never checked:
callers guarantee the ranges in the docstrings. `unpack` and `pack` convert rgb bytes to rgbx words and back.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from loaders.host import layout
from loaders.host.jit import inner

BYTE = ir.IntType(8)
WORD = ir.IntType(64)


def _address(context, builder, array_type, array, offset, pointee):
    """Pointer to element `offset` of a 1-D contiguous array, typed as a pointer to `pointee`."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), pointee.as_pointer())


@intrinsic
def borrowed(typingctx, arrays):
    """The same array, or named tuple of arrays, without an owner; the owner must be held elsewhere.

    Numba counts references to owned arrays atomically at each call, which for small images costs more than the work.
    """
    def disowned(context, builder, array_type, array):
        view = context.make_array(array_type)(context, builder, array)
        view.meminfo = ir.Constant(view.meminfo.type, None)
        view.parent = ir.Constant(view.parent.type, None)
        return view._getvalue()

    def code(context, builder, signature, args):
        if isinstance(arrays, types.Array):
            return disowned(context, builder, arrays, args[0])
        owned = zip(arrays.types, cgutils.unpack_tuple(builder, args[0]), strict=True)
        return context.make_tuple(builder, arrays, [disowned(context, builder, *each) for each in owned])

    return arrays(arrays), code


@intrinsic
def copy(typingctx, target, target_offset, source, source_offset, count):
    """Copy `count` elements between arrays of one element type that do not overlap (memcpy)."""
    def code(context, builder, signature, args):
        size = context.get_abi_sizeof(context.get_data_type(target.dtype))
        to = _address(context, builder, target, args[0], args[1], BYTE)
        start = _address(context, builder, source, args[2], args[3], BYTE)
        function = builder.module.declare_intrinsic("llvm.memcpy", [to.type, start.type, WORD])
        amount = builder.mul(args[4], ir.Constant(WORD, size))
        builder.call(function, [to, start, amount, ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), code


@intrinsic
def get(typingctx, source, offset):
    """Element `offset` of an array, without numba's test for negative indices, which prevents vectorisation."""
    def code(context, builder, signature, args):
        return builder.load(_address(context, builder, source, args[0], args[1], context.get_data_type(source.dtype)))

    return source.dtype(source, types.int64), code


@intrinsic
def put(typingctx, target, offset, element):
    """target[offset] = element, also without that test; the element is cast to the array's type."""
    def code(context, builder, signature, args):
        pointee = context.get_data_type(target.dtype)
        builder.store(args[2], _address(context, builder, target, args[0], args[1], pointee))
        return context.get_dummy_value()

    return types.void(target, types.int64, target.dtype), code


@intrinsic
def get_pair(typingctx, source, offset):
    """Elements offset and offset + 1 of a uint32 array as one uint64, the first in the low half."""
    def code(context, builder, signature, args):
        pair = builder.load(_address(context, builder, source, args[0], args[1], WORD))
        pair.align = 1
        return pair

    return types.uint64(source, types.int64), code


@intrinsic
def prefetch(typingctx, source, offset):
    """Prefetch the cache line at `offset` of a uint8 array; harmless at any address."""
    def code(context, builder, signature, args):
        start, word = _address(context, builder, source, args[0], args[1], BYTE), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [start.type, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [start.type], kind)
        builder.call(function, [start, ir.Constant(word, 0), ir.Constant(word, 3), ir.Constant(word, 1)])
        return context.get_dummy_value()

    return types.void(source, types.int64), code


def _byte_shuffle(read_bytes: int, *stores: tuple[int, list[int]]):
    """A function (target, target_offset, source, source_offset) that reads `read_bytes` bytes and shuffles them.

    stores: (byte after the target's offset, indices of the bytes to store there); index `read_bytes` stands for 0.
    """
    @intrinsic
    def shuffle(typingctx, target, target_offset, source, source_offset):
        def code(context, builder, signature, args):
            start = _address(context, builder, source, args[2], args[3], ir.VectorType(BYTE, read_bytes))
            to = _address(context, builder, target, args[0], args[1], BYTE)
            loaded = builder.load(start)
            loaded.align = 1
            zeros = ir.Constant(loaded.type, [0] * read_bytes)
            for first, places in stores:
                mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
                shuffled = builder.shuffle_vector(loaded, zeros, mask)
                place = builder.bitcast(builder.gep(to, [ir.Constant(WORD, first)]), shuffled.type.as_pointer())
                builder.store(shuffled, place).align = 1
            return context.get_dummy_value()

        return types.void(target, types.int64, source, types.int64), code

    return shuffle


def _mirrored(pixels: int) -> list[int]:
    return [3 * (pixels - 1 - k // 3) + k % 3 for k in range(3 * pixels)]


_FIVE, _MANY, _DENSE = _mirrored(5), _mirrored(21), [k // 3 * 4 + k % 3 for k in range(12)]
# Five rgb pixels (uint8) in reverse order. Reads and writes 16 bytes, one too many.
mirror_5 = _byte_shuffle(16, (0, [*_FIVE, 15]))
# The same, writing 15 bytes: two stores of eight that share one.
mirror_5_exact = _byte_shuffle(16, (0, _FIVE[:8]), (7, _FIVE[7:]))
# 21 rgb pixels in reverse order, in one instruction with AVX-512 VBMI. Reads and writes 64 bytes, one too many.
mirror_21 = _byte_shuffle(64, (0, [*_MANY, 63]))
# The same, writing 63 bytes: two stores of 32 that share one.
mirror_21_exact = _byte_shuffle(64, (0, _MANY[:32]), (31, _MANY[31:]))
# Four rgb pixels (uint8) to four rgbx words (uint32). Reads 16 bytes.
unpack_4 = _byte_shuffle(16, (0, [16 if k % 4 == 3 else k // 4 * 3 + k % 4 for k in range(16)]))
# Four rgbx words (uint32) to four rgb pixels (uint8). Writes 16 bytes, four too many.
pack_4 = _byte_shuffle(16, (0, [*_DENSE, *[16] * 4]))
# The same, writing 12 bytes.
pack_4_exact = _byte_shuffle(16, (0, _DENSE[:8]), (8, _DENSE[8:]))


@inner
def unpack(target, source, start, count):
    """`count` rgb pixels from byte `start` of source to words 0.. of target. Reads up to 16 bytes past them."""
    k = 0
    while k + 4 <= count:
        unpack_4(target, k, source, start + 3 * k)
        k += 4
    while k < count:
        target[k] = _word(source, start + 3 * k)
        k += 1


@inner
def _word(source, start):
    r, g, b = np.uint32(source[start]), np.uint32(source[start + 1]), np.uint32(source[start + 2])
    return np.uint32(r | (g << 8) | (b << 16))


@inner
def pack(target, to, source, start, count):
    """`count` rgbx words from word `start` of source to rgb bytes from byte `to` of target; writes nothing else."""
    k = 0
    while k + 6 <= count:
        pack_4(target, to + 3 * k, source, start + k)
        k += 4
    while k + 4 <= count:
        pack_4_exact(target, to + 3 * k, source, start + k)
        k += 4
    while k < count:
        for c in range(3):
            target[to + 3 * k + c] = np.uint8((source[start + k] >> (8 * c)) & 255)
        k += 1


@inner
def fill_word(fill, paint):
    """The rgbx word of a fill: zero, or the mean colour, which starts the second half of `paint`."""
    return _word(paint, paint.size // 2) if fill == layout.MEAN else np.uint32(0)
