"""Batch norm, activation and 2x2 max-pool as one operation, for training on a CPU.

Between two convolutions a network only moves bytes. Torch moves them once for every operation, forward and backward;
here the forward pass reads its input twice and writes its output once, and the backward pass does the same. Values are
summed in fp32 over 128 pixels, then in fp64. The bits of the results do not depend on the number of threads; they
differ from torch's in the last places: sums have another order, and in bf16 fewer gradients are rounded.

A network calls `norm_act` and `act_alone`. They use torch's own operations until `fuse` is called, in evaluation mode,
and for inputs that the operation does not support.
"""

from collections.abc import Iterator

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from engine.kernels.native import library

# As the source numbers them.
IDENTITY, RELU, GELU = range(3)
NO_POOL, POOL_AFTER, POOL_BEFORE = range(3)
LANES = 16
DTYPES = (torch.float32, torch.bfloat16)


def fuse(model: nn.Module, wanted: bool = True) -> int:
    """Turn the operation on for `model`, or off with wanted=False; returns the number of norms that use it.

    `native.library` compiles it, at first use at the latest. Without a norm that can use it, no activation does.
    """
    wanted = wanted and any(type(module) is nn.BatchNorm2d and _can_fuse(module) for module in model.modules())
    for module in model.modules():
        module.fuses = wanted and _can_fuse(module)
    return fused_in(model)


def fused_in(model: nn.Module) -> int:
    """The number of batch norms of `model` that use the operation."""
    return sum(getattr(module, "fuses", False) for module in model.modules() if type(module) is nn.BatchNorm2d)


def _can_fuse(module: nn.Module) -> bool:
    if type(module) is nn.BatchNorm2d:
        return (module.affine and module.track_running_stats and module.momentum is not None
                and module.num_features % LANES == 0 and module.weight.dtype == torch.float32)
    return _number_of(module) == GELU


def _number_of(act: nn.Module | None) -> int | None:
    """The number of an activation, None where the operation lacks it."""
    if act is None:
        return IDENTITY
    if type(act) is nn.GELU and act.approximate == "none":
        return GELU
    return RELU if type(act) is nn.ReLU else None


def is_2x2_max(pool: nn.Module) -> bool:
    """Whether it is a max-pool of 2x2 windows that do not overlap, without padding."""
    def both(value: int | tuple[int, int], wanted: int) -> bool:
        return value in (wanted, (wanted, wanted))

    return (type(pool) is nn.MaxPool2d and both(pool.kernel_size, 2) and both(pool.stride, 2) and both(pool.padding, 0)
            and both(pool.dilation, 1) and not pool.ceil_mode and not pool.return_indices)


def _takes(module: nn.Module, x: torch.Tensor) -> bool:
    return (getattr(module, "fuses", False) and module.training and x.device.type == "cpu" and x.dtype in DTYPES
            and x.is_contiguous(memory_format=torch.channels_last))


