"""Schedules against torch's schedulers, and by hand."""

import math
import subprocess
import sys

import pytest
import torch

from engine.common.errors import EngineError
from engine.optim.schedule import Constant, Cosine, Exponential, Linear, OneCycle, StepDecay, lr_after_epochs

# Rates after these epochs, as the author of the enhanced ResNet-34 logged them: 391 steps per epoch, 200 epochs.
LOGGED = {
    0: ".004148", 1: ".004591", 10: ".020829", 38: ".099853", 39: ".100000", 40: ".099990", 100: ".068222",
    150: ".021412", 165: ".010736",
}


def optimizer_of(momentum=0.9):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=momentum)


def stepped(optimizer, scheduler, steps):
    """torch's (rate, momentum) at steps 0, 1, ... steps - 1."""
    seen = []
    for step in range(steps):
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    return seen


def test_one_cycle_gives_the_logged_rates():
    schedule = OneCycle(0.1, 391 * 200, pct_start=0.2, div=25, final_div=1000)
    rates = lr_after_epochs(schedule, 391, 200)
    assert {epoch: f"{rates[epoch]:.6f}".lstrip("0") for epoch in LOGGED} == LOGGED
    assert len(rates) == 200
    assert rates[-1] == pytest.approx(4e-6, abs=1e-12)


def test_one_cycle_equals_torch_after_each_of_166_epochs():
    schedule = OneCycle(0.1, 391 * 200, pct_start=0.2, div=25, final_div=1000)
    optimizer = optimizer_of()
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=391 * 200, pct_start=0.2, div_factor=25, final_div_factor=1000
    )
    optimizer.step()
    logged = []
    for _ in range(166):
        # The scheduler's own closed form at the step that 391 calls would reach, without the 64,906 calls.
        scheduler.last_epoch += 390
        scheduler.step()
        logged.append(scheduler.get_last_lr()[0])
    ours = lr_after_epochs(schedule, 391, 166)
    assert max(abs(a - b) for a, b in zip(ours, logged, strict=True)) < 1e-12
    assert [f"{rate:.6f}" for rate in ours] == [f"{rate:.6f}" for rate in logged]


@pytest.mark.parametrize("total", [1, 2, 3, 4, 5, 7, 10, 33, 100, 391])
@pytest.mark.parametrize("pct_start", [0.0, 0.1, 0.2, 0.23, 0.3, 0.5, 0.99, 1.0])
def test_one_cycle_equals_torch_at_every_step(total, pct_start):
    schedule = OneCycle(0.4, total, pct_start, div=10, final_div=50, momentum_low=0.8, momentum_high=0.97)
    ours = [schedule.at(step) for step in range(total)]
    if pct_start * total == 1:
        # torch divides by zero here: the peak is step 0 itself.
        assert ours[0] == (0.4, 0.8)
        return
    optimizer = optimizer_of()
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.4, total_steps=total, pct_start=pct_start, div_factor=10, final_div_factor=50,
        base_momentum=0.8, max_momentum=0.97,
    )
    for (lr, momentum), (torch_lr, torch_momentum) in zip(ours, stepped(optimizer, scheduler, total), strict=True):
        assert abs(lr - torch_lr) < 1e-12
        assert abs(momentum - torch_momentum) < 1e-12


def test_one_cycle_by_hand():
    # Peak at step .5 * 9 - 1 = 3.5: the rise takes 3.5 steps, the fall from there to step 8 takes 4.5.
    schedule = OneCycle(1.0, 9, pct_start=0.5, div=4, final_div=5)
    assert schedule.at(0) == (0.25, None)
    assert schedule.at(3)[0] == pytest.approx(1 - 0.75 / 2 * (1 + math.cos(math.pi * 3 / 3.5)))
    assert schedule.at(5)[0] == pytest.approx(0.05 + 0.95 / 2 * (1 + math.cos(math.pi * 1.5 / 4.5)))
    assert schedule.at(8)[0] == pytest.approx(0.05)


def test_one_past_the_end_stays_and_further_is_an_error():
    for schedule in (OneCycle(0.1, 10), Cosine(0.1, 10), Exponential(0.01, 0.1, 10)):
        assert schedule.at(10) == schedule.at(9)
        with pytest.raises(EngineError, match="step 11 lies beyond schedule.total_steps=10"):
            schedule.at(11)


def test_cosine_equals_torch_without_a_rise():
    schedule = Cosine(0.3, 50, final_fraction=0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=49, eta_min=0.03)
    for step, (lr, _) in enumerate(stepped(optimizer, scheduler, 50)):
        assert schedule.at(step)[0] == pytest.approx(lr, abs=1e-12)


