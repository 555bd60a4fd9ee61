"""channels_last from the feed's bytes to the head: no convolution sees another layout, forward or backward."""

import pytest
import torch

from engine.models import registry
from engine.training.forward import ForwardPass, ToInput
from engine.training.precision import Precision

NETWORKS = {"baseline": {}, "cnn": {"width": 8, "depth": 4}, "cnn4": {}, "resnet34": {},
            "sprint": {"widths": (24, 32, 32)}, "sprint_pairs": {"widths": (24, 32, 40), "inner": (8, 12, 16)}}


def run(name, device, precision, seen):
    torch.manual_seed(0)
    model = registry.build(name, 10, 32, **NETWORKS[name]).to(device, memory_format=torch.channels_last)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda layer, inputs, output: seen.extend([inputs[0], output]))
            layer.register_full_backward_pre_hook(lambda layer, received: seen.append(received[0]))
    compute = ForwardPass(model, ToInput((0.5,) * 3, (0.25,) * 3, device), Precision(precision, device))
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, device=device)
    loss, _ = compute.loss(images, torch.randint(0, 10, (4,), device=device), None, None)
    loss.backward()
    return model


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_sees_and_gives_channels_last(name, precision):
    seen = []
    model = run(name, torch.device("cpu"), precision, seen)
    assert len(seen) >= 3 * sum(isinstance(layer, torch.nn.Conv2d) for layer in model.modules())
    assert all(tensor.is_contiguous(memory_format=torch.channels_last) for tensor in seen)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: its kernels can't be listed here")
@pytest.mark.parametrize("name", NETWORKS)
def test_no_kernel_on_the_gpu_converts_a_layout(name):
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as taken:
        run(name, torch.device("cuda"), "bf16", [])
        torch.cuda.synchronize()
    kernels = {event.key for event in taken.key_averages()}
    assert not {name for name in kernels if "nchwToNhwc" in name or "nhwcToNchw" in name}
