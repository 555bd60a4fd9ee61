"""An optimiser's step whose rates and momentum are numbers on the device: recorded once, it follows any schedule.

torch's fused kernels take a rate as a tensor and read it when they run, but a momentum as a plain number. Where the
schedule moves the momentum, SGD and Adam are calculated here, by the same formulas and with the same state.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from engine.optim.muon import Muon, orthogonal


class DeviceRates:
    """The step of `optimizer`, made by `build_optimizer`, with rates and momentum from the device.

    moves: whether the momentum comes from the schedule too; otherwise the groups' own holds. compiled: makes a function
    of tensors faster, such as torch.compile. Between steps the groups hold plain numbers, so that the optimiser's state
    is saved and loaded as ever.
    """

    def __init__(self, optimizer, moves: bool, compiled: Callable[[Callable], Callable]):
        self.optimizer, self.moves = optimizer, moves
        self.parts = getattr(optimizer, "optimizers", (optimizer,))
        device = optimizer.param_groups[0]["params"][0].device
        # A fused kernel reads 32 bits.
        self.numbers = torch.zeros(2, len(optimizer.param_groups), device=device)
        self.sgd, self.adam = compiled(sgd), compiled(adam)
        for part in self.parts:
            if isinstance(part, Muon):
                part.orthogonal = compiled(orthogonal)

    @torch.no_grad()
    def step(self, numbers: torch.Tensor) -> None:
        """Update the parameters. numbers: (2, groups), each group's rate, then each group's momentum, on the device."""
        self.numbers.copy_(numbers)
        rates, momenta = (iter(row.unbind()) for row in self.numbers)
        for part in self.parts:
            own = [(group, next(rates), next(momenta)) for group in part.param_groups]
            if self.moves and not isinstance(part, Muon):
                for group, rate, momentum in own:
                    self._moving_step(part, group, rate, momentum)
            else:
                with on_device(own, self.moves):
                    part.step()

    def _moving_step(self, optimizer: torch.optim.Optimizer, group: dict[str, Any], rate: torch.Tensor,
                     momentum: torch.Tensor) -> None:
        parameters = [p for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        gradients = [p.grad for p in parameters]
        if "betas" in group:
            states = zip(*(adam_state(optimizer, p) for p in parameters), strict=True)
            self.adam(parameters, gradients, *map(list, states), rate, momentum, group["betas"][1], group["eps"],
                      group["weight_decay"], isinstance(optimizer, torch.optim.AdamW))
        else:
            self.sgd(parameters, gradients, [sgd_state(optimizer, p) for p in parameters], rate, momentum,
                     group["weight_decay"], group["nesterov"])

    def clear(self) -> None:
        """Set the state, in place, to that of a new optimiser: its values are zeros."""
        tensors = self.state_tensors()
        if tensors:
            torch._foreach_zero_(tensors)

    def state_tensors(self) -> list[torch.Tensor]:
        """All tensors of the optimiser's state."""
        return [value for part in self.parts for state in part.state.values() for value in state.values()
                if isinstance(value, torch.Tensor)]


@contextmanager
def on_device(groups: list[tuple[dict[str, Any], torch.Tensor, torch.Tensor]], moves: bool) -> Iterator[None]:
    """Give each group its rate, and its momentum where that moves, in place of its numbers, for a step."""
    kept = [dict(group) for group, *_ in groups]
    for group, group["lr"], momentum in groups:
        if moves:
            group["momentum"] = momentum
        if "capturable" in group:
            # Adam refuses to be recorded without it; its fused kernel does the same either way.
            group["capturable"] = True
    try:
        yield
    finally:
        for (group, *_), former in zip(groups, kept, strict=True):
            group.update(former)


def sgd_state(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> torch.Tensor:
    """The parameter's momentum in torch's SGD, zeros at first."""
    state = optimizer.state[parameter]
    if state.get("momentum_buffer") is None:
        state["momentum_buffer"] = torch.zeros_like(parameter)
    return state["momentum_buffer"]


def adam_state(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The parameter's averages in torch's Adam, of the gradient and its square, and the number of its steps."""
    state = optimizer.state[parameter]
    if not state:
        state["step"] = torch.zeros((), device=parameter.device)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    return state["exp_avg"], state["exp_avg_sq"], state["step"]


def sgd(parameters: list[torch.Tensor], gradients: list[torch.Tensor], buffers: list[torch.Tensor],
        rate: torch.Tensor, momentum: torch.Tensor, weight_decay: float, nesterov: bool) -> None:
    """torch.optim.SGD's update, in place; rate and momentum without dimensions."""
    if weight_decay:
        gradients = torch._foreach_add(gradients, parameters, alpha=weight_decay)
    torch._foreach_mul_(buffers, momentum)
    torch._foreach_add_(buffers, gradients)
    moves = torch._foreach_add(gradients, torch._foreach_mul(buffers, momentum)) if nesterov else buffers
    torch._foreach_sub_(parameters, torch._foreach_mul(moves, rate))


def adam(parameters: list[torch.Tensor], gradients: list[torch.Tensor], averages: list[torch.Tensor],
         squares: list[torch.Tensor], steps: list[torch.Tensor], rate: torch.Tensor, beta1: torch.Tensor, beta2: float,
         eps: float, weight_decay: float, decoupled: bool) -> None:
    """torch.optim.Adam's update, `decoupled` AdamW's, in place; rate and beta1 without dimensions."""
    torch._foreach_add_(steps, 1)
    if weight_decay and decoupled:
        torch._foreach_mul_(parameters, 1 - rate * weight_decay)
    elif weight_decay:
        gradients = torch._foreach_add(gradients, parameters, alpha=weight_decay)
    torch._foreach_mul_(averages, beta1)
    torch._foreach_add_(averages, torch._foreach_mul(gradients, 1 - beta1))
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
    # In 64 bits: 1 - beta ** step cancels.
    done = steps[0].double()
    divisors = torch._foreach_sqrt(squares)
    torch._foreach_div_(divisors, (1 - beta2**done).sqrt().float())
    torch._foreach_add_(divisors, eps)
    moves = torch._foreach_div(averages, divisors)
    torch._foreach_mul_(moves, (rate / (1 - beta1.double() ** done)).float())
    torch._foreach_sub_(parameters, moves)
