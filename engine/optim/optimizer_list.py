"""Several optimisers that step, save and load as one."""

from collections.abc import Sequence
from typing import Any

import torch

from engine.common.errors import EngineError


class OptimizerList:
    """The interface that training loop, checkpoint and GradScaler use, over optimisers of different parameters."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]):
        self.optimizers = tuple(optimizers)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimisers' groups, in order: changing one changes its optimiser."""
        # Collected each time: loading a state makes new groups.
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, list[dict[str, Any]]]:
        """{"optimizers": the state of each}"""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load the result of `state_dict`; EngineError for another number of optimisers."""
        saved = state.get("optimizers", [state])
        if len(saved) != len(self.optimizers):
            raise EngineError(f"the saved state's number of optimisers, {len(saved)}, must be this run's, "
                              f"{len(self.optimizers)}: resume with the settings it was saved with")
        for optimizer, own_state in zip(self.optimizers, saved, strict=True):
            optimizer.load_state_dict(own_state)
