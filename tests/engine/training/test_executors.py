"""The executors of a step: compiled and captured ones train as the eager one does, and are made once per stage."""

from functools import partial

import pytest
import torch

from engine.common.errors import EngineError
from engine.models import registry
from engine.models.cnn import Cnn
from engine.optim.param_groups import build_optimizer, by_pattern, split_decay
from engine.optim.schedule import Constant
from engine.training import executors
from engine.training.executors import MODES, Captured, Compiled, build_executor, compiled, only_passes, resolve
from engine.training.forward import ForwardPass, ToInput
from engine.training.mixing import Mix, draw_mix
from engine.training.precision import Precision
from engine.training.step import TrainStep
from engine.training.whole_step import WholeStep
from tests.engine.training import recorded_graph

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: graph capture is untested here")
compiles = pytest.mark.slow("compiles the step with a C++ compiler")
CPU = torch.device("cpu")


def side_of(epoch, step):
    return 12 if epoch == 1 else None


def step_of(mode, device=CPU, **options):
    torch.manual_seed(0)
    model = Cnn(5, 16, dropout=0.0, depth=3, width=16).to(device, memory_format=torch.channels_last)
    compute = ForwardPass(model, ToInput((0.5,) * 3, (0.25,) * 3, device), Precision("fp32", device), smoothing=0.1,
                      smooth_mixed=False, mixes=True)

    def mix(epoch, step, height, width):
        return draw_mix(3, epoch, step, height, width, cutmix_p=0.4, mixup_p=0.3)

    kind = WholeStep if mode == "whole" else partial(TrainStep, mode=mode)
    step = kind(compute, steps_per_epoch=4, draw_mix=mix, size_of=side_of, images_of=(6, 6, 6, 3).__getitem__,
                **options)
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


@compiles
def test_a_compiled_sprint_step_in_bf16_has_gradients_as_good_as_the_plain_ones():
    """Compiled, the backward pass calculates GELU again, in fp32: pooling must not look for maxima there."""
    torch.manual_seed(1)
    images, labels = torch.randint(0, 256, (32, 32, 32, 3), dtype=torch.uint8), torch.randint(0, 10, (32,))
    gradients = []
    for mode, precision in (("eager", "fp32"), ("eager", "bf16"), ("compile", "bf16")):
        torch.manual_seed(0)
        model = registry.build("sprint", 10, 32, widths=(24, 24, 24)).to(memory_format=torch.channels_last)
        forward = ForwardPass(model, ToInput((0.5,) * 3, (0.25,) * 3, CPU), Precision(precision, CPU))
        build_executor(mode, forward)(images, labels, None, None, 1.0)
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]))
    exact, plain, fast = gradients
    assert fast.isfinite().all() and (fast - exact).norm() < 1.25 * (plain - exact).norm() < 0.25 * exact.norm()


CUDA = torch.device("cuda")


@pytest.mark.parametrize(("mode", "device", "accumulate", "processes", "sync_bn", "said"), [
    ("graph", CPU, 1, 1, False, "train.step=graph needs a GPU, the device is cpu: choose eager, compile or auto"),
    ("graph", CUDA, 2, 1, False, "train.step=graph needs train.accumulate=1, not 2: choose compile, or larger batches"),
    ("graph", CUDA, 1, 2, False, "train.step=graph is for a single process, and there are 2: choose compile, eager or "
     "auto"),
    ("graph", CUDA, 1, 2, True, "train.step=graph cannot hold the communication of train.sync_bn: choose eager"),
    ("compile", CUDA, 1, 2, True, "train.step=compile cannot hold the communication of train.sync_bn")])
def test_what_cannot_be_captured_is_refused(mode, device, accumulate, processes, sync_bn, said):
    with pytest.raises(EngineError, match=said):
        resolve(mode, device, accumulate, processes, sync_bn)


@pytest.mark.parametrize(("mode", "device", "accumulate", "processes", "sync_bn", "chosen"), [
    ("auto", CPU, 1, 1, False, "eager"), ("auto", CPU, 4, 2, False, "eager"), ("auto", CUDA, 1, 1, False, "graph"),
    ("auto", CUDA, 4, 1, False, "compile"), ("auto", CUDA, 1, 2, False, "compile"),
    ("auto", CUDA, 2, 2, False, "compile"), ("auto", CUDA, 1, 2, True, "eager"),
    ("eager", CUDA, 1, 2, True, "eager"), ("eager", CUDA, 4, 1, False, "eager"),
    ("compile", CPU, 4, 1, False, "compile"), ("compile", CUDA, 1, 2, False, "compile"),
    ("graph", CUDA, 1, 1, False, "graph")])
def test_auto_is_the_fastest_that_there_is_and_what_is_chosen_stays(mode, device, accumulate, processes, sync_bn,
                                                                    chosen):
    assert resolve(mode, device, accumulate, processes, sync_bn) == chosen
    if processes == 1 and not sync_bn:
        assert resolve(mode, device, accumulate) == chosen


