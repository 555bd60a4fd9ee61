"""The folder in which a trained network is shared: weights as safetensors, the rest as JSON, and no code."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from engine.common.errors import EngineError
from engine.common.files import finite, read_json
from engine.common.optional import import_extra
from recipes.settings.load import Recipe, RecipeError, as_plain, restore

WEIGHTS, CONFIG, HISTORY = "model.safetensors", "config.json", "metrics.jsonl"
FORMAT = "cadence-shared-1"
# Settings that name paths of the machine that trained; loading needs none of them.
PLACES = ("run.folder", "data.root", "data.cache", "model.weights")


@dataclass(frozen=True)
class Shared:
    """The content of such a folder; weights: by name, on the CPU; weights_sha256: of the model with these weights."""

    path: Path
    recipe: Recipe
    class_names: tuple[str, ...]
    weights: dict[str, torch.Tensor]
    weights_sha256: str
    epoch: int
    history: list[dict]


def is_shared(folder: Path) -> bool:
    """Whether `folder` looks like a shared one."""
    return (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file()


def public_values(recipe: Recipe) -> dict[str, object]:
    """The settings of the recipe as plain values, without those that name paths of a machine."""
    return {path: as_plain(value) for path, value in recipe.values.items() if path not in PLACES}


def pack(recipe: Recipe, class_names: Sequence[str], weights: dict[str, torch.Tensor], weights_sha256: str, epoch: int,
         history: list[dict], side_px: int) -> dict[str, bytes]:
    """The files that `read` reads, by name. EngineError where the safetensors package is missing."""
    data = recipe.section("data")
    values = public_values(recipe)
    config = {"format": FORMAT, "recipe": recipe.name, "class_names": list(class_names), "epoch": epoch,
              "input": f"RGB images of {side_px} x {side_px} px; values 0..1, minus mean, divided by std, per channel",
              "mean": list(data.mean), "std": list(data.std), "weights_sha256": weights_sha256, "values": values}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    lines = "".join(json.dumps(finite(row)) + "\n" for row in history)
    return {WEIGHTS: _safetensors().torch.save(tensors, {"format": "pt", "made_by": FORMAT}), HISTORY: lines.encode(),
            CONFIG: (json.dumps(config, indent=1, ensure_ascii=False) + "\n").encode()}


def read(folder: Path) -> Shared:
    """The content of a shared folder, checked; whether the weights fit the recipe's network is left to the caller.

    Raises EngineError where a file is missing, damaged or not one that `pack` makes.
    """
    config = read_json(folder / CONFIG, "give a folder that engine.share made")
    try:
        if config["format"] != FORMAT:
            raise KeyError("format")
        names, values, name = config["class_names"], config["values"], config["recipe"]
        if not isinstance(names, list) or not names or not all(isinstance(each, str) for each in names):
            raise KeyError("class_names")
        if not isinstance(values, dict) or not isinstance(name, str) or not isinstance(config["epoch"], int):
            raise KeyError("values, recipe or epoch")
        recipe = restore(name, values)
        weights_sha256, epoch = config["weights_sha256"], config["epoch"]
    except (KeyError, TypeError) as error:
        raise EngineError(f"{folder / CONFIG} was not written by engine.share ({error}): give a folder that "
                          "engine.share made") from None
    except RecipeError as error:
        raise EngineError(f"{folder / CONFIG} does not fit this version of Cadence: {error}") from None
    return Shared(folder / WEIGHTS, recipe, tuple(names), _weights(folder / WEIGHTS), weights_sha256, epoch,
                  _history(folder / HISTORY))


def _weights(path: Path) -> dict[str, torch.Tensor]:
    safetensors = _safetensors()
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EngineError(f"{path} cannot be read ({reason}): fetch the folder again") from None


def _history(path: Path) -> list[dict]:
    try:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except (OSError, ValueError):
        raise EngineError(f"{path} is missing or damaged: fetch the folder again") from None


def _safetensors() -> ModuleType:
    import_extra("safetensors.torch", "a shared folder", "share")
    return import_extra("safetensors", "a shared folder", "share")
