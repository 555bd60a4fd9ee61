"""The arithmetic of a run: fp32, bf16 by autocast, or fp16 by autocast with loss scaling."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from engine.common.errors import EngineError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve(name: str, device: torch.device) -> str:
    """`auto` -> bf16 on GPUs that have it, fp16 on older ones; on CPUs bf16 where it is native, else fp32."""
    if name == "fp16" and device.type == "cpu":
        raise EngineError("train.precision=fp16 needs a GPU: on a CPU choose fp32 or bf16")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return "bf16" if cpu_has_native_bf16() else "fp32"


def cpu_has_native_bf16() -> bool:
    """True where the CPU multiplies bf16 in hardware (AVX-512 BF16 or AMX); emulated, bf16 is slower than fp32."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def allow_tf32(allowed: bool) -> None:
    """Whether GPUs may round the factors of fp32 products to TF32's 10 bits, which is much faster; process-wide."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def be_deterministic(wanted: bool) -> None:
    """Whether only deterministic operations may run; process-wide.

    Torch raises a RuntimeError for an operation without a deterministic form. On a CPU all that are used here have.
    """
    if wanted:
        # Read by cuBLAS on its first use; without it torch refuses matrix products.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)


def tune_convolutions(wanted: bool) -> None:
    """Whether cuDNN tries its algorithms on each new shape and keeps the fastest, which may round otherwise from run to
    run; process-wide."""
    torch.backends.cudnn.benchmark = wanted


class Precision:
    """Autocast, backward, clip and update in one precision ("fp32", "bf16" or "fp16")."""

    def __init__(self, name: str, device: torch.device):
        self.name, self.device, self.dtype = name, device, DTYPES[name]
        self.scaler = torch.amp.GradScaler(device.type) if name == "fp16" else None

    def reset(self) -> None:
        """Forget the scale that fp16 has settled on."""
        if self.scaler:
            self.scaler.load_state_dict(torch.amp.GradScaler(self.device.type).state_dict())

    def autocast(self) -> AbstractContextManager:
        """The context of the forward pass."""
        return nullcontext() if self.name == "fp32" else torch.autocast(self.device.type, self.dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Backward, scaled where fp16 needs it."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def clip(self, parameters: list[torch.nn.Parameter], norm: float) -> None:
        """Scale the gradients down to a total norm of at most `norm`; 0 leaves them."""
        if norm:
            torch.nn.utils.clip_grad_norm_(parameters, norm)

    def update(self, optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], clip_norm: float) -> bool:
        """Clip (after unscaling) and step; True where weights moved.

        fp16 skips a step whose gradients overflowed; that must be known at once, or the schedule would run ahead.
        """
        if self.scaler is None:
            self.clip(parameters, clip_norm)
            optimizer.step()
            return True
        self.scaler.unscale_(optimizer)
        self.clip(parameters, clip_norm)
        before = self.scaler.get_scale()
        # The scaler itself leaves the step out. A fused SGD that is asked to, at its first step, takes whatever the
        # memory holds for its momentum.
        optimizer._step_supports_amp_scaling = False
        self.scaler.step(optimizer)
        self.scaler.update()
        return self.scaler.get_scale() >= before
