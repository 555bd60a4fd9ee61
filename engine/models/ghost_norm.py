"""Batch norm over parts of a batch: "ghost batch normalization" (Hoffer, Hubara & Soudry 2017, "Train longer,
generalize better")."""

from torch import nn


def slow_statistics(model: nn.Module, parts: int) -> None:
    """Let the running statistics forget over a batch of `parts` parts what they forgot over a whole batch.

    A batch norm keeps 1 - momentum of them in each forward pass; the same share per batch is then kept in `parts`
    passes.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
            module.momentum = 1 - (1 - module.momentum) ** (1 / parts)