def test_cosine_rises_first():
    rates = [Cosine(0.8, 10, warmup_steps=3).at(step)[0] for step in range(10)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert all(a > b for a, b in zip(rates[3:], rates[4:], strict=False))
    assert rates[-1] == pytest.approx(0, abs=1e-15)
    assert rates[6] == pytest.approx(0.4)


def test_a_cosine_that_only_rises_ends_at_the_peak():
    assert [Cosine(1.0, 2, warmup_steps=1).at(step)[0] for step in range(2)] == [0.5, 1.0]
    assert Cosine(1.0, 1).at(0) == (1.0, None)


def test_step_decay_equals_torch():
    schedule = StepDecay(0.5, (3, 4, 8), gamma=0.2)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 4, 8], gamma=0.2)
    for step, (lr, _) in enumerate(stepped(optimizer, scheduler, 12)):
        assert schedule.at(step)[0] == pytest.approx(lr, abs=1e-12)


@pytest.mark.parametrize("total", [1, 7, 10, 391])
def test_linear_without_a_rise_reaches_zero_after_the_last_step(total):
    schedule = Linear(0.24, total)
    for step in range(total + 1):
        assert schedule.at(step) == (pytest.approx(0.24 * (1 - step / total), rel=1e-12, abs=1e-15), None)
    assert schedule.at(0)[0] == 0.24 and schedule.at(total)[0] == 0.0
    with pytest.raises(EngineError, match=f"step {total + 1} lies beyond schedule.total_steps={total}"):
        schedule.at(total + 1)


def test_linear_rises_as_cosine_does_and_ends_at_its_fraction():
    schedule = Linear(0.8, 10, warmup_steps=3, final_fraction=0.3)
    rates = [schedule.at(step)[0] for step in range(11)]
    assert rates[:4] == [Cosine(0.8, 10, warmup_steps=3).at(step)[0] for step in range(4)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[3:] == pytest.approx([0.8 * (1 - 0.7 * past / 7) for past in range(8)])
    assert (rates[3], rates[10]) == (0.8, 0.8 * 0.3)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 1 / 3, 0.07, 1.0])
def test_linear_has_both_ends_exactly(fraction):
    schedule = Linear(0.7, 91, 13, fraction)
    assert (schedule.at(13)[0], schedule.at(91)[0]) == (0.7, 0.7 * fraction)


def test_linear_equals_torch_without_a_rise():
    schedule = Linear(0.3, 50, final_fraction=0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=50)
    for step, (lr, _) in enumerate(stepped(optimizer, scheduler, 51)):
        assert schedule.at(step)[0] == pytest.approx(lr, abs=1e-12)


def test_exponential_multiplies_by_the_same_factor_at_each_step():
    schedule = Exponential(1e-4, 10.0, 6)
    assert schedule.lr == 10.0
    rates = [schedule.at(step)[0] for step in range(6)]
    assert (rates[0], rates[-1]) == (1e-4, 10.0)
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1, 10])
    assert schedule.at(3)[1] is None


def test_constant():
    schedule = Constant(1e-3)
    assert {schedule.at(step) for step in (0, 5, 10**6)} == {(1e-3, None)}
    assert lr_after_epochs(schedule, 391, 3) == [1e-3] * 3


@pytest.mark.parametrize("schedule", [OneCycle(0.2, 40), Cosine(0.2, 40, 5, 0.1), Linear(0.2, 40, 5, 0.1),
                                      StepDecay(0.2, (10, 20)), Constant(0.2)])
