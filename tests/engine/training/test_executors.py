"""The executors of a step: compiled and captured ones train as the eager one does, and are made once per stage."""

import pytest
import torch

from engine.common.errors import EngineError
from engine.models.cnn import Cnn
from engine.optim.param_groups import build_optimizer, by_pattern, split_decay
from engine.optim.schedule import Constant
from engine.training.executors import resolve
from engine.training.forward import ForwardPass, ToInput
from engine.training.mixing import draw_mix
from engine.training.precision import Precision
from engine.training.step import TrainStep

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: graph capture is untested here")
compiles = pytest.mark.slow("compiles the step with a C++ compiler")
CPU = torch.device("cpu")


def step_of(mode, device=CPU, **options):
    torch.manual_seed(0)
    model = Cnn(5, 16, dropout=0.0, depth=3, width=16).to(device, memory_format=torch.channels_last)
    compute = ForwardPass(model, ToInput((0.5,) * 3, (0.25,) * 3, device), Precision("fp32", device), smoothing=0.1,
                      smooth_mixed=False, mixes=True)

    def mix(epoch, step, height, width):
        return draw_mix(3, epoch, step, height, width, cutmix_p=0.4, mixup_p=0.3)

    step = TrainStep(compute, steps_per_epoch=4, mode=mode, draw_mix=mix, size_of={0: None, 1: 12}.get,
                     images_of=(6, 6, 6, 3).__getitem__, **options)
    enter(step)
    return step


def enter(step, patterns=None):
    groups = split_decay(by_pattern(step.model, patterns or {"*": 0.05}), 5e-4, True)
    step.start_stage(build_optimizer("sgd", groups, momentum=0.9, nesterov=True), Constant(0.05))


def train(step, epochs=(0, 1)):
    """Losses of each step; the last batch of an epoch is smaller."""
    torch.manual_seed(1)
    totals = []
    step.model.train()
    for epoch in epochs:
        for number, size in enumerate((6, 6, 6, 3)):
            images = torch.randint(0, 256, (size, 16, 16, 3), dtype=torch.uint8).to(step.device)
            step(images, torch.randint(0, 5, (size,)).to(step.device), epoch, number)
            totals.append(step.tally.clone())
    return torch.stack(totals).diff(dim=0, prepend=torch.zeros(1, 3, dtype=torch.float64, device=step.device))[:, 0]


def programs_made():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@compiles
def test_a_compiled_step_trains_as_the_plain_one_and_nothing_is_compiled_again():
    plain, fast = step_of("eager"), step_of("compile")
    torch.testing.assert_close(train(fast), train(plain), rtol=1e-3, atol=1e-4)
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(fast.model.state_dict()[name], value, rtol=2e-2, atol=2e-3, msg=name)
    before = programs_made()
    train(fast)
    assert before > 0 and programs_made() == before


@compiles
def test_gradients_of_several_batches_are_added_up_in_a_compiled_step_too():
    plain, fast = step_of("eager", accumulate=2), step_of("compile", accumulate=2)
    torch.testing.assert_close(train(fast, [0]), train(plain, [0]), rtol=1e-3, atol=1e-4)
    assert plain.updates_done == fast.updates_done == 2


@pytest.mark.parametrize(("mode", "device", "accumulate", "said"), [
    ("graph", "cpu", 1, "train.step=graph needs a GPU"), ("graph", "cuda", 2, "needs train.accumulate=1")])
def test_what_cannot_be_captured_is_refused(mode, device, accumulate, said):
    with pytest.raises(EngineError, match=said):
        resolve(mode, torch.device(device), accumulate)


def test_auto_is_the_fastest_that_there_is():
    assert resolve("auto", CPU, 1) == "eager"
    assert resolve("auto", torch.device("cuda"), 1) == "graph"
    assert resolve("auto", torch.device("cuda"), 4) == "compile"
    assert resolve("compile", CPU, 4) == "compile"


@needs_gpu
def test_a_captured_step_trains_as_the_plain_one():
    device = torch.device("cuda")
    plain, fast = step_of("eager", device), step_of("graph", device)
    torch.testing.assert_close(train(fast), train(plain), rtol=1e-3, atol=1e-4)
    assert len(fast.executor.graphs) == 4, "two sizes, each with a smaller last batch"
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(fast.model.state_dict()[name], value, rtol=2e-2, atol=2e-3, msg=name)


@needs_gpu
def test_a_stage_is_captured_anew_and_frozen_layers_stay():
    step = step_of("graph", torch.device("cuda"))
    train(step, [0])
    for name, parameter in step.model.named_parameters():
        parameter.requires_grad_(name.startswith("head"))
    enter(step, {"head": 0.05})
    assert not step.executor.graphs
    before = step.model.features[0].weight.clone(), step.model.head[-1].weight.clone()
    train(step, [0])
    assert torch.equal(step.model.features[0].weight, before[0])
    assert not torch.equal(step.model.head[-1].weight, before[1])


@needs_gpu
@pytest.mark.parametrize("mode", ["eager", "compile", "graph"])
def test_no_step_waits_for_the_device(mode):
    step = step_of(mode, torch.device("cuda"))
    train(step)
    images = torch.zeros(6, 16, 16, 3, dtype=torch.uint8, device="cuda")
    labels = torch.zeros(6, dtype=torch.int64, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(3):
            step(images, labels, 0, number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
