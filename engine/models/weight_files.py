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
from engine.common.optional import import_extra
from engine.common.text import one_line
from engine.storage import checkpoint

SUFFIXES = (".pt", ".pth", ".safetensors")
# The keys that mean the weights in files that hold several state dicts, such as an average's too.
PLACES = ("state_dict", "model", "model_state_dict", "net")
# torch.load's exceptions for files that it cannot or will not read.
UNREADABLE = (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError)


def is_file_name(weights: str) -> bool:
    """Whether `weights` is a file's name: it has a folder or one of SUFFIXES, or the file exists."""
    path = expand(weights)
    return path.suffix in SUFFIXES or "/" in weights or os.sep in weights or path.is_file()


def read(path: Path) -> dict[str, torch.Tensor]:
    """The weights in the file at `path` by name, on the CPU.

    A Cadence checkpoint gives the weights that its run evaluates; a file by torch.save its state dict: the whole file,
    what is under one of PLACES, or the only one in it. Raises EngineError for a file that is missing, damaged, or has
    no state dict of ordinary tensors, or several.
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
    content = _state_dict(content, path)
    odd = next((name for name, tensor in content.items() if not plain(tensor)), None)
    if odd:
        raise EngineError(f"model.weights={path} holds {odd}, which is not a plain array of finite real numbers: give "
                          "a file of ordinary weights")
    return dict(content)


def plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is dense, in host memory, and holds finite real numbers."""
    dense = tensor.layout is torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    # A number too large for float32 would become infinite in the network.
    return dense and not tensor.is_complex() and bool(torch.isfinite(tensor.float()).all())


def _state_dict(content: Any, path: Path) -> Mapping[str, torch.Tensor]:
    if is_state_dict(content):
        return content
    found = {str(key): value for key, value in content.items() if is_state_dict(value)} \
        if isinstance(content, Mapping) else {}
    meant = [place for place in PLACES if place in found] or list(found)
    if not meant:
        raise EngineError(f"model.weights={path} holds no state dict: give a file of tensors by name, on their own or "
                          f"under a key such as {', '.join(PLACES)}")
    if len(meant) > 1 and meant[0] not in PLACES:
        raise EngineError(f"model.weights={path} holds several state dicts ({', '.join(meant)[:200]}): save one of "
                          "them alone")
    return found[meant[0]]


def is_state_dict(value: object) -> bool:
    """Whether a value is a mapping of names to tensors, not empty."""
    return isinstance(value, Mapping) and bool(value) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in value.items())


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
    safetensors = import_extra("safetensors", f"model.weights={path}", "safetensors")
    try:
        return import_extra("safetensors.torch", f"model.weights={path}", "safetensors").load_file(path)
    except safetensors.SafetensorError as error:
        raise EngineError(f"model.weights={path} is damaged or no safetensors file ({one_line(error)}): give "
                          "another") from None
