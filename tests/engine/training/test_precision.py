"""fp16's loss scaling: unscale, then clip, then step, against the update calculated by hand; and the skipped steps."""

import math
import os
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F

from engine.common.errors import EngineError
from engine.optim.param_groups import build_optimizer, by_pattern, split_decay
from engine.optim.schedule import Exponential
from engine.training import precision as precisions
from engine.training.forward import ForwardPass, ToInput
from engine.training.precision import Precision, allow_tf32, be_deterministic, cpu_has_native_bf16, resolve
from engine.training.step import TrainStep

CPU = torch.device("cpu")
# The loss is their product, so these are the gradients; their norm is 13.
GRADIENTS = [3.0, -4.0, 12.0]
RATE = 0.5


def one_update(name, clip_norm, gradients=GRADIENTS, scale=None):
    """(the weights after one update of zeros, whether they moved, the Precision)"""
    weights = torch.nn.Parameter(torch.zeros(3))
    precision = Precision(name, CPU)
    if scale:
        precision.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1)
    precision.backward((weights * torch.tensor(gradients)).sum())
    return weights.detach(), precision.update(torch.optim.SGD([weights], RATE), [weights], clip_norm), precision


@pytest.mark.parametrize("clip_norm", [0.0, 0.26, 6.5, 13.0, 26.0])
@pytest.mark.parametrize("name, scale", [("fp32", None), ("bf16", None), ("fp16", None), ("fp16", 8.0)])
def test_the_gradients_as_they_are_without_scaling_are_clipped(name, scale, clip_norm):
    share = min(1.0, clip_norm / 13) if clip_norm else 1.0
    weights, moved, _ = one_update(name, clip_norm, scale=scale)
    assert moved and weights.tolist() == pytest.approx([-RATE * share * gradient for gradient in GRADIENTS], rel=1e-5)


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_a_gradient_that_overflows_moves_nothing_and_halves_the_scale(clip_norm):
    weights, moved, precision = one_update("fp16", clip_norm, [1.0, 1e30, 1.0], scale=2.0**100)
    assert not moved and weights.tolist() == [0, 0, 0] and precision.scaler.get_scale() == 2.0**99
    precision.reset()
    assert precision.scaler.get_scale() == 2.0**16


def test_a_step_that_raises_the_scale_has_moved_the_weights():
    _, moved, precision = one_update("fp16", 1.0, scale=8.0)
    assert moved and precision.scaler.get_scale() == 16


