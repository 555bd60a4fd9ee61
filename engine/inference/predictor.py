"""What a trained network says about pictures: `load(RUN_OR_FILE)(picture)`."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from engine.build.preflight import evaluation_policy_of
from engine.common.errors import EngineError
from engine.inference.picture_input import picture_of, picture_of_array, read_picture
from engine.inference.trained import Trained, open_trained
from loaders.device.executor import DevicePolicy, keys_of

Picture = str | PathLike | bytes | Image.Image | np.ndarray
# Networks are small and their images too: a batch of this many is quick, and bounds the memory of a long list.
BATCH = 64
# Nothing is drawn and nothing painted where images are only resized.
NO_FILL = (0, 0, 0)
NOT_FINITE = "no answer: not finite (the network's training diverged; use another of the run's checkpoints)"


@dataclass(frozen=True)
class Prediction:
    """What the network says about one picture. probabilities: float32 (classes,), in the order of class_names.

    seen_hwc: uint8 (side_px, side_px, 3), the pixels that it was given.
    """

    class_names: tuple[str, ...]
    probabilities: np.ndarray
    seen_hwc: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether the network had an answer; without one label, confidence and top mean nothing."""
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
        """The `count` most probable classes (or all there are) with their probabilities, the highest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[i], float(self.probabilities[i])) for i in order]


class Predictor:
    """A trained network that takes pictures of any kind and size.

    Pictures get the pixels that the network was measured on: fitted to the side of its data set's images (as
    `pictures.square`; stretched where it was trained on class folders, whose images were), then enlarged as its
    recipe's policy does for evaluation. One thread at a time.
    """

    def __init__(self, trained: Trained):
        self.trained = trained
        self.stretch = trained.recipe.section("data").name == "folder"
        self.to_side = None
        if trained.side_px != trained.resolution_px:
            self.to_side = DevicePolicy(evaluation_policy_of(trained.recipe), mean_rgb=NO_FILL, device="cpu")

    def __call__(self, pictures: Picture | Sequence[Picture]) -> Prediction | list[Prediction]:
        """The answer to a path, bytes of a file, Pillow's image or a uint8 array (H, W, 3); to a list, a list.

        Raises EngineError for what is no picture (of a list: the first such, by its place).
        """
        if isinstance(pictures, str | PathLike | bytes | Image.Image | np.ndarray):
            return self.answers([self.pixels(pictures)])[0]
        return self.answers([self.pixels(picture, f"picture {place}")
                             for place, picture in enumerate(pictures, 1)])

    def pixels(self, picture: Picture, name: str = "the picture", **limits: int) -> np.ndarray:
        """The picture as the network's data set has its own: uint8 (resolution_px, resolution_px, 3).

        limits: max_bytes and max_pixels of `pictures.read_picture`, for paths and bytes.
        """
        side_px = self.trained.resolution_px
        if isinstance(picture, bytes):
            return read_picture(picture, side_px, name, self.stretch, **limits)
        if isinstance(picture, str | PathLike):
            return read_picture(Path(picture), side_px, None, self.stretch, **limits)
        if isinstance(picture, Image.Image):
            return picture_of(picture, side_px, name, self.stretch)
        if isinstance(picture, np.ndarray):
            return picture_of_array(picture, side_px, name, self.stretch)
        raise EngineError(f"{name}: is a {type(picture).__name__}: give a path, bytes, a Pillow image or a uint8 array "
                          "(height, width, 3)")

    def answers(self, pixels: Sequence[np.ndarray]) -> list[Prediction]:
        """The answers to pictures as `pixels` makes them, BATCH at a time."""
        answers = []
        for start in range(0, len(pixels), BATCH):
            seen_bhwc = self.resized(np.stack(pixels[start:start + BATCH]))
            probabilities = self.trained.probabilities(torch.from_numpy(seen_bhwc)).cpu().numpy()
            answers += [Prediction(self.trained.class_names, shares, seen)
                        for shares, seen in zip(probabilities, seen_bhwc, strict=True)]
        return answers

    def resized(self, images_bhwc: np.ndarray) -> np.ndarray:
        """uint8 (B, resolution_px, resolution_px, 3) as uint8 (B, side_px, side_px, 3)."""
        if self.to_side is None:
            return images_bhwc
        everyone = torch.arange(len(images_bhwc))
        return self.to_side(torch.from_numpy(images_bhwc), everyone, keys_of(0, 0, "cpu")).numpy()


def load(run_or_file: str, which: str = "last", device: str = "auto") -> Predictor:
    """The predictor of a run folder (its last.pt, or `which`.pt) or of a .pt file; EngineError as `open_trained`."""
    return Predictor(open_trained(run_or_file, which, device))
