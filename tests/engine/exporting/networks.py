"""Small networks and images that the tests of exported files share."""

from functools import cache

import torch
from torch import nn

from engine.exporting import metadata
from engine.exporting.portable import Portable, to_program
from engine.models.cnn import Cnn

SIDE_PX = 16
TOLD = metadata.describe(metadata.PIXELS_IN, recipe="cnn", dataset="cifar10", model="cnn", policy="none",
                         class_names=list("abcdefghij"), side_px=SIDE_PX, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3),
                         epoch=1, settings={}, pruned=None)


class Shared(nn.Module):
    """A block as ResNets have them: one ReLU called twice, and a branch that is added."""

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
    """A small network with batch norms that have seen images, and TOLD's normalisation inside."""
    torch.manual_seed(0)
    mean, std = torch.tensor(TOLD["mean"]), torch.tensor(TOLD["std"])
    network = Cnn(10, SIDE_PX, depth=3, width=4).to(memory_format=torch.channels_last)
    network(torch.randn(64, 3, SIDE_PX, SIDE_PX))
    return Portable(network, (1 / (255 * std)).view(1, 3, 1, 1), (-mean / std).view(1, 3, 1, 1)).eval()


@cache
def captured():
    """`portable` as a torch.export program."""
    return to_program(portable(), SIDE_PX, "cnn")


def expected(images_bhwc):
    """The logits of `portable` by the definition: each channel less its mean, over its deviation."""
    mean, std = torch.tensor(TOLD["mean"]), torch.tensor(TOLD["std"])
    normalised = (images_bhwc.float() / 255 - mean) / std
    with torch.no_grad():
        return portable().network(normalised.permute(0, 3, 1, 2))
