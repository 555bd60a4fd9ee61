"""A trained network with all that its use requires: weights, class names, image size and normalisation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from engine.build.datasets import OnWarning, open_betons, open_data
from engine.build.devices import choose_device
from engine.build.model import rebuilt_model
from engine.build.preflight import policy_of, refuse_early, resolution_of
from engine.common.errors import EngineError
from engine.storage import checkpoint, shared_folder
from engine.storage.export_formats import FILES
from engine.storage.weights_hash import weights_sha256
from engine.training.forward import ToInput
from loaders.beton.cache import Beton
from loaders.sources.base import Source
from recipes.settings.load import Recipe, RecipeError, restore


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode. The data set's images have sides of resolution_px and are resized to side_px.
    epoch: epochs trained. trained_on: split -> SHA-256 of the beton that the run read; {} if unknown."""

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
        """The network's device."""
        return self.to_input.device

    def logits(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        """uint8 (B, side_px, side_px, 3), on any device -> float32 (B, classes) on the network's, in full precision.
        Keeps no gradients; for those, call `model` on the output of `to_input`."""
        with torch.inference_mode():
            return self.model(self.to_input(images_bhwc.to(self.device))).float()

    def probabilities(self, images_bhwc: torch.Tensor) -> torch.Tensor:
        """The softmax of `logits`: each row sums to 1."""
        return self.logits(images_bhwc).softmax(1)

    @property
    def run_folder(self) -> Path:
        """The folder of the checkpoint's run; for a lone file, the folder that holds it."""
        return self.path.parent.parent if self.path.parent.name == "checkpoints" else self.path.parent

    def open_data(self, recipe: Recipe) -> Source:
        """The data set of `recipe`; EngineError if its classes are not the network's."""
        source = open_data(recipe)
        if source.class_names != self.class_names:
            raise EngineError(f"{self.path} knows {len(self.class_names)} classes ({self.class_names[0]}, ...), "
                              f"{source.name} has {len(source.class_names)} ({source.class_names[0]}, ...): name the "
                              "data set it was trained on, with --data.name=NAME or --data.root=DIR")
        return source

    def open_betons(self, settings: Mapping[str, object], say: OnWarning) -> tuple[Recipe, dict[str, Beton], str]:
        """(the recipe with `settings`, its betons, how they differ from the run's, or ""). As `open_data`."""
        recipe = restore(self.recipe.name, {**self.recipe.values, **settings})
        refuse_early(recipe)
        source = self.open_data(recipe)
        betons = open_betons(recipe, source, on_warning=say)
        changed = [split for split, beton in betons.items() if self.trained_on.get(split, beton.sha256) != beton.sha256]
        difference = (f"the {changed[0]} images of {source.name} are not those that the run had (the checksums of the "
                      "betons differ)") if changed else ""
        return recipe, betons, difference


def open_trained(run_or_file: str, which: str = "last", device: str = "auto") -> Trained:
    """The trained network of a run folder (its last.pt, or `which`.pt), a .pt file or a folder made by engine.share.

    The weights are the exponential average if the run kept one. device: as the setting train.device. Raises EngineError
    if the file is missing, damaged, hostile or not Cadence's.
    """
    if shared_folder.is_shared(Path(run_or_file)):
        checkpoint.refuse_best(run_or_file, which)
        return open_shared(Path(run_or_file), device)
    path = checkpoint.find(run_or_file, which)
    if path.suffix in {Path(file).suffix for file in FILES.values()}:
        raise EngineError(f"{path} is an exported file, not a checkpoint (engine.export.load reads it): give a run "
                          "folder or a .pt file")
    saved = checkpoint.load(path)
    try:
        recipe = restore(saved["recipe"], saved["values"])
    except RecipeError as error:
        raise EngineError(f"checkpoint {path} does not fit this version of Cadence: {error}") from None
    trained = assemble(path, recipe, saved["class_names"], checkpoint.measured_weights(saved),
                       saved["progress"]["epoch"], saved["history"], device)
    return replace(trained, trained_on=saved["data"])


def open_shared(folder: Path, device: str = "auto") -> Trained:
    """The trained network in a folder made by engine.share, bit for bit the run's; EngineError if it is damaged."""
    found = shared_folder.read(folder)
    trained = assemble(found.path, found.recipe, found.class_names, found.weights, found.epoch, found.history, device)
    if weights_sha256(trained.model) != found.weights_sha256:
        raise EngineError(f"{found.path} is damaged (its weights do not match the hash in config.json): download it "
                          "again")
    return trained


def assemble(path: Path, recipe: Recipe, class_names: Sequence[str], weights: Mapping[str, torch.Tensor], epoch: int,
             history: list[dict], device: str = "auto") -> Trained:
    """Build the recipe's network with `weights`, read from `path`, frozen and in evaluation mode."""
    if not (isinstance(class_names, list | tuple) and class_names and all(isinstance(n, str) for n in class_names)):
        raise EngineError(f"checkpoint {path} names no classes: use another of the run's checkpoints")
    place = choose_device(device)
    model = rebuilt_model(recipe, len(class_names), weights, path, place).requires_grad_(False).eval()
    data = recipe.section("data")
    return Trained(path, recipe, model, tuple(class_names), resolution_of(recipe), policy_of(recipe).output_px,
                   ToInput(data.mean, data.std, place, recipe.section("train").channels_last), epoch, history)
