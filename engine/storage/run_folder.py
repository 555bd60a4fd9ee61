"""The run folder: where it is, and what is written into it before the first step."""

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from engine.common.environment import commit, hardware, versions
from engine.common.files import expand, make_folder, write_atomic, write_json


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


def without_folder(command: str) -> str:
    """A run's command without its folder, which is taken: so the command can be run again."""
    return shlex.join(word for word in shlex.split(command) if not word.startswith("--run.folder="))


def write_start(folder: Path, recipe_name: str, nested_values: dict, command: str, device: torch.device,
                data: dict, folders: Mapping[str, Path], processes: int = 1, launch: str = "") -> None:
    """Write config.yaml, command.txt (without the folder) and env.json. data: the checksum of each split's beton;
    folders: of each split, where each has its own; launch: torchrun's id."""
    import yaml

    head = f"# python -m engine.train --recipe {recipe_name} --config-file THIS\n"
    write_atomic(folder / "config.yaml", (head + yaml.safe_dump(nested_values, sort_keys=False)).encode())
    # A folder's name may hold bytes that are no text.
    write_atomic(folder / "command.txt", (without_folder(command) + "\n").encode(errors="surrogateescape"))
    env = {"recipe": recipe_name, "versions": versions(), "hardware": hardware(device), "commit": commit(),
           "argv": sys.argv, "data": data, "processes": processes, "launch": launch}
    if folders:
        env["folders"] = {split: str(place) for split, place in folders.items()}
    write_json(folder / "env.json", env)
