"""Averages of the weights over updates: an exponential one for evaluation, and lookahead's, which training continues.

Both hold references to the network's tensors: create them when the network is on its device. They work in place and
never wait for the device.
"""

import copy
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from engine.common.errors import EngineError, check


class Ema:
    """`model`: a copy of a network whose weights and buffers are exponential averages of the network's.

    Every `every` updates the average becomes decay * average + (1 - decay) * network (Polyak & Juditsky 1992;
    torch.optim.swa_utils); the first time, the network is copied. Integer buffers are always copied. `model` has the
    network's memory layout and requires no gradients. Raises EngineError for a decay not between 0 and 1 and for
    `every` below 1.
    """

    def __init__(self, model: nn.Module, decay: float, every: int = 1):
        check("average.ema", decay, 0 < decay < 1, "above 0 and below 1")
        check("average.ema_every", every, every >= 1, "1 or more")
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.every, self.averages = every, 0
        # torch's AveragedModel waits for the device at each update, and averages integers too.
        self._average = get_ema_multi_avg_fn(decay)
        by_dtype = defaultdict(list)
        for pair in zip(*([*net.parameters(), *net.buffers()] for net in (self.model, model)), strict=True):
            by_dtype[pair[0].dtype].append(pair)
        self._pairs = [list(map(list, zip(*pairs, strict=True))) for pairs in by_dtype.values()]

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All that an update changes."""
        return [*self.model.parameters(), *self.model.buffers()]

    def update(self, updates_done: int) -> None:
        """Call after each update of the network, with the number of updates so far."""
        what = self.due(updates_done)
        self.follow(what)
        self.count(what)

    def due(self, updates_done: int) -> str:
        """What follows update number `updates_done`: "copy" the first time, else "average", or "" for nothing."""
        if updates_done % self.every:
            return ""
        return "average" if self.averages else "copy"

    @torch.no_grad()
    def follow(self, what: str) -> None:
        """Do what is `due`, on the device alone."""
        for averages, currents in self._pairs if what else ():
            if what == "average" and averages[0].is_floating_point():
                self._average(averages, currents, None)
            else:
                _copy(averages, currents)

    def count(self, what: str) -> None:
        """Note that what was due is done."""
        self.averages += bool(what)

    def reset(self) -> None:
        """Restart from the network's present weights."""
        for averages, currents in self._pairs:
            _copy(averages, currents)
        self.averages = 0

    def state_dict(self) -> dict[str, Any]:
        """{"averages": their number, "model": the averaged weights and buffers by name}"""
        return {"averages": self.averages, "model": dict(self.model.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy in what `state_dict` returned; EngineError if it belongs to another network."""
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError:
            raise EngineError("the saved average is of another network: resume with its settings") from None
        self.averages = state["averages"]


class Lookahead:
    """A slow copy of `parameters`: every `every` updates it moves `share` of the way to them, and they are set to it.

    Zhang et al. 2019, arXiv:1907.08610. A run ends with the slow weights if `every` divides its number of updates.
    Raises EngineError for `every` below 1 and a share not above 0 and at most 1.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], every: int, share: float):
        check("average.lookahead", every, every >= 1, "1 or more")
        check("average.lookahead_share", share, 0 < share <= 1, "above 0 and at most 1")
        self.every, self.share = every, share
        self._fast = list(parameters)
        self._slow = [p.detach().clone() for p in self._fast]

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All that an update changes besides the parameters."""
        return self._slow

    def update(self, updates_done: int) -> None:
        """Call after each update of the parameters, with the number of updates so far."""
        self.follow(self.due(updates_done))

    def due(self, updates_done: int) -> str:
        """What follows update number `updates_done`: "pull", or "" for nothing."""
        return "" if updates_done % self.every else "pull"

    @torch.no_grad()
    def follow(self, what: str) -> None:
        """Do what is `due`, on the device alone."""
        # Frozen weights stay where they are.
        training = [index for index, p in enumerate(self._fast) if what and p.requires_grad]
        slow, fast = ([side[index] for index in training] for side in (self._slow, self._fast))
        if training:
            torch._foreach_lerp_(slow, fast, self.share)
            torch._foreach_copy_(fast, slow)

    def count(self, what: str) -> None:
        """Nothing is counted."""

    def reset(self) -> None:
        """Restart from the parameters' present values."""
        _copy(self._slow, self._fast)

    def state_dict(self) -> dict[str, list[torch.Tensor]]:
        """{"slow": the slow copy, in the order of the parameters}"""
        return {"slow": list(self._slow)}

    def load_state_dict(self, state: dict[str, list[torch.Tensor]]) -> None:
        """Copy in what `state_dict` returned; EngineError if it belongs to other parameters."""
        if [p.shape for p in state["slow"]] != [p.shape for p in self._slow]:
            raise EngineError("the saved lookahead is of another network: resume with its settings")
        _copy(self._slow, state["slow"])


@torch.no_grad()
def _copy(into: list[torch.Tensor], source: list[torch.Tensor]) -> None:
    torch._foreach_copy_(into, source)
