"""A network with known predictions: the main colour of an image."""

import torch

from engine.build.model import build_model
from engine.storage import checkpoint
from recipes.settings.load import as_plain, load
from tests.engine.blank import BLANK

# class name -> RGB as shares of 255
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1), "black": (0, 0, 0),
           "grey": (0.5, 0.5, 0.5)}
# How much the nearest colour is preferred; red for a red image then has a probability above 99 %.
SHARPNESS = 10


def colours_run(folder, names=tuple(COLOURS), **settings):
    """Make `folder` a run with checkpoints/last.pt of that network, its classes called `names`; returns the folder."""
    values = {"model.name": "cnn", "model.width": 4, "model.depth": 2, "model.kernel_px": 1, "model.norm": "none",
              "data.mean": (0, 0, 0), "data.std": (1, 1, 1), "augment.policy": "none",
              "train.threads": 1, **settings}
    if values.get("data.name", "shapes") in ("shapes", "folder"):
        values = {"data.resolution": 16, **values}
    recipe = load("quickstart", settings=values)
    model = build_model(recipe, len(names))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        first, second = (layer for layer in model.features if isinstance(layer, torch.nn.Conv2d))
        for channel in range(3):
            first.weight[channel, channel] = second.weight[channel, channel] = 1
        colours = torch.tensor(list(COLOURS.values()), dtype=torch.float32)
        # -|x - colour|^2 without the |x|^2 that all classes share: linear in x.
        model.head[-1].weight[:, :3] = 2 * SHARPNESS * colours
        model.head[-1].bias[:] = -SHARPNESS * colours.square().sum(1)
    (folder / "checkpoints").mkdir(parents=True)
    content = BLANK | {
        "recipe": recipe.name, "values": {path: as_plain(value) for path, value in recipe.values.items()},
        "class_names": list(names), "model": model.state_dict(), "history": []}
    checkpoint.save(folder / "checkpoints" / "last.pt", content)
    return folder
