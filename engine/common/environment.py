"""The versions, hardware and commit behind a measured result."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import torch

# What makes matrix products in half precision fast, as /proc/cpuinfo calls it.
MATRIX_FLAGS = {"amx_bf16": "AMX bf16", "amx_fp16": "AMX fp16", "avx512_bf16": "AVX-512 bf16",
                "avx512_fp16": "AVX-512 fp16", "bf16": "bf16"}
PACKAGES = ("cadence-train", "torch", "torchvision", "ffcv", "fastargs", "numba", "numpy")


def versions() -> dict[str, str]:
    """Installed versions by importlib.metadata (FFCV's own `__version__` is wrong)."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def hardware(device: torch.device) -> dict[str, object]:
    """The hardware behind a timing: processor, its matrix instructions, usable cores, torch's threads, GPU."""
    facts: dict[str, object] = {"processor": processor_name(), "matrix_instructions": matrix_instructions(),
                                "cores": len(os.sched_getaffinity(0)), "torch_threads": torch.get_num_threads(),
                                "platform": platform.platform()}
    if device.type == "cuda":
        memory_gib = torch.cuda.get_device_properties(device).total_memory / 2**30
        facts |= {"gpu": torch.cuda.get_device_name(device), "gpu_memory_gib": round(memory_gib, 1),
                  "cuda": torch.version.cuda}
    return facts


def processor_name() -> str:
    """The processor's name and vector units."""
    name = cpuinfo("model name") or platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def matrix_instructions() -> list[str]:
    """The processor's instructions for matrix products in half precision, by MATRIX_FLAGS."""
    flags = (cpuinfo("flags") or cpuinfo("Features")).split()
    return [name for flag, name in MATRIX_FLAGS.items() if flag in flags]


def cpuinfo(entry: str, file: Path = Path("/proc/cpuinfo")) -> str:
    """The first processor's `entry`; "" where the system does not say."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == entry), "")


def commit() -> str:
    """The commit of the running code, with "-dirty" if files differ from it; "unknown" outside a checkout."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], check=True,
                              cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
