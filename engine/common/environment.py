"""The versions, hardware and commit behind a measured result."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import torch

PACKAGES = ("cadence-train", "torch", "torchvision", "ffcv", "fastargs", "numba", "numpy")


def versions() -> dict[str, str]:
    """Installed versions by importlib.metadata (FFCV's own `__version__` is wrong)."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def hardware(device: torch.device) -> dict[str, object]:
    """The hardware behind a timing: processor, usable cores, torch's threads, GPU."""
    facts: dict[str, object] = {"processor": processor_name(), "cores": len(os.sched_getaffinity(0)),
                                "torch_threads": torch.get_num_threads(), "platform": platform.platform()}
    if device.type == "cuda":
        memory_gib = torch.cuda.get_device_properties(device).total_memory / 2**30
        facts |= {"gpu": torch.cuda.get_device_name(device), "gpu_memory_gib": round(memory_gib, 1),
                  "cuda": torch.version.cuda}
    return facts


def processor_name() -> str:
    """The processor's name and vector units."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def commit() -> str:
    """The commit of the running code, with "-dirty" if files differ from it; "unknown" outside a checkout."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], check=True,
                              cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
