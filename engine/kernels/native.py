"""Compiles `norm_act.cpp` for this processor, once per machine, and loads it."""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from ctypes import c_double, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path

from engine.common.environment import cpuinfo
from engine.common.errors import EngineError
from engine.common.text import one_line

SOURCE = Path(__file__).with_name("norm_act.cpp")
CACHE = Path("~/.cache/cadence/kernels")
# No option here lets the compiler change the order of sums.
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi",
         "-shared", "-fPIC", *(["-mprefer-vector-width=512"] if platform.machine() in ("x86_64", "AMD64") else []))
SIGNATURES = {
    "norm_act_forward": [c_void_p] * 4 + [c_int] * 3 + [c_int64] * 4 + [c_void_p] * 6 + [c_double] * 2 + [c_void_p],
    "norm_act_backward": [c_void_p] * 5 + [c_int] * 3 + [c_int64] * 4 + [c_void_p] * 7,
    "act_forward": [c_void_p] * 2 + [c_int] * 2 + [c_int64],
    "act_backward": [c_void_p] * 3 + [c_int] * 2 + [c_int64],
}


@cache
def library() -> ctypes.CDLL:
    """The compiled functions, kept in CACHE, or in no file where that cannot be.

    EngineError where there is no C++ compiler, it fails, or its result cannot be loaded.
    """
    # Not clang: its OpenMP would start threads beside torch's, and obey none of torch's settings.
    try:
        wanted = shlex.split(os.environ.get("CXX", "")) or [name for name in ("g++", "c++") if shutil.which(name)][:1]
    except ValueError as error:
        raise EngineError(f"the environment's CXX is no command ({one_line(error)}): correct it, or leave it out"
                          ) from None
    if not wanted or not (found := shutil.which(wanted[0])):
        raise EngineError("there is no C++ compiler: install g++ 11 or later")
    compiler = [found, *wanted[1:]]
    name = f"norm_act_{_key(compiler)}.so"
    try:
        return _kept(CACHE.expanduser() / name, compiler)
    except (OSError, RuntimeError, AttributeError):
        # There is no home, it cannot be written, or nothing in it may be executed.
        pass
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _kept(Path(folder) / name, compiler)
    except (OSError, AttributeError) as error:
        raise EngineError(f"the compiled kernel cannot be loaded ({one_line(error)}): set TMPDIR to a folder that may "
                          "hold programs") from None


def _kept(path: Path, compiler: list[str]) -> ctypes.CDLL:
    """The functions in `path`, which is written where it is absent or damaged; OSError where it cannot be."""
    if path.exists():
        try:
            return _loaded(path)
        except (OSError, AttributeError):
            path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        _run(*compiler, *FLAGS, "-o", str(part), "-x", "c++", str(SOURCE))
        os.replace(part, path)
    return _loaded(path)


def _loaded(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    for name, arguments in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, None
    loaded.scratch_doubles.argtypes, loaded.scratch_doubles.restype = [c_int64], c_int64
    return loaded


def _key(compiler: list[str]) -> str:
    """A digest of what the compiled file depends on; the compiler is known by its file, which takes no process."""
    file = Path(compiler[0]).resolve().stat()
    processor = cpuinfo("flags") or cpuinfo("Features") or platform.processor()
    facts = (compiler, file.st_size, file.st_mtime_ns, FLAGS, processor)
    return hashlib.sha256(SOURCE.read_bytes() + repr(facts).encode()).hexdigest()[:32]


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        said = next((line for line in lines if "error" in line), lines[0] if lines else f"status {error.returncode}")
        raise EngineError(f"{command[0]} failed ({' '.join(said.split())[:200]}): install g++ 11 or later") from None
