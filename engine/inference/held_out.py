"""A run's predictions on the images held out of its training: measured once, kept in the run folder.

predictions.npz holds `logits` float32 (N, classes), `labels` int64 (N,), `indices` int64 (N,) (positions in the
split's beton), and `key`, which names weights, data and arithmetic; if it differs, they are measured again.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch

from engine.build.datasets import OnWarning
from engine.build.devices import place_threads
from engine.build.feeds import place_of
from engine.build.preflight import evaluation_policy_of
from engine.build.splits import evaluated_split, fit_to_splits
from engine.common.errors import EngineError
from engine.common.files import write_atomic
from engine.inference.trained import Trained
from engine.storage.weights_hash import weights_sha256
from engine.training.evaluation import LOGITS
from engine.training.metrics import Metrics, Result
from engine.training.precision import Precision, resolve
from loaders.beton.cache import Beton, labels_of
from loaders.feeds.build import Feed, plain_feed
from loaders.feeds.split import stratified
from recipes.settings.load import Recipe

FILE = "predictions.npz"
ROWS_AT_ONCE = 4096
NO_SETTINGS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class HeldOut:
    """Images at `indices` of a beton that training did not see. split: "test" or "validation"."""

    split: str
    beton: Beton
    indices: np.ndarray
    open_feed: Callable[[np.ndarray], Feed]

    def images(self, which: np.ndarray) -> np.ndarray:
        """uint8 (n, side_px, side_px, 3): the images at positions `which` (int64 (n,)) as the network receives them."""
        with closing(self.open_feed(self.indices[which])) as feed, feed.epoch(0) as batches:
            return np.concatenate([batch.images_bhwc.cpu().numpy() for batch in batches])


@dataclass(frozen=True)
class Predictions:
    """logits float32 (N, classes) and labels int64 (N,) of held-out images, in their order."""

    logits: np.ndarray
    labels: np.ndarray

    @cached_property
    def finite(self) -> np.ndarray:
        """bool (N,): which images have a prediction, that is, finite logits."""
        return np.isfinite(self.logits).all(1)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """float32 (N, classes), rows sum to 1; 0 in rows without a prediction."""
        logits = np.where(self.finite[:, None], self.logits, -np.inf)
        raised = np.exp(logits - np.where(self.finite, logits.max(1), 0)[:, None])
        return raised / np.maximum(raised.sum(1, keepdims=True), 1)

    @cached_property
    def predicted(self) -> np.ndarray:
        """int64 (N,): the most probable class, the lowest of equals; -1 without a prediction."""
        return np.where(self.finite, self.logits.argmax(1), -1)

    @cached_property
    def result(self) -> Result:
        """The metrics of these predictions, as `engine.evaluate` computes them."""
        metrics = Metrics(self.logits.shape[1], "cpu")
        logits, labels = torch.from_numpy(self.logits), torch.from_numpy(self.labels)
        for rows in zip(logits.split(ROWS_AT_ONCE), labels.split(ROWS_AT_ONCE), strict=True):
            metrics.update(*rows)
        return metrics.result()


@dataclass(frozen=True)
class RunData:
    """A run's recipe and its data set's betons. train, validation: int64, the training images trained on and held out.
    """

    recipe: Recipe
    betons: dict[str, Beton]
    train: np.ndarray
    validation: np.ndarray


def open_run_data(trained: Trained, settings: Mapping[str, object] = NO_SETTINGS, say: OnWarning = None) -> RunData:
    """The data that a run was trained on, its recipe changed by `settings` (data.root, ...). Raises EngineError or
    DataError if they cannot be read or are not the run's."""
    recipe, betons, difference = trained.open_betons(settings, say)
    if difference:
        raise EngineError(f"{difference}: name the run's own data with --data.root=DIR")
    train, held, beton = np.arange(betons["train"].samples), np.empty(0, np.int64), betons["train"]
    if validation := fit_to_splits(recipe, betons).section("data").validation:
        train, held = stratified(labels_of(beton), validation, recipe.get("data.split_seed", 0), beton.class_names)
    return RunData(recipe, betons, train, held)


def hold_out(trained: Trained, data: RunData) -> HeldOut:
    """The test images, or without any, those held out for validation; EngineError without either."""
    split = evaluated_split(data.betons)
    if split:
        beton, indices = data.betons[split], np.arange(data.betons[split].samples)
    elif len(data.validation):
        split, beton, indices = "validation", data.betons["train"], data.validation
    else:
        raise EngineError("the data set has no test split and the run has no validation images: add a test/ folder "
                          "beside train/, or train with --data.validation=SHARE")
    place = place_of(data.recipe, data.betons, trained.device, place_threads(data.recipe, trained.device))
    policy, batch = evaluation_policy_of(data.recipe), data.recipe.section("eval").batch
    return HeldOut(split, beton, indices, lambda which: plain_feed(beton, place, batch, policy, which))


def predictions_of(trained: Trained, recipe: Recipe, held: HeldOut) -> Predictions:
    """The predictions on `held` in the precision that the run is evaluated in: from predictions.npz, or measured."""
    arithmetic = Precision(resolve(recipe.section("train").precision, trained.device), trained.device)
    tta = recipe.section("eval").tta
    key = json.dumps({"weights": weights_sha256(trained.model), "data": held.beton.sha256, "split": held.split,
                      "images": len(held.indices), "precision": arithmetic.name, "tta": tta,
                      "device": trained.device.type})
    path = trained.run_folder / FILE
    try:
        with np.load(path) as kept:
            if str(kept["key"]) == key and np.array_equal(kept["indices"], held.indices):
                return Predictions(kept["logits"], kept["labels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # It is missing or damaged: measure again.
    predictions = measure(trained, held, arithmetic, tta)
    packed = io.BytesIO()
    np.savez(packed, key=np.array(key), logits=predictions.logits, labels=predictions.labels, indices=held.indices)
    write_atomic(path, packed.getvalue())
    return predictions


def measure(trained: Trained, held: HeldOut, arithmetic: Precision, tta: str) -> Predictions:
    """The network's predictions on every held-out image; tta: a key of LOGITS."""
    logits, labels = [], []
    with closing(held.open_feed(held.indices)) as feed, torch.inference_mode(), feed.epoch(0) as batches:
        for batch in batches:
            images_bchw = trained.to_input(batch.images_bhwc)
            with arithmetic.autocast():
                logits.append(LOGITS[tta](trained.model, images_bchw).cpu())
            labels.append(batch.labels.cpu().clone())
    return Predictions(torch.cat(logits).numpy(), torch.cat(labels).numpy())
