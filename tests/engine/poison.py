"""Makes one batch of a run bad, as often as it is tried, in a process of whatever rank or in one of them."""

import os
from contextlib import contextmanager

import torch

from engine.training.step import TrainStep


def poisoned(epoch: int, step: int, rank: str | None = None, weight: float = float("inf")):
    """(a TrainStep.__call__, the list that it appends to at each try): a weight is this large while it computes."""
    return calling(epoch, step, rank, lambda model: large_weight(model, weight))


def spoiled(epoch: int, step: int):
    """As `poisoned`, but the loss is good and a gradient is not a number."""
    return calling(epoch, step, None, bad_gradient)


def calling(epoch: int, step: int, rank: str | None, during):
    plain, tried = TrainStep.__call__, []

    def call(self, images, labels, at_epoch, at_step):
        if (at_epoch, at_step) != (epoch, step) or rank not in (None, os.environ.get("RANK", "0")):
            return plain(self, images, labels, at_epoch, at_step)
        tried.append(at_step)
        with during(self.model):
            return plain(self, images, labels, at_epoch, at_step)

    return call, tried


@contextmanager
def large_weight(model, value):
    weight = next(model.parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight[0] = value
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)


@contextmanager
def bad_gradient(model):
    hook = next(model.parameters()).register_hook(lambda gradient: gradient * float("nan"))
    try:
        yield
    finally:
        hook.remove()
