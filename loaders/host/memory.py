"""Moving bytes: block copies, and fixed byte shuffles, as LLVM instructions that numba has no words for.

Offsets are in elements of the array they belong to (bytes for uint8, pixels for uint32), never negative and never
checked: callers guarantee the ranges that the docstrings name.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_BYTE = ir.IntType(8)
_VECTOR = ir.VectorType(_BYTE, 16)
_WIDE = ir.VectorType(_BYTE, 64)


def _address(context, builder, array_type, array, offset, pointee):
    """Pointer to element `offset` of a 1-D contiguous array, typed as a pointer to `pointee`."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), pointee.as_pointer())


def _shuffled(builder, vector, places):
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), [ir.Constant(ir.IntType(32), k) for k in places])
    return builder.shuffle_vector(vector, ir.Constant(vector.type, [0] * vector.type.count), mask)


def _load(builder, pointer):
    loaded = builder.load(pointer)
    loaded.align = 1
    return loaded


def _store(builder, value, pointer):
    builder.store(value, pointer).align = 1


def _part(builder, vector, bits, index):
    """Element `index` of a 16-byte vector seen as elements of `bits` bits."""
    seen = builder.bitcast(vector, ir.VectorType(ir.IntType(bits), 128 // bits))
    return builder.extract_element(seen, ir.Constant(ir.IntType(32), index))


@intrinsic
def borrowed(typingctx, array):
    """The same array without an owner, for as long as its owner is held elsewhere.

    Numba counts references to owned arrays with atomic instructions wherever they are passed on, which for small images
    costs more than the work.
    """
    def code(context, builder, signature, args):
        view = context.make_array(signature.args[0])(context, builder, args[0])
        view.meminfo = ir.Constant(view.meminfo.type, None)
        view.parent = ir.Constant(view.parent.type, None)
        return view._getvalue()

    return array(array), code


@intrinsic
def copy(typingctx, target, target_offset, source, source_offset, count):
    """Copy `count` elements between arrays of one element type that do not overlap (memcpy)."""
    def code(context, builder, signature, args):
        target_type, _, source_type, _, _ = signature.args
        size = context.get_abi_sizeof(context.get_data_type(target_type.dtype))
        to = _address(context, builder, target_type, args[0], args[1], _BYTE)
        start = _address(context, builder, source_type, args[2], args[3], _BYTE)
        word = ir.IntType(64)
        function = builder.module.declare_intrinsic("llvm.memcpy", [to.type, start.type, word])
        amount = builder.mul(args[4], ir.Constant(word, size))
        builder.call(function, [to, start, amount, ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64, types.int64), code


@intrinsic
def get(typingctx, source, offset):
    """Element `offset` of an array, without numba's test for negative indices, which stands in the way of vectors."""
    def code(context, builder, signature, args):
        return builder.load(_address(context, builder, signature.args[0], args[0], args[1],
                                     context.get_data_type(signature.return_type)))

    return source.dtype(source, types.int64), code


@intrinsic
def put(typingctx, target, offset, element):
    """target[offset] = element, likewise; the element is cast to the array's type."""
    def code(context, builder, signature, args):
        pointee = context.get_data_type(signature.args[0].dtype)
        builder.store(args[2], _address(context, builder, signature.args[0], args[0], args[1], pointee))
        return context.get_dummy_value()

    return types.void(target, types.int64, target.dtype), code


@intrinsic
def get_pair(typingctx, source, offset):
    """Elements offset and offset + 1 of a uint32 array as one uint64, the first in the low half."""
    def code(context, builder, signature, args):
        return _load(builder, _address(context, builder, signature.args[0], args[0], args[1], ir.IntType(64)))

    return types.uint64(source, types.int64), code


@intrinsic
def prefetch(typingctx, source, offset):
    """Ask for the cache line at `offset` of a uint8 array, to be read soon; harmless at any address."""
    def code(context, builder, signature, args):
        start = _address(context, builder, signature.args[0], args[0], args[1], _BYTE)
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [start.type, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [start.type], kind)
        builder.call(function, [start, ir.Constant(word, 0), ir.Constant(word, 3), ir.Constant(word, 1)])
        return context.get_dummy_value()

    return types.void(source, types.int64), code


def _mirror(exact: bool):
    def typed(typingctx, target, target_offset, source, source_offset):
        def code(context, builder, signature, args):
            start = _address(context, builder, signature.args[2], args[2], args[3], _VECTOR)
            places = [3 * (4 - k // 3) + k % 3 for k in range(15)] + [15]
            mirrored = _shuffled(builder, _load(builder, start), places)
            if not exact:
                _store(builder, mirrored, _address(context, builder, signature.args[0], args[0], args[1], _VECTOR))
                return context.get_dummy_value()
            for byte, bits in ((0, 64), (8, 32), (12, 16), (14, 8)):
                at = builder.add(args[1], ir.Constant(ir.IntType(64), byte))
                to = _address(context, builder, signature.args[0], args[0], at, ir.IntType(bits))
                _store(builder, _part(builder, mirrored, bits, byte * 8 // bits), to)
            return context.get_dummy_value()

        return types.void(target, types.int64, source, types.int64), code

    return typed


@intrinsic
def mirror_5(typingctx, target, target_offset, source, source_offset):
    """Five rgb pixels in reverse order. Reads 16 bytes and writes 16: the last one is not the caller's."""
    return _mirror(False)(typingctx, target, target_offset, source, source_offset)


@intrinsic
def mirror_5_exact(typingctx, target, target_offset, source, source_offset):
    """Five rgb pixels in reverse order. Reads 16 bytes and writes 15."""
    return _mirror(True)(typingctx, target, target_offset, source, source_offset)


@intrinsic
def mirror_21(typingctx, target, target_offset, source, source_offset):
    """Twenty-one rgb pixels in reverse order. Reads 64 bytes and writes 64: the last one is not the caller's.

    One byte shuffle where the processor has it (AVX-512 VBMI), several elsewhere.
    """
    return _mirror_wide(False)(typingctx, target, target_offset, source, source_offset)


@intrinsic
def mirror_21_exact(typingctx, target, target_offset, source, source_offset):
    """Twenty-one rgb pixels in reverse order. Reads 64 bytes and writes 63."""
    return _mirror_wide(True)(typingctx, target, target_offset, source, source_offset)


def _mirror_wide(exact: bool):
    def typed(typingctx, target, target_offset, source, source_offset):
        def code(context, builder, signature, args):
            start = _address(context, builder, signature.args[2], args[2], args[3], _WIDE)
            loaded = _load(builder, start)
            places = [3 * (20 - k // 3) + k % 3 for k in range(63)]
            if not exact:
                mirrored = _shuffled(builder, loaded, [*places, 63])
                _store(builder, mirrored, _address(context, builder, signature.args[0], args[0], args[1], _WIDE))
                return context.get_dummy_value()
            # Two stores of 32 bytes that share one: 63 in all.
            for first in (0, 31):
                at = builder.add(args[1], ir.Constant(ir.IntType(64), first))
                half = _shuffled(builder, loaded, places[first:first + 32])
                to = _address(context, builder, signature.args[0], args[0], at, ir.VectorType(_BYTE, 32))
                _store(builder, half, to)
            return context.get_dummy_value()

        return types.void(target, types.int64, source, types.int64), code

    return typed


@intrinsic
def unpack_4(typingctx, target, target_offset, source, source_offset):
    """Four rgb pixels (uint8) to four rgbx words (uint32). Reads 16 bytes."""
    def code(context, builder, signature, args):
        start = _address(context, builder, signature.args[2], args[2], args[3], _VECTOR)
        places = [16 if k % 4 == 3 else k // 4 * 3 + k % 4 for k in range(16)]
        spread = _shuffled(builder, _load(builder, start), places)
        _store(builder, spread, _address(context, builder, signature.args[0], args[0], args[1], _VECTOR))
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), code


def _pack(exact: bool):
    def typed(typingctx, target, target_offset, source, source_offset):
        def code(context, builder, signature, args):
            start = _address(context, builder, signature.args[2], args[2], args[3], _VECTOR)
            places = [k // 3 * 4 + k % 3 for k in range(12)] + [16] * 4
            dense = _shuffled(builder, _load(builder, start), places)
            if not exact:
                _store(builder, dense, _address(context, builder, signature.args[0], args[0], args[1], _VECTOR))
                return context.get_dummy_value()
            for byte, bits in ((0, 64), (8, 32)):
                at = builder.add(args[1], ir.Constant(ir.IntType(64), byte))
                to = _address(context, builder, signature.args[0], args[0], at, ir.IntType(bits))
                _store(builder, _part(builder, dense, bits, byte * 8 // bits), to)
            return context.get_dummy_value()

        return types.void(target, types.int64, source, types.int64), code

    return typed


@intrinsic
def pack_4(typingctx, target, target_offset, source, source_offset):
    """Four rgbx words (uint32) to four rgb pixels (uint8). Writes 16 bytes: the last four are not the caller's."""
    return _pack(False)(typingctx, target, target_offset, source, source_offset)


@intrinsic
def pack_4_exact(typingctx, target, target_offset, source, source_offset):
    """Four rgbx words (uint32) to four rgb pixels (uint8). Writes 12 bytes."""
    return _pack(True)(typingctx, target, target_offset, source, source_offset)


@intrinsic
def half_bits(typingctx, number):
    """The bits (uint16) of a float32 rounded to float16."""
    def code(context, builder, signature, args):
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), code
