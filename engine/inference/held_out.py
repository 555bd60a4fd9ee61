"""A run's answers on the images that were held out of its training: measured once, kept in the run folder.

predictions.npz holds `logits` float32 (N, classes), `labels` int64 (N,), `indices` int64 (N,) (positions in the
split's beton), and `key`, which names the weights, data and arithmetic that the answers are of: where it is another
one, they are measured again.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch

from engine.build.datasets import OnWarning, open_betons, open_data
from engine.build.devices import place_threads
from engine.build.feeds import place_of
from engine.build.preflight import evaluation_policy_of, refuse_early
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
from recipes.settings.load import Recipe, restore

FILE = "predictions.npz"
ROWS_AT_ONCE = 4096
NO_SETTINGS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class HeldOut:
    """Images that training did not see: those at `indices` of a beton. split: "test", or "validation"."""

    split: str
    beton: Beton
    indices: np.ndarray
    open_feed: Callable[[np.ndarray], Feed]

    def images(self, which: np.ndarray) -> np.ndarray:
        """uint8 (n, side_px, side_px, 3): as the network is shown the `which`-th of them (int64 (n,), from 0)."""
        feed = self.open_feed(self.indices[which])
        try:
            with feed.epoch(0) as batches:
                return np.concatenate([batch.images_bhwc.cpu().numpy() for batch in batches])
        finally:
            feed.close()


@dataclass(frozen=True)
class Predictions:
    """logits float32 (N, classes) and labels int64 (N,) of held-out images, in their order."""

    logits: np.ndarray
    labels: np.ndarray

    @cached_property
    def finite(self) -> np.ndarray:
        """bool (N,): which images have an answer; those with a logit that is no number have none."""
        return np.isfinite(self.logits).all(1)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """float32 (N, classes), rows sum to 1; 0 in rows without an answer."""
        logits = np.where(self.finite[:, None], self.logits, -np.inf)
        raised = np.exp(logits - np.where(self.finite, logits.max(1), 0)[:, None])
        return raised / np.maximum(raised.sum(1, keepdims=True), 1)

    @cached_property
    def predicted(self) -> np.ndarray:
        """int64 (N,): the likeliest class, the lowest of equals; -1 without an answer."""
        return np.where(self.finite, self.logits.argmax(1), -1)

    @cached_property
    def result(self) -> Result:
        """What `engine.evaluate` says of these answers."""
        metrics = Metrics(self.logits.shape[1], "cpu")
        for at in range(0, len(self.labels), ROWS_AT_ONCE):
            metrics.update(torch.from_numpy(self.logits[at: at + ROWS_AT_ONCE]),
                           torch.from_numpy(self.labels[at: at + ROWS_AT_ONCE]))
        return metrics.result()


@dataclass(frozen=True)
class RunData:
    """A run's recipe and its data set's betons. train: int64, the positions trained on; validation: those held out."""

    recipe: Recipe
    betons: dict[str, Beton]
    train: np.ndarray
    validation: np.ndarray


def open_run_data(trained: Trained, settings: Mapping[str, object] = NO_SETTINGS, say: OnWarning = None) -> RunData:
    """The data that a run was trained on, with `settings` (where they are) changed.

    Raises EngineError or DataError where they cannot be read or are others.
    """
    recipe = restore(trained.recipe.name, {**trained.recipe.values, **settings})
    refuse_early(recipe)
    source = open_data(recipe)
    if source.class_names != trained.class_names:
        raise EngineError(f"{source.name} has not the {len(trained.class_names)} classes that the run was trained on "
                          f"({trained.class_names[0]}, ...): name the run's own data with --data.root=DIR")
    betons, validation = open_betons(recipe, source, on_warning=say), recipe.section("data").validation
    others = trained.other_splits(betons)
    if others:
        raise EngineError(f"the {others[0]} images of {source.name} are not those that the run had (the checksums of "
                          "the betons differ): name the run's own data with --data.root=DIR")
    train, held = np.arange(betons["train"].samples), np.empty(0, np.int64)
    if validation:
        train, held = stratified(labels_of(betons["train"]), validation, recipe.get("data.split_seed", 0))
    return RunData(recipe, betons, train, held)


def hold_out(trained: Trained, data: RunData) -> HeldOut:
    """The test images, or where there are none those held out for validation; EngineError without either."""
    if "test" in data.betons:
        split, beton, indices = "test", data.betons["test"], np.arange(data.betons["test"].samples)
    elif len(data.validation):
        split, beton, indices = "validation", data.betons["train"], data.validation
    else:
        raise EngineError("the data set has no test split and the run held no validation images out: add a test/ "
                          "folder beside train/, or train with --data.validation=SHARE")
    place = place_of(data.recipe, data.betons, trained.device, place_threads(data.recipe, trained.device))
    policy, batch = evaluation_policy_of(data.recipe), data.recipe.section("eval").batch
    return HeldOut(split, beton, indices, lambda which: plain_feed(beton, place, batch, policy, which))


def predictions_of(trained: Trained, recipe: Recipe, held: HeldOut) -> Predictions:
    """The run's answers on `held`, in the arithmetic it was measured in: from predictions.npz, or measured and kept."""
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
        # Absent or damaged: what it would say can be measured.
        pass
    answers = measure(trained, held, arithmetic, tta)
    packed = io.BytesIO()
    np.savez(packed, key=np.array(key), logits=answers.logits, labels=answers.labels, indices=held.indices)
    write_atomic(path, packed.getvalue())
    return answers


def measure(trained: Trained, held: HeldOut, arithmetic: Precision, tta: str) -> Predictions:
    """Ask the network about every held-out image; tta: a key of LOGITS."""
    logits, labels, feed = [], [], held.open_feed(held.indices)
    try:
        with torch.inference_mode(), feed.epoch(0) as batches:
            for batch in batches:
                images = trained.to_input(batch.images_bhwc)
                with arithmetic.autocast():
                    logits.append(LOGITS[tta](trained.model, images).cpu())
                labels.append(batch.labels.cpu().clone())
    finally:
        feed.close()
    return Predictions(torch.cat(logits).numpy(), torch.cat(labels).numpy())