def _has_form(norm: nn.BatchNorm2d, x: torch.Tensor, pooled: bool) -> bool:
    """Whether norm and input fit together, with two values or more per channel; otherwise torch says what is wrong."""
    batch, channels, height, width = x.shape
    values = batch * (height // 2) * (width // 2) if pooled else batch * height * width
    fp32 = all(each.dtype == torch.float32 for each in (norm.weight, norm.bias, norm.running_mean, norm.running_var))
    return channels == norm.num_features and fp32 and values >= 2


def norm_act(x: torch.Tensor, norm: nn.Module, act: nn.Module | None = None, *, pool: nn.Module | None = None,
             pool_first: bool = False) -> torch.Tensor:
    """pool(act(norm(x))), or act(norm(pool(x))) with pool_first, of x (B, C, H, W); updates the running statistics.

    fp32 or bf16, the result too. Fused where the modules, the mode and the layout allow.
    """
    number = _number_of(act)
    windows = pool is None or (is_2x2_max(pool) and min(x.shape[2:]) >= 2)
    pooled = pool is not None and pool_first
    if number is None or not windows or not _takes(norm, x) or not _has_form(norm, x, pooled):
        x = pool(x) if pooled else x
        x = norm(x)
        x = x if act is None else act(x)
        return x if pool is None or pool_first else pool(x)
    norm.num_batches_tracked.add_(1)
    pooling = NO_POOL if pool is None else POOL_BEFORE if pool_first else POOL_AFTER
    return _NormAct.apply(x, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps,
                          number, pooling)


def act_alone(x: torch.Tensor, act: nn.Module) -> torch.Tensor:
    """act(x), of any shape, fp32 or bf16."""
    return _Act.apply(x, _number_of(act)) if _takes(act, x) else act(x)


class NormActStack(nn.Sequential):
    """A Sequential that fuses each batch norm with the activation and the max-pool after it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for norm, act, pool in self._groups():
            x = norm_act(x, norm, act, pool=pool) if type(norm) is nn.BatchNorm2d else norm(x)
        return x

    def _groups(self) -> Iterator[tuple[nn.Module, nn.Module | None, nn.Module | None]]:
        """(module, None, None), or a batch norm with its activation and pool, either or both None."""
        modules, place = list(self), 0
        while place < len(modules):
            first, act, pool = modules[place], None, None
            place += 1
            if type(first) is nn.BatchNorm2d:
                if place < len(modules) and _number_of(modules[place]) is not None:
                    act, place = modules[place], place + 1
                if place < len(modules) and is_2x2_max(modules[place]):
                    pool, place = modules[place], place + 1
            yield first, act, pool


def _address(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class _NormAct(torch.autograd.Function):
    """See `norm_act`."""

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps, act, pooling):
        batch, channels, height, width = x.shape
        small, bf16 = (batch, channels, height // 2, width // 2), x.dtype == torch.bfloat16
        y = _empty(small if pooling else x.shape, x.dtype)
        # The input behind each window's maximum, and its position in the window.
        kept = _empty(small, x.dtype) if pooling else None
        places = _empty(small, torch.int8) if pooling else None
        mean, inverse = torch.empty(2, channels, dtype=torch.float32).unbind()
        scratch = torch.empty(library().scratch_doubles(channels), dtype=torch.float64)
        library().norm_act_forward(
            *map(_address, (x, y, kept, places)), bf16, act, pooling, batch, height, width, channels,
            *map(_address, (weight, bias, mean, inverse, running_mean, running_var)), momentum, eps, scratch.data_ptr())
        ctx.save_for_backward(None if pooling == POOL_BEFORE else x, kept, places, weight, bias, mean, inverse)
        ctx.shape, ctx.act, ctx.pooling = x.shape, act, pooling
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, kept, places, weight, bias, mean, inverse = ctx.saved_tensors
        batch, channels, height, width = ctx.shape
        gradient, bf16 = gradient.contiguous(memory_format=torch.channels_last), gradient.dtype == torch.bfloat16
        dx = _empty(ctx.shape, gradient.dtype)
        dweight, dbias = torch.empty(2, channels, dtype=torch.float32).unbind()
        scratch = torch.empty(library().scratch_doubles(channels), dtype=torch.float64)
        library().norm_act_backward(
            *map(_address, (gradient, x, kept, places, dx)), bf16, ctx.act, ctx.pooling, batch, height, width, channels,
            *map(_address, (weight, bias, mean, inverse, dweight, dbias, scratch)))
        return dx, dweight, dbias, *[None] * 6


class _Act(torch.autograd.Function):
    """See `act_alone`."""

    @staticmethod
    def forward(ctx, x, act):
        y = torch.empty_like(x)
        library().act_forward(x.data_ptr(), y.data_ptr(), x.dtype == torch.bfloat16, act, x.numel())
        ctx.save_for_backward(x)
        ctx.act = act
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, = ctx.saved_tensors
        gradient, dx = gradient.contiguous(memory_format=torch.channels_last), torch.empty_like(x)
        library().act_backward(x.data_ptr(), gradient.data_ptr(), dx.data_ptr(), x.dtype == torch.bfloat16, ctx.act,
                               x.numel())
        return dx, None


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
