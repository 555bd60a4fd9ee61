"""Muon: updates by orthogonalised momentum, computed for all matrices of one shape at once.

    optimizer = Muon([{"params": list(body.named_parameters()), "lr": 0.02}], momentum=0.95, scale="shape")

A weight of two or more dimensions is a matrix: its first dimension by all others. Newton-Schulz iterations bring the
momentum's singular values near 1, so that all directions move alike. torch.optim.Muon takes two dimensions only, and
one weight at a time.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; scale "rms": Liu et al. 2025, arXiv:2502.16982.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import torch

from engine.common.errors import EngineError, check, check_one_of

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5  # by default
# An orthogonal update's factor beside the rate. rms gives updates AdamW's root mean square, so that AdamW's rates fit.
SCALES = {
    "rms": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
    "shape": lambda rows, columns: math.sqrt(max(1.0, rows / columns)),
    "unit": lambda rows, columns: 1.0,
}
# The smallest divisor: a matrix of zeros stays zero.
EPS = 1e-7


def orthogonal(matrices: torch.Tensor, iterations: int = ITERATIONS) -> torch.Tensor:
    """The matrices U S' V^T of `matrices` = U S V^T, where S' lies between 0.68 and 1.21.

    matrices: (count, rows, columns) of a floating type; returned in the same shape and type. The iterations are
    x -> a x + (b g + c g^2) x with g = x x^T, on the wide side, after division by the Frobenius norm. A singular value
    below 1 / 660 of that norm stays below 0.68, with 3 iterations one below 1 / 56.
    """
    x = matrices / torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True).clamp_(min=EPS)
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    a, b, c = COEFFICIENTS
    for _ in range(iterations):
        gram = torch.bmm(x, x.mT)
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, factor, x, beta=a)
    return x.mT if tall else x


@cache
def fast_dtype(device: torch.device) -> torch.dtype:
    """bf16 if the device multiplies it in hardware, else fp32."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        native = device.type == "cpu" and (
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if native else torch.float32


class Muon(torch.optim.Optimizer):
    """Muon over weights of two or more dimensions, given as torch's optimisers take them.

    A step: buffer += (1 - momentum) (gradient - buffer); d = the buffer, or with `nesterov` gradient + momentum
    (buffer - gradient); p *= 1 - lr weight_decay; p -= lr SCALES[scale](rows, columns) orthogonal(d). With
    scale "unit" p is first scaled to the Frobenius norm sqrt(rows), in place of weight decay, as in cifar10-airbench.
    Nothing is random and no step waits for the device; rate and momentum may be tensors without dimensions on the
    weights' device. `iterations`: of Newton and Schulz; `dtype`: theirs, by default the device's fast_dtype. Raises
    EngineError for a weight of fewer dimensions, an unknown scale, no iteration, and weight decay with scale "unit".
    """

    # What calculates the directions; a caller may set a compiled form.
    orthogonal = staticmethod(orthogonal)

    def __init__(self, params: Iterable[Any], lr: float | torch.Tensor = 1e-3, *, momentum: float = 0.95,
                 nesterov: bool = True, weight_decay: float = 0.0, scale: str = "rms", iterations: int = ITERATIONS,
                 dtype: torch.dtype | None = None):
        super().__init__(params, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay,
                                  "scale": scale, "iterations": iterations, "dtype": dtype})

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # Loading replaces the groups; those of former versions lack the number.
        for group in self.param_groups:
            group.setdefault("iterations", ITERATIONS)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        check_one_of("optim.muon_scale", group["scale"], SCALES)
        check("optim.muon_iterations", group["iterations"], group["iterations"] >= 1, "1 or more")
        if group["scale"] == "unit" and group["weight_decay"]:
            raise EngineError(f"optim.weight_decay={group['weight_decay']} has no effect on Muon's weights with "
                              "optim.muon_scale=unit, which sets their norm: make it 0 for them")
        for parameter in group["params"]:
            if parameter.ndim < 2:
                raise EngineError(f"Muon takes weights of two or more dimensions, not one of shape "
                                  f"{tuple(parameter.shape)}: give it to another optimiser")

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            directions = self._directions(group, parameters)
            if group["scale"] == "unit":
                _to_unit_rows(parameters)
            elif group["weight_decay"]:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(parameters, _updates(group, directions, self.orthogonal))

    def _directions(self, group: dict[str, Any], parameters: list[torch.Tensor]) -> Sequence[torch.Tensor]:
        for parameter in parameters:
            if "momentum_buffer" not in self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        gradients = [p.grad for p in parameters]
        buffers = [self.state[p]["momentum_buffer"] for p in parameters]
        momentum, nesterov = group["momentum"], group["nesterov"]
        if isinstance(momentum, torch.Tensor):
            # foreach_lerp would wait for the device to learn the weight.
            torch._foreach_add_(buffers, _parts(gradients, buffers, 1 - momentum))
            return torch._foreach_add(gradients, _parts(buffers, gradients, momentum)) if nesterov else buffers
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        return torch._foreach_lerp(gradients, buffers, momentum) if nesterov else buffers


def _parts(ends: Sequence[torch.Tensor], starts: Sequence[torch.Tensor], share: torch.Tensor) -> list[torch.Tensor]:
    """share * (end - start) of each pair."""
    parts = torch._foreach_sub(ends, starts)
    torch._foreach_mul_(parts, share)
    return parts


def _updates(group: dict[str, Any], directions: Sequence[torch.Tensor],
             orthogonal: Callable[[torch.Tensor, int], torch.Tensor]) -> list[torch.Tensor]:
    """What to subtract from each parameter: its direction orthogonalised, times rate and factor."""
    alike = defaultdict(list)
    for index, direction in enumerate(directions):
        rows = direction.shape[0]
        alike[rows, direction.numel() // rows, direction.dtype, direction.device].append(index)
    updates = list(directions)
    for (rows, columns, weights_dtype, device), indices in alike.items():
        of_shape = [directions[i] for i in indices]
        dtype = group["dtype"] or fast_dtype(device)
        matrices = torch.empty(len(indices), rows, columns, dtype=dtype, device=device)
        torch._foreach_copy_([m.view(d.shape) for m, d in zip(matrices.unbind(), of_shape, strict=True)], of_shape)
        moves = orthogonal(matrices, group["iterations"]).to(weights_dtype)
        moves *= group["lr"] * SCALES[group["scale"]](rows, columns)
        for index, move in zip(indices, moves.unbind(), strict=True):
            updates[index] = move.view(directions[index].shape)
    return updates


def _to_unit_rows(parameters: list[torch.Tensor]) -> None:
    factors = torch._foreach_norm(parameters)
    torch._foreach_clamp_min_(factors, EPS)
    torch._foreach_reciprocal_(factors)
    torch._foreach_mul_(factors, [math.sqrt(len(p)) for p in parameters])
    torch._foreach_mul_(parameters, factors)
