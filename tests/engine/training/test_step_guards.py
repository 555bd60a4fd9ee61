"""The step where batches are bad, and as one of several processes, whose part the test plays."""

import math

import pytest
import torch
from torch import nn

from engine.optim.param_groups import build_optimizer, by_pattern, split_decay
from engine.optim.schedule import Constant, Exponential
from engine.training import step as step_module
from engine.training.forward import ForwardPass, ToInput
from engine.training.mixing import Mix
from engine.training.nan_guard import NanGuard, NotFinite
from engine.training.precision import Precision
from engine.training.step import TrainStep

CPU = torch.device("cpu")


class Touchy(nn.Module):
    """A norm and a linear layer; its answers to an all-white batch are NaN, its gradients are times `factor`."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.fc, self.factor = nn.BatchNorm2d(3), nn.Linear(3, 5), 1.0
        self.fc.weight.register_hook(lambda gradient: gradient * self.factor)

    def forward(self, images):
        return self.fc(self.norm(images).mean((2, 3))) * (math.nan if images.min() == 1 else 1.0)


def batch(seed, size=6):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 255, (size, 4, 4, 3), dtype=torch.uint8, generator=generator),
            torch.randint(0, 5, (size,), generator=generator))


WHITE = torch.full((6, 4, 4, 3), 255, dtype=torch.uint8), torch.zeros(6, dtype=torch.int64)


def make(schedule=None, mixes=False, **options):
    model = Touchy()
    forward = ForwardPass(model, ToInput((0, 0, 0), (1, 1, 1), CPU), Precision("fp32", CPU), mixes=mixes)
    step = TrainStep(forward, **{"steps_per_epoch": 4, "images_of": lambda step: 6} | options)
    enter(step, schedule or Constant(0.1))
    return step


def enter(step, schedule):
    groups = split_decay(by_pattern(step.model, {"*": 0.1}), 0.0, True)
    step.start_stage(build_optimizer("sgd", groups, momentum=0.9), schedule)


def state(step):
    return {name: value.clone() for name, value in step.model.state_dict().items()}


def assert_equal(a, b):
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=1e-6, atol=1e-7, msg=name)


def test_counts_add_up_over_the_batches_and_begin_where_they_are_set():
    step = make()
    losses = []
    for number in range(3):
        before = step.tally.clone()
        step(*batch(number), 0, number)
        losses.append((step.tally - before)[0].item() / 6)
    loss, top1, images = step.totals()
    assert images == 18 and loss == pytest.approx(sum(losses) / 3) and 0 <= top1 <= 1
    assert step.tally.dtype == torch.float64 and step.tally.device == CPU
    fresh = make()
    assert (fresh.updates_done, fresh.skipped, fresh.updated, fresh.spoiled) == (0, 0, True, False)


@pytest.mark.parametrize("seen", [True, False])
def test_a_skipped_batch_leaves_no_trace_but_its_number(seen):
    """With the white batch in between and without it: the same weights, statistics, counts and rates."""
    step, number = make(Exponential(0.1, 0.4, 4), skip_bad=True), 0
    step(*batch(0), 0, number)
    if seen:
        before = state(step)
        step(*WHITE, 0, 1)
        assert_equal(state(step), before)
        assert step.skipped == 1 and step.updated and all(p.grad is None for p in step.parameters)
    step(*batch(1), 0, 2)
    plain = make(Exponential(0.1, 0.4, 4))
    for number in range(2):
        plain(*batch(number), 0, number)
    assert_equal(state(step), state(plain))
    assert step.totals() == plain.totals() and step.rate == plain.rate == pytest.approx(0.1 * 4 ** (1 / 3))
    assert (step.skipped, step.updates, step.updates_done) == (int(seen), 2, 2)


@pytest.mark.parametrize("factor", [math.inf, math.nan])
def test_a_bad_gradient_of_a_good_loss_is_skipped_too(factor):
    step = make(skip_bad=True)
    step.model.factor, before = factor, [p.detach().clone() for p in step.model.parameters()]
    step(*batch(0), 0, 0)
    assert [p.tolist() for p in step.model.parameters()] == [p.tolist() for p in before]
    assert (step.skipped, step.updates_done, step.totals()[2]) == (1, 0, 6)
    step.model.factor = 1.0
    step(*batch(0), 0, 1)
    assert (step.skipped, step.updates_done, step.spoiled) == (1, 1, False)
    assert not torch.equal(step.model.fc.weight, before[2])


@pytest.mark.parametrize("bad", [0, 1])
def test_an_update_with_a_bad_batch_is_left_out_whole(bad):
    step = make(skip_bad=True, accumulate=2)
    before = [p.detach().clone() for p in step.model.parameters()]
    for number in range(2):
        step(*(WHITE if number == bad else batch(number)), 0, number)
        assert step.updated == (number == 1)
    assert [p.tolist() for p in step.model.parameters()] == [p.tolist() for p in before]
    assert (step.skipped, step.updates_done, step.totals()[2]) == (1, 0, 6)
    for number in (2, 3):
        step(*batch(number), 0, number)
    assert (step.skipped, step.updates_done) == (1, 1)


def test_a_batch_passed_over_leaves_the_update_to_those_that_share_it():
    """Passed over as the second of two: the update is the first one's half. As both: there is none."""
    step, plain = make(accumulate=2), make(accumulate=2)
    step(*batch(0), 0, 0)
    step.leave_out(1)
    forward = plain.executor
    forward(*batch(0), None, None, 0.5)
    plain._update()
    assert_equal(state(step), state(plain))
    before = state(step)
    for number in (2, 3):
        step.leave_out(number)
    assert_equal(state(step), before)
    assert (step.updates_done, step.updated, step.spoiled, step.skipped) == (1, True, False, 0)


