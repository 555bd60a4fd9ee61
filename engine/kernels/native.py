"""Compiles `norm_act.cpp` for this processor, once per machine, and loads it."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from ctypes import c_double, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path

from engine.common.environment import cpuinfo
from engine.common.errors import EngineError
from engine.common.files import make_folder, write_atomic

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
    compiler = next(filter(None, map(shutil.which, [os.environ.get("CXX", ""), "c++", "g++", "clang++"])), None)
    if not compiler:
        raise EngineError("there is no C++ compiler: install g++ 11 or later")
    path = CACHE.expanduser() / f"norm_act_{_key(compiler)}.so"
    if not path.exists():
        make_folder(path.parent)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            _run(compiler, *FLAGS, "-o", str(part), str(SOURCE))
            write_atomic(path, part.read_bytes())
        finally:
            part.unlink(missing_ok=True)
    loaded = ctypes.CDLL(str(path))
    for name, arguments in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, None
    loaded.scratch_doubles.argtypes, loaded.scratch_doubles.restype = [c_int64], c_int64
    return loaded


def _key(compiler: str) -> str:
    """What the compiled file depends on, as text; looked up, for starting the compiler would take longer."""
    try:
        known = Path(compiler).resolve().stat()
    except OSError as error:
        raise EngineError(f"the C++ compiler {compiler} cannot be used ({error.strerror}): install g++ 11 or later"
                          ) from None
    facts = (compiler, known.st_size, known.st_mtime_ns, FLAGS, cpuinfo("flags") or platform.processor())
    return hashlib.sha256(SOURCE.read_bytes() + repr(facts).encode()).hexdigest()[:32]


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error).encode()).decode(errors="replace").strip()
        raise EngineError(f"{command[0]} failed ({said.splitlines()[0][:200]}): install g++ 11 or later") from None