@pytest.mark.parametrize("name, dtype", [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_products_are_in_the_precisions_type_and_only_fp16_scales(name, dtype):
    precision = Precision(name, CPU)
    assert isinstance(precision.autocast(), nullcontext) == (name == "fp32")
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert (precision.scaler is not None) == (name == "fp16")


@pytest.mark.filterwarnings("ignore:torch.cuda.amp.GradScaler is enabled")
def test_losses_are_scaled_for_the_device_that_there_is():
    assert Precision("fp16", torch.device("cuda")).scaler.is_enabled() is torch.cuda.is_available()
    assert Precision("fp16", CPU).scaler.is_enabled()


@pytest.mark.parametrize("avx, amx, native", [(False, False, False), (True, False, True), (False, True, True)])
def test_a_cpu_has_bf16_by_either_of_two_instructions(avx, amx, native, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert cpu_has_native_bf16() is native


@pytest.mark.parametrize("asked, device, capability, native, expected", [
    ("auto", "cuda:1", (7, 5), False, "fp16"), ("auto", "cuda:1", (8, 0), False, "bf16"),
    ("auto", "cuda:1", (9, 0), False, "bf16"), ("auto", "cpu", None, True, "bf16"),
    ("auto", "cpu", None, False, "fp32"), ("fp16", "cuda:1", None, False, "fp16"),
    ("fp32", "cuda:1", None, False, "fp32"), ("bf16", "cpu", None, False, "bf16"), ("fp32", "cpu", None, True, "fp32")])
def test_what_auto_is_on_each_device(asked, device, capability, native, expected, monkeypatch):
    def capability_of(asked_for):
        assert asked_for == torch.device("cuda:1") and capability
        return capability

    monkeypatch.setattr(torch.cuda, "get_device_capability", capability_of)
    monkeypatch.setattr(precisions, "cpu_has_native_bf16", lambda: native)
    assert resolve(asked, torch.device(device)) == expected


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(EngineError, match="^train.precision=fp16 needs a GPU: on a CPU choose fp32 or bf16$"):
        resolve("fp16", CPU)


@pytest.mark.parametrize("wanted", [True, False])
def test_settings_of_the_whole_process(wanted, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        allow_tf32(wanted)
        assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is wanted
        be_deterministic(wanted)
        assert torch.are_deterministic_algorithms_enabled() is wanted
        # cuBLAS's own name and value for its deterministic workspace.
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if wanted else None)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def unwritten_memory_is_nan():
    """What torch does for tensors whose values are not set, where it must be deterministic."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("name, settings", [("sgd", {"momentum": 0.9}), ("sgd", {"momentum": 0.9, "nesterov": True}),
                                            ("adam", {}), ("adamw", {}), ("muon", {"rest": "sgd", "muon_for": ("0",),
                                                                                   "rest_momentum": 0.9})])
def test_a_first_step_that_is_skipped_leaves_nothing_behind(name, settings, unwritten_memory_is_nan):
    """An optimiser whose first gradients overflow goes on as one that never saw them."""
    runs = []
    for factors in ((1.0, 2.0), (1e36, 1.0, 2.0)):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
        optimizer = build_optimizer(name, split_decay(by_pattern(model, {"*": 1.0}), 0.0, True), **settings)
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        precision, moved = Precision("fp16", CPU), []
        for factor in factors:
            precision.backward(sum((p * factor * torch.arange(p.numel()).view(p.shape)).sum()
                                   for p in model.parameters()))
            moved.append(precision.update(optimizer, list(model.parameters()), 0.0))
            optimizer.zero_grad()
        runs.append((moved, [p.detach() for p in model.parameters()]))
    assert [moved for moved, _ in runs] == [[True, True], [False, True, True]]
    for never, once in zip(runs[0][1], runs[1][1], strict=True):
        torch.testing.assert_close(once, never)


def test_steps_in_fp16_are_those_of_plain_torch_and_a_skipped_one_keeps_its_rate():
    """A linear network; the first scale is too high for its gradients, the second is not."""
    torch.manual_seed(0)
    mine, plain = torch.nn.Linear(12, 3), torch.nn.Linear(12, 3)
    plain.load_state_dict(mine.state_dict())
    images, labels = torch.randint(0, 256, (6, 2, 2, 3), dtype=torch.uint8), torch.randint(0, 3, (6,))
    precision, schedule = Precision("fp16", CPU), Exponential(0.1, 0.4, 3)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, backoff_factor=2.0**-14)
    forward = ForwardPass(torch.nn.Sequential(torch.nn.Flatten(), mine), ToInput((0, 0, 0), (1, 1, 1), CPU), precision)
    step = TrainStep(forward, steps_per_epoch=8, clip_norm=0.3)
    groups = split_decay(by_pattern(mine, {"*": 0.4}), 0.0, True)
    step.start_stage(build_optimizer("sgd", groups, momentum=0.9), schedule)
    inputs = images.permute(0, 3, 1, 2).flatten(1) / 255
    optimizer = torch.optim.SGD(plain.parameters(), 0.1, momentum=0.9)
    step(images, labels, 0, 0)
    assert (step.updates, step.rate) == (0, 0.1) and torch.equal(mine.weight, plain.weight)
    for number in range(3):
        step(images, labels, 0, number + 1)
        optimizer.param_groups[0]["lr"] = 0.1 * 2**number
        optimizer.zero_grad()
        F.cross_entropy(plain(inputs), labels).backward()
        norm = math.sqrt(sum(p.grad.square().sum().item() for p in plain.parameters()))
        assert norm > 0.3
        for parameter in plain.parameters():
            parameter.grad *= 0.3 / norm
        optimizer.step()
        torch.testing.assert_close(mine.weight, plain.weight, rtol=2e-3, atol=2e-4)
    assert step.updates == 3
