"""Compiles `norm_act.cpp` for this processor, once per machine, and loads it."""

import ctypes
import hashlib
import os
import shutil
import subprocess
from ctypes import c_double, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import write_atomic

SOURCE = Path(__file__).with_name("norm_act.cpp")
CACHE = Path("~/.cache/cadence/kernels")
# No option here lets the compiler change the order of sums.
FLAGS = ("-std=c++20", "-O3", "-march=native", "-mprefer-vector-width=512", "-fopenmp", "-fno-math-errno",
         "-fno-trapping-math", "-Wno-psabi", "-shared", "-fPIC", "-x", "c++")
SIGNATURES = {
    "norm_act_forward": [c_void_p] * 4 + [c_int] * 3 + [c_int64] * 4 + [c_void_p] * 6 + [c_double] * 2 + [c_void_p],
    "norm_act_backward": [c_void_p] * 5 + [c_int] * 3 + [c_int64] * 4 + [c_void_p] * 7,
    "act_forward": [c_void_p] * 2 + [c_int] * 2 + [c_int64],
    "act_backward": [c_void_p] * 3 + [c_int] * 2 + [c_int64],
}


@cache
def library() -> ctypes.CDLL:
    """The compiled functions; EngineError where there is no C++ compiler, or it fails."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise EngineError("train.fused_norm=true needs a C++ compiler, and there is none: install g++, or leave it out")
    # The macros name the compiler's version and the processor's instructions.
    macros = _output(compiler, "-march=native", "-dM", "-E", "-x", "c++", os.devnull)
    key = hashlib.sha256(b"\0".join([SOURCE.read_bytes(), " ".join(FLAGS).encode(), macros])).hexdigest()[:32]
    path = CACHE.expanduser() / f"norm_act_{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            _output(compiler, *FLAGS, "-o", str(part), str(SOURCE))
            write_atomic(path, part.read_bytes())
        finally:
            part.unlink(missing_ok=True)
    loaded = ctypes.CDLL(str(path))
    for name, arguments in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, None
    loaded.scratch_doubles.argtypes, loaded.scratch_doubles.restype = [c_int64], c_int64
    return loaded


def _output(*command: str) -> bytes:
    try:
        return subprocess.run(command, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error).encode()).decode(errors="replace").strip()
        raise EngineError(f"train.fused_norm=true: {command[0]} failed ({said.splitlines()[0][:200]}): install g++ 11 "
                          "or later, or leave it out") from None
