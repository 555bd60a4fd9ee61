"""Predictions for single images: `Predictor(open_trained(RUN_OR_FILE))(image)`."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from engine.build.preflight import evaluation_policy_of
from engine.common.errors import EngineError
from engine.inference.image_input import from_pillow, pillow_of, read_image
from engine.inference.trained import Trained
from loaders.device.executor import DevicePolicy, keys_of

AnyImage = str | PathLike | bytes | Image.Image | np.ndarray
# Large enough to be fast for small networks and images; bounds the memory of a long list.
BATCH = 64
NOT_FINITE = "no prediction: not finite (the training diverged: use another of the run's checkpoints)"


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image. probabilities: float32 (classes,), in the order of class_names. seen_hwc: uint8
    (side_px, side_px, 3), the pixels that the network received."""

    class_names: tuple[str, ...]
    probabilities: np.ndarray
    seen_hwc: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether all probabilities are finite; otherwise label, confidence and top mean nothing."""
        return bool(np.isfinite(self.probabilities).all())

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top(1)[0][0]

    @property
    def confidence(self) -> float:
        """Its probability, 0 to 1."""
        return self.top(1)[0][1]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The (at most) `count` most probable classes with their probabilities, highest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[i], float(self.probabilities[i])) for i in order]


class Predictor:
    """A trained network that takes images of any kind and size. For one thread at a time.

    Images are prepared as for evaluation: fitted to the size of its data set's images (`image_input.square`; stretched
    for a network trained on class folders), then resized by its recipe's policy. Floating-point images run to white as
    in its data set, to 1 where that had none.
    """

    def __init__(self, trained: Trained):
        self.trained = trained
        self.stretch = trained.recipe.section("data").name == "folder"
        self.float_max = trained.recipe.get("data.float_max", 1)
        self.to_side = None
        if trained.side_px != trained.resolution_px:
            # It only resizes: no pixel takes the fill colour.
            self.to_side = DevicePolicy(evaluation_policy_of(trained.recipe), mean_rgb=(0, 0, 0), device="cpu")

    def __call__(self, images: AnyImage | Sequence[AnyImage]) -> Prediction | list[Prediction]:
        """The prediction for a path, bytes of a file, Pillow image or uint8 array (H, W, 3); for a list, a list. Raises
        EngineError for the first input that is not an image; of a list, it gives the position."""
        if isinstance(images, AnyImage):
            return self.predict([self.pixels(images)])[0]
        return self.predict([self.pixels(image, f"image {number}") for number, image in enumerate(images, 1)])

    def pixels(self, image: AnyImage, name: str = "the image", **limits: int) -> np.ndarray:
        """The image in the size of the network's data set: uint8 (resolution_px, resolution_px, 3). limits: max_bytes
        and max_pixels of `read_image`, for paths and bytes."""
        side_px, how = self.trained.resolution_px, {"stretch": self.stretch, "float_max": self.float_max}
        if isinstance(image, bytes):
            return read_image(image, side_px, name, **how, **limits)
        if isinstance(image, str | PathLike):
            return read_image(Path(image), side_px, **how, **limits)
        if isinstance(image, np.ndarray):
            image = pillow_of(image, name)
        if isinstance(image, Image.Image):
            return from_pillow(image, side_px, name, **how)
        raise EngineError(f"{name}: is a {type(image).__name__}: give a path, bytes, a Pillow image or a uint8 array "
                          "(height, width, 3)")

    def predict(self, images_hwc: Sequence[np.ndarray]) -> list[Prediction]:
        """The predictions for images as `pixels` returns them, BATCH at a time."""
        predictions = []
        for start in range(0, len(images_hwc), BATCH):
            seen_bhwc = torch.from_numpy(np.stack(images_hwc[start:start + BATCH]))
            if self.to_side is not None:
                seen_bhwc = self.to_side(seen_bhwc, torch.arange(len(seen_bhwc)), keys_of(0, 0, "cpu"))
            probabilities = self.trained.probabilities(seen_bhwc).cpu().numpy()
            predictions += [Prediction(self.trained.class_names, row, seen_hwc)
                            for row, seen_hwc in zip(probabilities, seen_bhwc.numpy(), strict=True)]
        return predictions
