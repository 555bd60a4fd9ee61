"""Read the data in a pickle without running it: a machine that knows containers, strings, numbers and numpy arrays.

Python's unpickler calls any function that a file names and trusts every size in it. This machine steps through the
opcodes (pickletools only tokenises) and builds plain values. The few names that a pickled array needs have stand-ins
(pickled_arrays.py), so a file reaches neither numpy nor the import system. A file's length bounds its cost: sizes are
checked against the bytes present, operations are counted, and only short strings may be keys, because hashing nested
tuples can take forever.
"""

import pickletools
from io import BytesIO
from pathlib import Path

from loaders.common.errors import DataError
from loaders.sources.pickled_arrays import Array, Dtype, Refused, call, named, text_of

MAX_OPERATIONS = 2_000_000
MAX_ENTRIES = 64
_MARK = object()
_LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BYTEARRAY8"})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": _MARK}


def _pairs(items: list) -> dict:
    if len(items) % 2:
        raise Refused("a dictionary with a key that has no value")
    return {text_of(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


# Opcode -> how many operands it takes from the stack (None: all since the mark), and the function that combines them.
_MAKE = {"EMPTY_LIST": (0, list), "LIST": (None, list), "EMPTY_DICT": (0, dict), "DICT": (None, _pairs),
         "TUPLE": (None, tuple), "TUPLE1": (1, tuple), "TUPLE2": (2, tuple), "TUPLE3": (3, tuple),
         "STACK_GLOBAL": (2, lambda names: named(*map(text_of, names))), "REDUCE": (2, lambda items: call(*items))}
# The same for opcodes that then change the top of the stack, which must be of these types.
_CHANGE = {"APPEND": (1, list, list.extend), "APPENDS": (None, list, list.extend),
           "SETITEM": (2, dict, lambda top, items: top.update(_pairs(items))),
           "SETITEMS": (None, dict, lambda top, items: top.update(_pairs(items))),
           "BUILD": (1, (Array, Dtype), lambda top, items: top.build(*items))}


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self) -> None:
        self.stack: list = []
        self.memo: dict[int, object] = {}

    def top(self, kinds: type | tuple[type, ...]) -> object:
        if not self.stack or not isinstance(self.stack[-1], kinds):
            raise Refused("an operation on something that does not have it")
        return self.stack[-1]

    def take(self, count: int | None) -> list:
        """Remove the last `count` items from the stack; None: the mark and the items after it."""
        if count is None:
            marked = (back for back, item in enumerate(reversed(self.stack), 1) if item is _MARK)
            return self.take(next(marked, len(self.stack) + 1))[1:]
        if len(self.stack) < count:
            raise Refused("an operation without its operands")
        start = len(self.stack) - count
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def run(self, name: str, argument: object) -> None:
        """Execute one opcode other than STOP."""
        if name in _LITERALS:
            self.stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _MAKE:
            count, make = _MAKE[name]
            self.stack.append(make(self.take(count)))
        elif name in _CHANGE:
            count, kinds, change = _CHANGE[name]
            items = self.take(count)
            change(self.top(kinds), items)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = self.top(object)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "GLOBAL":
            self.stack.append(named(*argument.split(" ", 1)))
        elif name not in ("PROTO", "FRAME"):
            raise Refused(f"it uses the opcode {name}; only plain data and numpy arrays are read")


def loads(content: bytes, path: str | Path) -> dict[str, object]:
    """The dictionary in a pickle of any protocol, of Python 2 or 3, with its keys as text.

    Values are lists, tuples, dictionaries, strings, bytes, numbers, or read-only numpy arrays of numbers. Python 2's
    byte strings become str (Latin-1). Raises DataError naming path if the content is damaged, is not a dictionary, or
    asks for anything but data; no name in the file is imported and nothing in it is called.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(BytesIO(content))):
            if opcode.name == "STOP":
                break
            if count >= MAX_OPERATIONS:
                raise Refused(f"it has more than {MAX_OPERATIONS:,} operations")
            machine.run(opcode.name, argument)
        found = machine.top(dict)
        if len(found) > MAX_ENTRIES:
            raise Refused(f"it has more than {MAX_ENTRIES} entries")
        return {key: value.value if isinstance(value, Array) else value for key, value in found.items()}
    except Refused as error:
        raise unusable(path, f"not read: {error}") from error
    except Exception as error:
        # A damaged file can cause any error: ValueError, KeyError, OverflowError, MemoryError, ...
        kind = type(error).__name__
        raise unusable(path, f"is not a readable pickle, it is damaged or cut short ({kind})") from error


def unusable(path: str | Path, what: str) -> DataError:
    return DataError(f"{path}: {what}; put the official file in its place")
