"""The run folder: where it lies, what is written into it before the first step."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch

from engine.files import expand, make_folder, write_atomic, write_json

PACKAGES = ("cadence-train", "torch", "torchvision", "ffcv", "fastargs", "numba", "numpy")


def open_folder(wanted: str, recipe_name: str) -> Path:
    """Create the folder of a new run: `wanted`, or runs/<recipe>/<time>."""
    if wanted:
        folder = expand(wanted)
    else:
        stem, number = Path("runs") / recipe_name / time.strftime("%Y%m%d-%H%M%S"), 1
        folder = stem
        while folder.exists():
            number += 1
            folder = stem.with_name(f"{stem.name}-{number}")
    make_folder(folder)
    for part in ("checkpoints", "plots"):
        make_folder(folder / part)
    return folder


def versions() -> dict[str, str]:
    """Installed versions by importlib.metadata (FFCV's own `__version__` is wrong)."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: torch.device) -> dict[str, object]:
    """What a timing depends on: processor, cores this process may use, torch's threads, GPU."""
    facts: dict[str, object] = {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
        facts["gpu_memory_gib"] = round(torch.cuda.get_device_properties(device).total_memory / 2**30, 1)
        facts["cuda"] = torch.version.cuda
    return facts


def processor_name() -> str:
    """The processor's name and, where the name is vague, its vector units."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def commit() -> str:
    """The commit of the code that runs, "-dirty" where files differ from it; "unknown" outside a checkout."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], check=True,
                              cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def without_folder(command: str) -> str:
    """A run's command without its folder: that one is taken, and the command is there to run it again."""
    return shlex.join(word for word in shlex.split(command) if not word.startswith("--run.folder="))


def write_start(folder: Path, recipe_name: str, nested_values: dict, command: str, device: torch.device,
                data: dict, processes: int = 1, launch: str = "") -> None:
    """config.yaml, command.txt (without the folder) and env.json; `data` names the betons and their checksums, `launch`
    is torchrun's id."""
    import yaml

    head = f"# python -m engine.train --recipe {recipe_name} --config-file THIS\n"
    write_atomic(folder / "config.yaml", (head + yaml.safe_dump(nested_values, sort_keys=False)).encode())
    write_atomic(folder / "command.txt", (without_folder(command) + "\n").encode())
    env = {"recipe": recipe_name, "versions": versions(), "hardware": hardware(device), "commit": commit(),
           "argv": sys.argv, "data": data, "processes": processes, "launch": launch}
    write_json(folder / "env.json", env)
