"""Stand-ins for the numpy names in a pickle that is read as data; numpy's functions are not called."""

import re
from collections.abc import Callable

import numpy as np

_LONGEST_TEXT = 256
_MODULES = {"numpy": ("ndarray", "dtype"), "_codecs": ("encode",)}
for _spelling in ("numpy.core", "numpy._core"):
    _MODULES[f"{_spelling}.multiarray"] = ("_reconstruct", "scalar")
    _MODULES[f"{_spelling}.numeric"] = ("_frombuffer",)


class Refused(ValueError):
    """A pickle is not read, and why."""


class Name(str):
    """An allowed name from a GLOBAL opcode, without its module."""


class Dtype:
    """A plain numeric dtype, built in two steps as in pickles: kind and size, then byte order."""

    def __init__(self, spec: object, align: object = 0, copy: object = 1):
        match = re.fullmatch(r"([<>|=]?)([biuf][1248])", text_of(spec))
        if not match:
            raise Refused(f"dtype {text_of(spec)[:20]!r} is not a plain number's")
        self.order, self.code = match[1] or "=", match[2]

    def build(self, state: tuple) -> None:
        order = text_of(state[1])
        if order not in ("<", ">", "|", "=") or any(part not in (None, -1, 0) for part in state[2:]):
            raise Refused("a dtype with fields is not a plain number's")
        self.order = order

    @property
    def numpy(self) -> np.dtype:
        return np.dtype(("" if self.order == "|" else self.order) + self.code)


class Array:
    """An array, complete (content, dtype, shape, order) or first empty, then filled; only `value` reads the content."""

    def __init__(self, *parts: object):
        self.parts = parts

    def build(self, state: tuple) -> None:
        *_, shape, dtype, column_major, content = state
        self.parts = content, dtype, shape, "F" if column_major else "C"

    @property
    def value(self) -> np.ndarray:
        """Read-only. Raises Refused or ValueError if the parts do not make an array of numbers."""
        content, dtype, shape, order = self.parts or (None, None, None, None)
        if not isinstance(dtype, Dtype) or not isinstance(shape, tuple) or not isinstance(content, str | bytes):
            raise Refused("an array of something other than numbers")
        raw = content.encode("latin-1") if isinstance(content, str) else content
        return np.frombuffer(raw, dtype.numpy).reshape(shape, order="F" if text_of(order) == "F" else "C")


def text_of(value: object) -> str:
    """A name or key as str; long ones are refused, because a file may repeat one a million times."""
    if not isinstance(value, str | bytes) or len(value) > _LONGEST_TEXT:
        raise Refused(f"a long string or a {type(value).__name__} where a name belongs")
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _reconstruct(array_type: object, shape: object, code: object) -> Array:
    if array_type != Name("ndarray") or shape != (0,):
        raise Refused("an array that is not built the usual way")
    return Array()


def _scalar(dtype: object, content: object) -> int | float | bool:
    return Array(text_of(content), dtype, (1,), "C").value.item()


def _encode(text: object, encoding: object) -> str:
    """Bytes as Python 3 writes them for Python 2. They stay text here; `Array.value` encodes them."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("_codecs.encode of something other than Latin-1 text")
    return text


_CALLS: dict[str, Callable] = {"_reconstruct": _reconstruct, "_frombuffer": Array, "scalar": _scalar, "dtype": Dtype,
                               "encode": _encode}


def named(module: str, name: str) -> Name:
    """The result of a GLOBAL opcode; Refused for any name that plain data does not need."""
    if name not in _MODULES.get(module, ()):
        raise Refused(f"it asks for {f'{module}.{name}'[:80]!r}; only plain data and numpy arrays are read")
    return Name(name)


def call(name: object, arguments: object) -> object:
    """The result of a REDUCE opcode: of the stand-in with that name."""
    if not isinstance(name, Name) or name not in _CALLS or not isinstance(arguments, tuple):
        raise Refused("it calls something that is not a function")
    return _CALLS[name](*arguments)