def test_a_guard_tells_the_first_bad_step_at_once_and_begins_anew():
    step = make(guard=NanGuard(CPU))
    step(*batch(0), 0, 0)
    with pytest.raises(NotFinite) as caught:
        step(*WHITE, 0, 1)
    assert caught.value.step == 1
    with pytest.raises(NotFinite):
        step.totals()
    step.reset_counts()
    assert math.isnan(step.totals()[0])


def test_only_the_totals_of_an_epoch_wait_for_the_guard(monkeypatch):
    guard, waits = NanGuard(CPU), []
    monkeypatch.setattr(guard, "known", lambda wait: waits.append(wait) or -1)
    step = make(guard=guard)
    step(*batch(0), 0, 0)
    step.totals()
    assert waits == [False, True]


def test_a_guard_is_not_asked_where_bad_batches_are_skipped():
    step = make(guard=NanGuard(CPU), skip_bad=True)
    step(*WHITE, 0, 0)
    assert step.skipped == 1 and step.totals()[2] == 0


class Others:
    """A process group as one process sees it: what the other ones add, and which image stands before the block."""

    def __init__(self, before=None, adds=(0.0, 0.0, 0.0), bad=-1):
        self.before, self.adds, self.bad, self.asked, self.known = before, adds, bad, [], []

    def image_before(self, images_bhwc, labels):
        self.asked.append((images_bhwc, labels))
        return self.before

    def sum_in_place(self, tensors):
        for tensor in tensors:
            tensor += torch.tensor(self.adds, dtype=torch.float64)

    def first_bad(self, step):
        self.known.append(step)
        return self.bad if step < 0 else step


class Reducer:
    """Notes what is asked of it, and the gradients that it would sum."""

    made = []

    def __init__(self, parameters):
        self.parameters, self.calls, self.gradients = parameters, [], []
        Reducer.made.append(self)

    def expect(self):
        self.calls.append("expect")

    def finish(self):
        self.calls.append("finish")
        self.gradients.append([p.grad.clone() for p in self.parameters])

    def close(self):
        self.calls.append("close")


@pytest.fixture
def reducers(monkeypatch):
    monkeypatch.setattr(step_module, "GradientReducer", Reducer)
    monkeypatch.setattr(Reducer, "made", [])
    return Reducer.made