@pytest.fixture
def not_compiled(monkeypatch):
    """torch.compile hands its function back; the list takes the options that it is called with."""
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: asked.append(options) or function)
    with torch._dynamo.config.patch(recompile_limit=8):
        yield asked


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_a_compiled_step_is_made_of_trains_as_the_plain_one(accumulate, not_compiled):
    plain, fast = step_of("eager", accumulate=accumulate), step_of("compile", accumulate=accumulate)
    torch.testing.assert_close(train(fast), train(plain), rtol=1e-5, atol=1e-6)
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(fast.model.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)
    # A program for each shape; torch's own limit of them would leave the ninth uncompiled.
    assert not_compiled == [{"dynamic": False}] and torch._dynamo.config.recompile_limit == 128


def test_a_block_of_a_batch_is_given_the_image_before_it_by_each_executor(not_compiled):
    step, mix = step_of("eager"), Mix("cutmix", 0.5, (0, 12, 0, 6))
    images, labels = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8), torch.arange(4)
    before = torch.randint(0, 256, (1, 16, 16, 3), dtype=torch.uint8), torch.tensor([4])
    forward = step.executor
    expected = forward.loss(images, labels, 12, mix, before)[1]
    assert not torch.equal(expected, forward.loss(images, labels, 12, mix)[1])
    for executor in (forward, build_executor("compile", forward)):
        for share in (1, 0.25):
            step.model.zero_grad()
            (share * forward.loss(images, labels, 12, mix, before)[0]).backward()
            gradients = [p.grad.clone() for p in step.model.parameters()]
            step.model.zero_grad()
            torch.testing.assert_close(executor(images, labels, 12, mix, share, before), expected)
            torch.testing.assert_close([p.grad for p in step.model.parameters()], gradients, rtol=1e-4, atol=1e-6)


def test_each_mode_has_an_executor_of_its_own(not_compiled, monkeypatch):
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    forward = step_of("eager").executor
    assert [type(build_executor(mode, forward)) for mode in MODES] == [ForwardPass, Compiled, Captured]


@pytest.mark.parametrize("kind", ["TorchDynamoException", "Unsupported"])
def test_a_compiler_that_fails_is_one_line(kind, monkeypatch):
    def compiler_that_says(text):
        def fails(*_):
            raise getattr(torch._dynamo.exc, kind)(text)
        return fails

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: compiler_that_says("the first line\nand more"))
    with pytest.raises(EngineError, match=r"^train.step: torch.compile failed \(the first line\); choose "
                                          r"--train.step=eager, and see that a C\+\+ compiler is installed$"):
        compiled(len)([])
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: compiler_that_says("\n" + "ab" * 150))
    with pytest.raises(EngineError, match=rf"failed \({'ab' * 100}\); "):
        compiled(len)([])


class Recorded:
    """What stands in for a captured graph: notes what it is made of and replayed with."""

    def __init__(self, function, forward, inputs, pool):
        self.function, self.inputs, self.pool, self.replayed = function, inputs, pool, []

    def replay(self, inputs):
        self.replayed.append(inputs)
        return self.function(*inputs)[1]


def test_a_graph_is_captured_for_each_size_and_anew_in_each_stage(not_compiled, monkeypatch):
    pools = iter("ab")
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(pools))
    monkeypatch.setattr(executors, "Graph", Recorded)
    forward, mix = step_of("eager").executor, Mix("mixup", 0.25)
    captured = build_executor("graph", forward)
    images, labels = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8), torch.arange(4)
    for size_px, count in ((None, 4), (12, 4), (None, 3), (None, 4)):
        expected = forward.loss(images[:count], labels[:count], size_px, mix)[1]
        torch.testing.assert_close(captured(images[:count], labels[:count], size_px, mix, 1), expected)
    assert {key: len(graph.replayed) for key, graph in captured.graphs.items()} == {(4, None): 2, (4, 12): 1,
                                                                                    (3, None): 1}
    first = captured.graphs[4, None]
    assert first.pool == "a" and torch.equal(first.inputs[2], forward.row_of(mix))
    captured.start_stage()
    assert captured.graphs == {} and captured.pool == "b"


@pytest.mark.parametrize(("precision", "skip", "why"), [
    ("bf16", False, ""), ("fp16", False, "loss scaler"), ("fp32", True, "train.on_nan=skip")])
def test_a_graph_holds_the_whole_step_where_nothing_waits(precision, skip, why):
    reason = only_passes(precision, skip)
    assert why in reason and bool(reason) == bool(why)


def test_recorded_passes_train_as_the_plain_step(monkeypatch):
    recorded_graph.use(monkeypatch)
    plain, fast = step_of("eager"), step_of("graph")
    torch.testing.assert_close(train(fast), train(plain), rtol=1e-3, atol=1e-4)
    assert len(fast.executor.graphs) == 4, "two sizes, each with a smaller last batch"
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(fast.model.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


@needs_gpu
@pytest.mark.parametrize("mode", ["graph", "whole"])
def test_a_captured_step_trains_as_the_plain_one(mode):
    device = torch.device("cuda")
    plain, fast = step_of("eager", device), step_of(mode, device)
    torch.testing.assert_close(train(fast), train(plain), rtol=1e-3, atol=1e-4)
    graphs = fast.graphs if mode == "whole" else fast.executor.graphs
    assert len(graphs) == 4, "two sizes, each with a smaller last batch"
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
@pytest.mark.parametrize("mode", ["eager", "compile", "graph", "whole"])
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
