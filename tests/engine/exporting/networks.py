"""A small network, its metadata and images, for the tests of exported files."""

from functools import cache

import torch
from torch import nn

from engine.exporting.torch_program import Portable, to_program
from engine.models.cnn import Cnn
from engine.training.forward import ToInput

SIDE_PX = 16
METADATA = {"made_by": "Cadence", "input": "pixels", "output": "logits", "recipe": "cnn", "dataset": "cifar10",
            "model": "cnn", "policy": "none", "class_names": list("abcdefghij"), "side_px": SIDE_PX,
            "mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 1 / 3], "epoch": 1,
            "settings": {"train.sizes": {"0": 16}, "model.name": "cnn"}, "pruned": None}


class Shared(nn.Module):
    """A ResNet block: one ReLU called twice, and a branch that is added."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.relu, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Linear(8, 10)

    def forward(self, images):
        x = self.relu(self.norm(self.first(images)))
        return self.head(self.relu(self.second(x) + x).mean((2, 3)))


def images(count, seed=0):
    made = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, SIDE_PX, SIDE_PX, 3), generator=made, dtype=torch.uint8)


@cache
def portable():
    """A small network with batch norms that have seen images, and METADATA's normalisation inside."""
    torch.manual_seed(0)
    network = Cnn(10, SIDE_PX, depth=3, width=4).to(memory_format=torch.channels_last)
    network(torch.randn(64, 3, SIDE_PX, SIDE_PX))
    return Portable(network, ToInput(METADATA["mean"], METADATA["std"], torch.device("cpu"))).eval()


@cache
def captured():
    """`portable` as a torch.export program."""
    return to_program(portable(), SIDE_PX, "cnn")


def check_logits(logits, tolerance):
    """A file's logits are the network's, for any batch."""
    for count in (1, 2, 7):
        torch.testing.assert_close(logits(images(count)), expected(images(count)), atol=tolerance, rtol=tolerance)


def expected(images_bhwc):
    """The logits of `portable` by definition: each channel less its mean, over its standard deviation."""
    mean, std = torch.tensor(METADATA["mean"]), torch.tensor(METADATA["std"])
    normalised = (images_bhwc.float() / 255 - mean) / std
    with torch.no_grad():
        return portable().network(normalised.permute(0, 3, 1, 2))