@pytest.mark.parametrize("mix", [None, Mix("mixup", 0.25), Mix("cutmix", 0.75, (0, 2, 0, 2))])
@pytest.mark.parametrize("mode", ["eager", "compile"])
def test_the_blocks_gradients_add_up_to_the_whole_batchs(mix, mode, reducers, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    images, labels = batch(0)
    options = {"draw_mix": lambda epoch, step, height, width: mix, "mixes": True, "mode": mode}
    whole = make(process_group=Others((images[-1:], labels[-1:])), **options)
    # Statistics of a block are not the whole batch's: the network must not normalise by them.
    whole.model.norm.eval()
    whole(images, labels, 0, 0)
    summed = None
    for first, stop in ((0, 4), (4, 6)):
        group = Others((images[first - 1][None], labels[first - 1][None]))
        step = make(process_group=group, **options)
        step.model.norm.eval()
        block = images[first:stop], labels[first:stop]
        step(*block, 0, 0)
        assert len(group.asked) == (1 if mix or mode == "compile" else 0)
        assert all(got is given for asked in group.asked for got, given in zip(asked, block, strict=True))
        gradients = reducers[-1].gradients[0]
        summed = gradients if summed is None else [a + b for a, b in zip(summed, gradients, strict=True)]
    torch.testing.assert_close(summed, reducers[0].gradients[0], rtol=1e-5, atol=1e-6)


def test_without_mixing_no_image_is_asked_for(reducers, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    for mode in ("eager", "compile"):
        group = Others()
        make(process_group=group, mode=mode)(*batch(0), 0, 0)
        assert not group.asked


def test_gradients_are_sent_once_an_update_and_each_stage_has_a_reducer_of_its_own(reducers):
    step = make(process_group=Others(), accumulate=2, steps_per_epoch=3)
    step.model.register_forward_pre_hook(lambda *_: reducers[-1].calls.append("forward"))
    for number in range(3):
        step(*batch(number), 0, number)
    first = ["forward", "expect", "forward", "finish", "expect", "forward", "finish"]
    assert [reducer.calls for reducer in reducers] == [first] and step.updates_done == 2
    for parameter in step.model.norm.parameters():
        parameter.requires_grad_(False)
    enter(step, Constant(0.1))
    assert [reducer.calls for reducer in reducers] == [[*first, "close"], []]
    assert [len(reducer.parameters) for reducer in reducers] == [4, 2]


def test_totals_are_those_of_all_processes_and_bad_steps_are_agreed_on(reducers):
    group = Others(adds=(9.0, 3.0, 4.0))
    step = make(process_group=group, guard=NanGuard(CPU))
    step(*batch(0), 0, 0)
    own = step.tally.tolist()
    for _ in range(2):
        assert step.totals() == (pytest.approx((own[0] + 9) / 10), pytest.approx((own[1] + 3) / 10), 10)
    assert group.known == [-1, -1]
    for bad in (0, 2):
        group.bad = bad
        with pytest.raises(NotFinite) as caught:
            step.totals()
        assert caught.value.step == bad
    # A bad batch of one process is told when all ask, not in its step: the others would wait for it.
    step(*WHITE, 0, 3)
    with pytest.raises(NotFinite) as caught:
        step.totals()
    assert caught.value.step == 3 and group.known[-1] == 3


@pytest.mark.parametrize("adds, skipped", [((math.nan, 0, 6), 1), ((1.0, 0, 6), 0), ((1e9, 0, 6), 1)])
def test_a_batch_that_is_bad_in_another_process_is_skipped_in_this_one(adds, skipped, reducers):
    step = make(process_group=Others(adds=adds), skip_bad=True, guard=NanGuard(CPU))
    before = state(step)
    step(*batch(0), 0, 0)
    assert (step.skipped, step.updates_done, step.tally[2].item()) == (skipped, 1 - skipped, 6 * (1 - skipped))
    if skipped:
        assert_equal(state(step), before)
