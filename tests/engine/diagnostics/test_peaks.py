"""A machine's peaks, and the work of a step against counts by hand."""

import pytest
import torch
from torch import nn

from engine.diagnostics import peaks
from engine.diagnostics.peaks import Peaks, StepWork, best_rate, count_work, limit_of, measure_peaks
from engine.models.flops import flops_per_image
from engine.models.registry import build

CPU = torch.device("cpu")
MACHINE = Peaks({"fp32": 1e12, "bf16": 8e12}, 1e11)


class Plain(nn.Module):
    """A convolution, a ReLU, a head."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Linear(8, 5)

    def forward(self, images):
        return self.head(self.relu(self.conv(images)).mean((2, 3)))


def test_work_by_hand():
    conv, head = 2 * 3 * 8 * 9 * 16, 2 * 8 * 5
    # Backward: the weights' gradients of both, and what the head hands back; images need no gradient.
    flops = 2 * conv + 3 * head
    elements = (3 * 16 + 8 * 16) + 2 * 8 * 16 + (8 + 5)
    weights = (3 * 8 * 9 + 8) + (8 * 5 + 5)
    assert count_work(Plain(), 4, batch=10, element_bytes=2) == StepWork(
        flops, pytest.approx(3 * (2 * elements + 4 * weights / 10)))


def test_frozen_layers_cost_no_backward():
    model = Plain()
    model.conv.requires_grad_(False)
    # Nor does anything ask the head for its input's gradient.
    elements, weights = (3 * 16 + 8 * 16) + 2 * 8 * 16 + 3 * (8 + 5), 8 * 5 + 5
    assert count_work(model, 4, 10, 4) == StepWork(2 * 3 * 8 * 9 * 16 + 2 * 2 * 8 * 5,
                                                   pytest.approx(4 * elements + 3 * 4 * weights / 10))


@pytest.mark.parametrize("name", [
    "baseline", "sprint", pytest.param("resnet34", marks=pytest.mark.slow("builds 21 million weights"))])
def test_a_step_costs_about_three_times_its_forward(name):
    model = build(name, 10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    work = count_work(model, 32, 128, 4)
    assert 2.5 < work.flops / flops_per_image(model, 32) <= 3
    assert model.training and all(p.grad is None and p.device.type == "cpu" for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert 0.5 < work.flops_per_byte < 500


def test_the_roofline_is_the_lower_of_memory_and_arithmetic():
    assert MACHINE.attainable("fp32", 2.0) == 2e11 and MACHINE.attainable("fp32", 20.0) == 1e12
    assert MACHINE.attainable("bf16", 20.0) == 2e12


@pytest.mark.parametrize("work, images_s, issue_share, expected", [
    (StepWork(1e9, 1e7), 600.0, None, ("arithmetic", 0.6)),
    (StepWork(1e9, 1e9), 60.0, None, ("memory", 0.6)),
    (StepWork(1e9, 1e7), 200.0, None, ("overhead", 0.2)),
    (StepWork(1e9, 1e7), 200.0, 0.95, ("launches", 0.2)),
    (StepWork(1e9, 1e7), 600.0, 0.5, ("arithmetic", 0.6)),
])
def test_what_limits_a_step(work, images_s, issue_share, expected):
    limit, reached = limit_of(work, MACHINE, "fp32", images_s, issue_share)
    assert (limit, reached) == (expected[0], pytest.approx(expected[1]))


def test_the_fastest_call_counts_and_the_first_does_not(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(peaks.time, "perf_counter", lambda: now[0])
    takes = iter([0.01, 2.0, 0.5, 1.0, 0.001])
    asked = []

    def call():
        now[0] += next(takes)

    assert best_rate(call, 10.0, 3.0, lambda: asked.append(1)) == pytest.approx(20.0)
    # The warm-up, and three calls that fill three seconds; each is waited for.
    assert len(asked) == 4 and next(takes) == 0.001


def test_the_peaks_of_this_machine(monkeypatch):
    monkeypatch.setitem(peaks.MATRIX_SIDE, "cpu", 256)
    monkeypatch.setitem(peaks.COPIED_BYTES, "cpu", 1 << 22)
    found = measure_peaks(CPU, ["fp32", "bf16", "fp32"], 0.01)
    assert list(found.flops_s) == ["fp32", "bf16"]
    assert 1e8 < found.flops_s["fp32"] < 1e15 and 1e8 < found.bytes_s < 1e14


def test_of_two_looks_the_higher_figures_count():
    later = Peaks({"fp32": 2e12, "bf16": 1e12}, 5e10)
    assert MACHINE.or_better(later) == later.or_better(MACHINE) == Peaks({"fp32": 2e12, "bf16": 8e12}, 1e11)
