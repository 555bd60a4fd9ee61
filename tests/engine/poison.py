"""Makes the loss of one batch infinite, as often as it is tried, in a process of whatever rank or in one of them."""

import os

import torch

from engine.training.step import TrainStep


def poisoned(epoch: int, step: int, rank: str | None = None):
    """(a TrainStep.__call__, the list that it appends to at each try): a weight is infinite while it computes."""
    plain, tried = TrainStep.__call__, []

    def call(self, images, labels, at_epoch, at_step):
        if (at_epoch, at_step) != (epoch, step) or rank not in (None, os.environ.get("RANK", "0")):
            return plain(self, images, labels, at_epoch, at_step)
        tried.append(at_step)
        weight = next(self.model.parameters())
        kept = weight.detach().clone()
        with torch.no_grad():
            weight[0] = float("inf")
        try:
            return plain(self, images, labels, at_epoch, at_step)
        finally:
            with torch.no_grad():
                weight.copy_(kept)

    return call, tried