def test_rates_are_proportional_to_the_peak(schedule):
    double = type(schedule)(**{**schedule.__dict__, "lr": 0.4})
    for step in range(40):
        assert double.at(step)[0] == pytest.approx(2 * schedule.at(step)[0], rel=1e-14)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Constant(0.0), r"schedule\.lr=0\.0 must be above 0"),
        (lambda: Constant(float("nan")), r"schedule\.lr=nan"),
        (lambda: Constant(float("inf")), r"schedule\.lr=inf"),
        (lambda: OneCycle(-1, 10), r"schedule\.lr=-1"),
        (lambda: OneCycle(0.1, 0), r"schedule\.total_steps=0"),
        (lambda: OneCycle(0.1, 10, pct_start=1.5), r"schedule\.pct_start=1\.5 must be between 0 and 1"),
        (lambda: OneCycle(0.1, 10, div=0.5), r"schedule\.div=0\.5 must be 1 or more"),
        (lambda: OneCycle(0.1, 10, div=math.inf), r"schedule\.div=inf must be 1 or more"),
        (lambda: OneCycle(0.1, 10, final_div=0), r"schedule\.final_div=0 must be 1 or more"),
        (lambda: OneCycle(0.1, 10, final_div=math.inf), r"schedule\.final_div=inf must be 1 or more"),
        (lambda: OneCycle(0.1, 10, momentum_low=0.8), r"schedule\.momentum_low=0\.8 and schedule\.momentum_high=None "
         "go together: set both or neither"),
        (lambda: OneCycle(0.1, 10, momentum_low=0.9, momentum_high=0.8), r"momentum_low=0\.9 must be between"),
        (lambda: OneCycle(0.1, 10, momentum_low=0.9, momentum_high=1.0), r"schedule\.momentum_high=1\.0"),
        (lambda: Cosine(0.1, 10, warmup_steps=10), r"schedule\.warmup_steps=10 must be 0 or more and below the 10"),
        (lambda: Cosine(0.1, 10, warmup_steps=-1), r"schedule\.warmup_steps=-1"),
        (lambda: Cosine(0.1, 10, final_fraction=1.1), r"schedule\.final_fraction=1\.1"),
        (lambda: Cosine(0.1, 0), r"schedule\.total_steps=0"),
        (lambda: Linear(0, 10), r"schedule\.lr=0 must be above 0"),
        (lambda: Linear(0.1, 10, warmup_steps=10), r"schedule\.warmup_steps=10 must be 0 or more and below the 10"),
        (lambda: Linear(0.1, 10, final_fraction=-0.1), r"schedule\.final_fraction=-0\.1 must be between 0 and 1"),
        (lambda: Linear(0.1, 0), r"schedule\.total_steps=0 must be 1 or more"),
        (lambda: Exponential(0.0, 1.0, 10), r"schedule\.low=0\.0 must be above 0 and finite"),
        (lambda: Exponential(1.0, 1.0, 10), r"schedule\.high=1\.0 must be above schedule\.low=1\.0 and finite"),
        (lambda: Exponential(1.0, float("inf"), 10), r"schedule\.high=inf must be above schedule\.low=1\.0"),
        (lambda: Exponential(math.inf, math.inf, 10), r"schedule\.low=inf must be above 0 and finite"),
        (lambda: Exponential(0.1, 1.0, 1), r"schedule\.total_steps=1 must be 2 or more"),
        (lambda: StepDecay(0.1, ()), r"schedule\.milestones=\(\) must be rising steps, the first above 0"),
        (lambda: StepDecay(0.1, (0, 3)), r"schedule\.milestones=\(0, 3\)"),
        (lambda: StepDecay(0.1, (4, 3)), r"schedule\.milestones=\(4, 3\)"),
        (lambda: StepDecay(0.1, (3, 3)), r"schedule\.milestones=\(3, 3\)"),
        (lambda: StepDecay(0.1, (3,), gamma=0), r"schedule\.gamma=0 must be above 0 and at most 1"),
        (lambda: StepDecay(0.1, (3,), gamma=1.5), r"schedule\.gamma=1\.5 must be above 0 and at most 1"),
        (lambda: Constant(0.1).at(-1), "step -1 must be 0 or more"),
        (lambda: OneCycle(0.1, 3).at(-1), "step -1 must be 0 or more"),
    ],
)
def test_out_of_range_is_one_line_naming_the_setting(build, message):
    with pytest.raises(EngineError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("build", [
    lambda: Constant(5e-324), lambda: StepDecay(0.1, (1,), gamma=1), lambda: Cosine(0.1, 1, 0, 0.0),
    lambda: Cosine(0.1, 10, 9, 1.0), lambda: Linear(0.1, 1, 0, 1.0), lambda: Exponential(0.1, 0.2, 2),
    lambda: OneCycle(0.1, 1, 0.0, div=1, final_div=1), lambda: OneCycle(0.1, 3, 1.0, div=1.5, final_div=1.5),
    lambda: OneCycle(0.1, 3, momentum_low=0.0, momentum_high=0.0)])
def test_the_ends_of_each_range_are_allowed(build):
    assert build().at(0)[0] > 0


def test_the_top_of_a_rise_is_the_rate_itself():
    # By the rise's own formula it would be 0.1 * 3 / 3, which is not 0.1.
    assert Cosine(0.1, 10, warmup_steps=2).at(2) == Linear(0.1, 10, warmup_steps=2).at(2) == (0.1, None)


def test_what_is_not_given_is_torchs():
    optimizer = optimizer_of()
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.4, total_steps=9, cycle_momentum=False)
    for step, (lr, _) in enumerate(stepped(optimizer, scheduler, 9)):
        assert OneCycle(0.4, 9).at(step)[0] == pytest.approx(lr, abs=1e-12)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer := optimizer_of(), [2])
    for step, (lr, _) in enumerate(stepped(optimizer, scheduler, 4)):
        assert StepDecay(1.0, (2,)).at(step)[0] == pytest.approx(lr, abs=1e-12)
    assert Cosine(0.4, 9).at(0)[0] == Linear(0.4, 9).at(0)[0] == 0.4 and Linear(0.4, 9).at(9)[0] == 0.0


@pytest.mark.parametrize("schedule", [Constant(0.1), StepDecay(0.1, (3,)), Cosine(0.1, 9), Linear(0.1, 9),
                                      Exponential(0.1, 0.2, 9), OneCycle(0.1, 9)])
def test_schedules_are_frozen(schedule):
    with pytest.raises(AttributeError):
        schedule.total_steps = 1


@pytest.mark.slow("starts a process, which has not imported torch")
def test_schedules_need_no_torch():
    code = "import sys, engine.optim.schedule; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
