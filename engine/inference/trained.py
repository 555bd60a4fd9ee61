"""A trained network with all that using it takes: its checkpoint's weights, classes, image size and normalisation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from engine.build.devices import choose_device
from engine.build.model import rebuilt_model
from engine.build.preflight import policy_of, resolution_of
from engine.common.errors import EngineError
from engine.storage import checkpoint, shared_folder
from engine.storage.export_formats import FILES
from engine.storage.weights_hash import weights_sha256
from engine.training.forward import ToInput
from loaders.beton.cache import Beton
from recipes.settings.load import Recipe, RecipeError, restore


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode; `side_px` is the height and width of the images it takes.

    epoch: epochs trained. resolution_px: side of the data set's own images, which are resized to `side_px`.
    trained_on: the SHA-256 of the beton of each split of the run's data, {} where that is not known.
    """

    path: Path
    recipe: Recipe
    model: nn.Module
    class_names: tuple[str, ...]
    resolution_px: int
    side_px: int
    to_input: ToInput
    epoch: int
    history: list[dict]
    trained_on: Mapping[str, str] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.to_input.device

    def logits(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        """Of uint8 (B, side_px, side_px, 3), on any device: float32 (B, classes) on the network's, in full precision.

        No gradients are kept; for those give `model` what `to_input` makes.
        """
        with torch.inference_mode():
            return self.model(self.to_input(images_bhwc.to(self.device))).float()

    def probabilities(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        """As `logits`, softmaxed: each row sums to 1."""
        return self.logits(images_bhwc).softmax(1)

    @property
    def run_folder(self) -> Path:
        """The folder of the run that the checkpoint belongs to; beside a lone file, its own folder."""
        return self.path.parent.parent if self.path.parent.name == "checkpoints" else self.path.parent

    def other_splits(self, betons: Mapping[str, Beton]) -> list[str]:
        """The splits whose images are not those that the run had."""
        return [split for split, beton in betons.items() if self.trained_on.get(split, beton.sha256) != beton.sha256]


def open_trained(run_or_file: str, which: str = "last", device: str = "auto") -> Trained:
    """The trained network of a run folder (its last.pt, or `which`.pt), a .pt file or a folder made by engine.share.

    Its weights are the exponential average's where the run kept one. device: as the setting train.device. Raises
    EngineError where the file is missing, damaged, hostile or another program's.
    """
    if shared_folder.is_shared(Path(run_or_file)):
        return open_shared(Path(run_or_file), device)
    path = checkpoint.find(run_or_file, which)
    if path.suffix in {Path(file).suffix for file in FILES.values()}:
        raise EngineError(f"{path} is an exported file, no checkpoint (engine.export.load reads it): give a run folder "
                          "or a .pt file")
    saved = checkpoint.load(path)
    trained = assemble(path, recipe_of(path, saved["recipe"], saved["values"]), saved["class_names"],
                       checkpoint.measured_weights(saved), saved["progress"]["epoch"], saved["history"], device)
    return replace(trained, trained_on=saved["data"])


def recipe_of(path: Path, name: str, values: Mapping[str, object]) -> Recipe:
    """The recipe of the checkpoint at `path`; EngineError that names it where its settings are none of this version."""
    try:
        return restore(name, values)
    except RecipeError as error:
        raise EngineError(f"checkpoint {path} does not fit this version of Cadence: {error}") from None


def open_shared(folder: Path, device: str = "auto") -> Trained:
    """The trained network in a folder made by engine.share, bit for bit the run's; EngineError where it is damaged."""
    found = shared_folder.read(folder)
    trained = assemble(found.path, found.recipe, found.class_names, found.weights, found.epoch, found.history, device)
    if weights_sha256(trained.model) != found.weights_sha256:
        raise EngineError(f"{found.path} is damaged (its weights are not those that config.json names): fetch it again")
    return trained


def assemble(path: Path, recipe: Recipe, class_names: Sequence[str], weights: dict[str, torch.Tensor], epoch: int,
             history: list[dict], device: str = "auto") -> Trained:
    """Build the recipe's network, fill it with `weights`, which came from `path`, and set it to evaluation."""
    if not (isinstance(class_names, list | tuple) and class_names and all(isinstance(n, str) for n in class_names)):
        raise EngineError(f"checkpoint {path} names no classes: use another of the run's checkpoints")
    place = choose_device(device)
    model = rebuilt_model(recipe, len(class_names), weights, path, place).requires_grad_(False).eval()
    data = recipe.section("data")
    return Trained(path, recipe, model, tuple(class_names), resolution_of(recipe), policy_of(recipe).output_px,
                   ToInput(data.mean, data.std, place, recipe.section("train").channels_last), epoch, history)
