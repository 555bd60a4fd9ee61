"""Reads the weights in a file as tensors by name, without running any code in it.

The file is a `.safetensors` file, a Cadence checkpoint, or written by torch.save and read with weights_only.
"""

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from engine.common.errors import EngineError
from engine.common.files import expand
from engine.common.text import one_line
from engine.storage import checkpoint

SUFFIXES = (".pt", ".pth", ".safetensors")
# The keys of the weights in files that hold more than weights.
PLACES = ("state_dict", "model", "model_state_dict")
# The prefixes that DistributedDataParallel and torch.compile add to every name.
WRAPPERS = ("module.", "_orig_mod.")
# torch.load's exceptions for files that it cannot or will not read.
UNREADABLE = (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError)


def is_file_name(weights: str) -> bool:
    """Whether `weights` is a file's name: it has a folder or one of SUFFIXES, or the file exists."""
    path = expand(weights)
    return path.suffix in SUFFIXES or "/" in weights or os.sep in weights or path.is_file()


def read(path: Path) -> dict[str, torch.Tensor]:
    """The weights in the file at `path` by name, on the CPU, without the prefixes of wrappers.

    A Cadence checkpoint gives the weights that its run evaluates; a file by torch.save its state dict, plain or under
    one of PLACES. Raises EngineError for a file that is missing, damaged, or has no state dict of ordinary tensors.
    """
    if path.is_dir():
        raise EngineError(f"model.weights={path} is a folder: give a file in it, such as checkpoints/last.pt of a run")
    if path.exists() and not path.is_file():
        raise EngineError(f"model.weights={path} is not a regular file: give a .pt, .pth or .safetensors file")
    try:
        path.stat()
        content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except OSError as error:
        raise EngineError(f"model.weights={path} cannot be read ({error.strerror or error}): give a .pt, .pth or "
                          ".safetensors file") from None
    if isinstance(content, Mapping):
        content = next((content[place] for place in PLACES if isinstance(content.get(place), Mapping)), content)
    if not isinstance(content, Mapping) or not content or not all(
            isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in content.items()):
        raise EngineError(f"model.weights={path} holds no state dict: give a file of tensors by name, on their own or "
                          f"under one of {', '.join(PLACES)}")
    odd = next((name for name, tensor in content.items() if not plain(tensor)), None)
    if odd:
        raise EngineError(f"model.weights={path} holds {odd}, which is not a plain array of finite real numbers: give "
                          "a file of ordinary weights")
    while wrapper := next((prefix for prefix in WRAPPERS if all(name.startswith(prefix) for name in content)), ""):
        content = {name.removeprefix(wrapper): tensor for name, tensor in content.items()}
    return dict(content)


def plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is dense, in host memory, and holds finite real numbers."""
    dense = tensor.layout is torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    # A number too large for float32 would become infinite in the network.
    return dense and not tensor.is_complex() and bool(torch.isfinite(tensor.float()).all())


def _read_torch(path: Path) -> Any:
    with path.open("rb") as file:
        file.seek(-min(checkpoint.TAIL_BYTES, path.stat().st_size), os.SEEK_END)
        ours = file.read().startswith(checkpoint.MAGIC)
    if ours:
        return checkpoint.measured_weights(checkpoint.load(path))
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        why = (f"is refused, it holds more than tensors and values: {named.group(1)}; save its state dict alone"
               if named else "is damaged or was not written by torch.save: give another file")
        raise EngineError(f"model.weights={path} {why}") from None


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise EngineError(f"model.weights={path} needs safetensors: pip install cadence-train[safetensors]") from None
    try:
        return load_file(path)
    except SafetensorError as error:
        raise EngineError(f"model.weights={path} is damaged or no safetensors file ({one_line(error)}): give "
                          "another") from None
