"""Feed and step of every recipe on fake CUDA tensors: nothing on the wrong device, nothing that waits for it."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import StochasticDepth

from benchmarks import step_launches
from benchmarks.common.fake_gpu import FakeRun, fake_gpu
from engine.build.model import build_model
from engine.training import forward
from engine.training.forward import ForwardPass
from engine.training.nan_guard import NanGuard
from engine.training.precision import DTYPES
from engine.training.step import TrainStep
from recipes.settings.load import load, names

ROWS = {row["name"]: row for row in
        json.loads((Path(step_launches.__file__).parent / "results/step_launches.json").read_text())}
ROOT = Path(__file__).parents[3]
FEW = 8


def a_recipe(**settings):
    return load("quickstart", settings={"model.width": 4, "model.depth": 2, "average.ema": 0.9, "average.lookahead": 2,
                                        "train.clip_norm": 1.0, "mix.p": 0.5, "mix.kind": "both"} | settings)


def test_each_recipe_has_a_row():
    assert set(ROWS) == set(names())


@pytest.mark.slow("builds every network of the recipes and runs its layers on fake tensors")
@pytest.mark.parametrize("name", names())
def test_the_step_of_each_recipe_needs_no_value_of_the_device_and_no_more_than_its_row_says(name):
    recipe, row = load(name), ROWS[name]
    counted = step_launches.row_of(recipe)
    with torch.device("meta"):
        modules = build_model(recipe, 10).modules()
    is_random = any(module.p > 0 for module in modules if isinstance(module, torch.nn.Dropout | StochasticDepth))
    assert (counted.graphs, counted.copies) == (1, 3) and counted.launches == row["launches"] == (2 if is_random else 0)
    # Of the page the sentence that names such recipes.
    (sentence,) = re.findall(r"[^.]*seed and an offset[^.]*", (ROOT / "docs/speed.md").read_text())
    assert (f"`{name}`" in sentence) == is_random
    assert counted.recorded_launches <= row["recorded_launches"]
    assert counted.recorded_bytes <= row["recorded_bytes"]


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_all_that_can_follow_a_step_runs_on_the_device(mode):
    with fake_gpu():
        run = FakeRun(a_recipe(), mode=mode, batch=FEW)
        run.train_epoch()
        assert run.step.updates_done == len(run.feed)


def test_a_step_that_has_to_wait_records_its_passes_only():
    with fake_gpu():
        run = FakeRun(a_recipe(), precision="fp16", batch=FEW)
        assert type(run.step) is TrainStep and run.step.mode == "graph"


@pytest.mark.parametrize("precision", DTYPES)
def test_convolutions_run_in_the_precision_of_the_run(precision):
    seen = set()
    with fake_gpu():
        run = FakeRun(a_recipe(), precision=precision, batch=FEW)
        for module in run.model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
        with run.step.precision.autocast():
            run.model(torch.empty(FEW, 3, 32, 32, device="cuda"))
    assert seen == {DTYPES[precision]}


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_clipping_takes_all_gradients_at_once(mode):
    """On a GPU a deeper network, with more gradients, is clipped in as many launches."""
    counts = {}
    for depth in (2, 3):
        with fake_gpu():
            outside, inside, _ = FakeRun(a_recipe(**{"model.depth": depth}), mode=mode, batch=FEW).count_step()
        found = (inside if mode == "graph" else outside).operations
        counts[depth] = [found[f"aten::{name}"] for name in ("_foreach_norm", "linalg_vector_norm", "mul_")]
    # The norm of all the norms is one more.
    assert counts[2] == counts[3] == [1, 1, counts[2][2]]


def tally_on_the_cpu(monkeypatch):
    made = TrainStep.__init__

    def wrong(self, *arguments, **options):
        made(self, *arguments, **options)
        self.tally = torch.zeros(3, dtype=torch.float64)

    monkeypatch.setattr(TrainStep, "__init__", wrong)


def a_hidden_wait(monkeypatch):
    mark = NanGuard.mark
    monkeypatch.setattr(NanGuard, "mark", lambda self, counts, step: (mark(self, counts, step), float(counts[0])))


def a_branch_on_the_device(monkeypatch):
    loss = ForwardPass.loss

    def branching(self, images_bhwc, *others):
        return loss(self, images_bhwc if images_bhwc.any() else images_bhwc, *others)

    monkeypatch.setattr(ForwardPass, "loss", branching)


def two_dtypes(monkeypatch):
    """The network's logits are bf16, and what follows it is no longer under autocast."""
    loss = forward.mixed_cross_entropy
    monkeypatch.setattr(forward, "mixed_cross_entropy", lambda logits, *others: loss(
        torch.lerp(logits, torch.zeros(logits.shape, device=logits.device), 0.5), *others))


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("fault", [tally_on_the_cpu, a_hidden_wait, a_branch_on_the_device, two_dtypes])
def test_a_tensor_of_the_wrong_device_or_dtype_and_a_hidden_wait_are_noticed(monkeypatch, mode, fault):
    fault(monkeypatch)
    with fake_gpu(), pytest.raises((RuntimeError, TypeError)):
        FakeRun(a_recipe(), mode=mode, batch=FEW).train_epoch()


def test_an_augmentation_that_waits_is_noticed(monkeypatch):
    with fake_gpu():
        run = FakeRun(a_recipe(), batch=FEW)
        augment = run.feed.policy.forward
        monkeypatch.setattr(run.feed.policy, "forward", lambda source, indices, keys: augment(
            source, indices[: int(indices[0])], keys))
        with pytest.raises((RuntimeError, TypeError)):
            run.train_epoch()


class Waiting(TorchDispatchMode):
    """Notes the copies between host and device that the host waits for; a lone number is an argument of a launch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        options = options or {}
        result = operation(*arguments, **options)
        name = operation._schema.name
        if name in ("aten::_to_copy", "aten::copy_"):
            source, target = (arguments[0], result) if name == "aten::_to_copy" else (arguments[1], arguments[0])
            free = options.get("non_blocking", arguments[2] if name == "aten::copy_" and len(arguments) > 2 else False)
            if source.device.type != target.device.type and source.dim() and not free:
                self.seen.append(name)
        return result


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_an_epoch_and_what_is_prepared_for_the_next_copy_without_waiting(mode):
    with fake_gpu():
        run = FakeRun(a_recipe(), mode=mode, batch=FEW)
        run.train_epoch()
        with Waiting() as waiting:
            run.train_epoch()
            run.feed.prepare(1)
            run.step.prepare(1)
        assert not waiting.seen
        with Waiting() as waiting:
            torch.zeros(3).to("cuda")
        assert waiting.seen
