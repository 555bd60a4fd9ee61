"""The step against plain torch: the same batches, the same weights, bit for bit or to the precision's tolerance."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from engine.optim.averaging import Lookahead
from engine.optim.param_groups import build_optimizer, by_pattern, split_decay
from engine.optim.schedule import Constant, Exponential, Linear, OneCycle
from engine.training import mixing
from engine.training.forward import ForwardPass, ToInput, resize
from engine.training.precision import Precision, cpu_has_native_bf16
from engine.training.step import TrainStep

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5))


def batches(count, size=6):
    torch.manual_seed(1)
    return [(torch.randint(0, 256, (size, 8, 8, 3), dtype=torch.uint8), torch.randint(0, 5, (size,)))
            for _ in range(count)]


def make(model, schedule=None, **options):
    groups = split_decay(by_pattern(model, {"*": 0.1}), 5e-4, True)
    optimizer = build_optimizer("sgd", groups, momentum=0.9, nesterov=True)
    options = {"steps_per_epoch": 4} | options
    loss = {"smoothing": options.pop("smoothing", 0.0), "smooth_mixed": options.pop("smooth_mixed", True)}
    compute = ForwardPass(model, ToInput(MEAN, STD, CPU), Precision("fp32", CPU), mixes="draw_mix" in options, **loss)
    step = TrainStep(compute, **options)
    step.start_stage(optimizer, schedule or Constant(0.1))
    return step


def plain_input(images):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std


def test_input_is_normalised_and_channels_last_without_moving_bytes():
    images, _ = batches(1)[0]
    made = ToInput(MEAN, STD, CPU)(images)
    torch.testing.assert_close(made, plain_input(images))
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert ToInput(MEAN, STD, CPU, channels_last=False)(images).is_contiguous()
    to_input = ToInput((0, 0, 0), (1, 1, 1), CPU)
    for each in (to_input.scale, to_input.shift):
        assert (each.shape, each.dtype) == ((1, 3, 1, 1), torch.float32)


def test_steps_equal_plain_torch_with_onecycle_smoothing_and_clipping():
    data, mine, plain = batches(4), network(), network()
    step = make(mine, OneCycle(0.1, 4, momentum_low=0.85, momentum_high=0.95), smoothing=0.1, clip_norm=0.5)
    optimizer = torch.optim.SGD(plain.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=4)
    for number, (images, labels) in enumerate(data):
        step(images, labels, 0, number)
        optimizer.zero_grad()
        F.cross_entropy(plain(plain_input(images)), labels, label_smoothing=0.1).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    for ours, theirs in zip(mine.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert step.updates == 4


def test_accumulated_batches_equal_one_large_batch_and_a_smaller_last_group_is_averaged():
    data = batches(3)
    mine, plain = network(), network()
    step = make(mine, accumulate=2, steps_per_epoch=3, images_of=lambda step: len(data[step][1]))
    for number, (images, labels) in enumerate(data):
        step(images, labels, 0, number)
    other = make(plain, steps_per_epoch=2)
    other(torch.cat([data[0][0], data[1][0]]), torch.cat([data[0][1], data[1][1]]), 0, 0)
    other(*data[2], 0, 1)
    assert step.updates == 2
    for ours, theirs in zip(mine.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_accumulated_batches_of_different_sizes_are_the_mean_over_their_images():
    (images, labels), mine, plain = batches(1, 12)[0], network(), network()
    sizes = (5, 5, 2)
    step = make(mine, accumulate=3, steps_per_epoch=3, images_of=sizes.__getitem__)
    for number, part in enumerate(torch.arange(12).split(sizes)):
        step(images[part], labels[part], 0, number)
    make(plain, steps_per_epoch=1)(images, labels, 0, 0)
    for ours, theirs in zip(mine.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_mixed_batches_are_drawn_by_epoch_and_step_and_counted_by_share():
    asked = []

    def draw(epoch, step, height, width):
        asked.append((epoch, step, height, width))
        return mixing.Mix("mixup", 0.75)

    images, labels = batches(1)[0]
    model = network()
    step = make(model, draw_mix=draw, smoothing=0.1, smooth_mixed=False)
    inputs, first, second, lam = mixing.apply_mix(plain_input(images), labels, mixing.Mix("mixup", 0.75))
    logits = model(inputs)
    loss = lam * F.cross_entropy(logits, first) + (1 - lam) * F.cross_entropy(logits, second)
    guess = logits.argmax(1)
    right = (lam * (guess == first) + (1 - lam) * (guess == second)).mean()
    step(images, labels, 2, 3)
    assert asked == [(2, 3, 8, 8)]
    mean_loss, top1, count = step.totals()
    assert count == 6 and mean_loss == pytest.approx(loss.item(), rel=1e-5) and top1 == pytest.approx(right.item())


def ending(model, updates, **options):
    """A step whose part `0` (the convolution) ends after so many of 8 updates, with rates 0.1 and 0.3."""
    groups = split_decay(by_pattern(model, {"0": 0.1, "*": 0.3}), 5e-4, True)
    compute = ForwardPass(model, ToInput(MEAN, STD, CPU), Precision("fp32", CPU))
    step = TrainStep(compute, steps_per_epoch=4, **options)
    told = []
    step.start_stage(build_optimizer("sgd", groups, momentum=0.9, nesterov=True), Linear(0.3, 8),
                     {"0": Linear(0.1, updates)}, lambda: told.append(step.updates))
    return step, told


def test_a_part_that_ends_early_has_its_own_rate_and_is_frozen_from_then_on():
    model, rates, weights = network(), [], []
    step, told = ending(model, 3)
    images, labels = batches(1)[0]
    for number in range(8):
        step(images, labels, number // 4, number % 4)
        rates.append([group["lr"] for group in step.optimizer.param_groups])
        weights.append(model[0].weight.detach().clone())
    assert [rate for rate, _ in rates[:3]] == pytest.approx([0.1 * (1 - s / 3) for s in range(3)])
    assert [rate for _, rate in rates] == pytest.approx([0.3 * (1 - s / 8) for s in range(8)])
    assert told == [3] and step.updates == 8
    assert not torch.equal(weights[1], weights[2]) and all(torch.equal(weights[2], later) for later in weights[3:])
    assert not any(p.requires_grad for p in model[0].parameters()) and model[3].weight.requires_grad
    # The gradient stops before what is frozen.
    loss, _ = step.executor.loss(images, labels, None, None)
    loss.backward()
    assert all(p.grad is None for p in model[0].parameters()) and model[3].weight.grad is not None
    assert step.parameters == list(model[3].parameters())


def test_until_a_part_ends_its_weights_are_those_of_plain_torch_with_two_rates():
    mine, plain, data = network(), network(), batches(8)
    step, _ = ending(mine, 3)
    optimizer = torch.optim.SGD([{"params": plain[0].parameters()}, {"params": plain[3].parameters()}], 0.1,
                                momentum=0.9, nesterov=True, weight_decay=5e-4)
    for number, (images, labels) in enumerate(data):
        step(images, labels, number // 4, number % 4)
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - number / 3)
        optimizer.param_groups[1]["lr"] = 0.3 * (1 - number / 8)
        optimizer.zero_grad()
        F.cross_entropy(plain(plain_input(images)), labels).backward()
        if number >= 3:
            for parameter in plain[0].parameters():
                parameter.grad = None
        optimizer.step()
    for ours, theirs in zip(mine.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_run_that_is_restored_after_the_end_of_a_part_freezes_it_before_its_first_batch():
    data, whole = batches(8), network()
    step, _ = ending(whole, 3)
    for number, batch in enumerate(data[:5]):
        step(*batch, number // 4, number % 4)
    saved = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    optimizer = copy.deepcopy(step.optimizer.state_dict())
    for number, batch in enumerate(data[5:], 5):
        step(*batch, number // 4, number % 4)
    again = network()
    again.load_state_dict(saved)
    resumed, told = ending(again, 3)
    resumed.optimizer.load_state_dict(optimizer)
    resumed.updates = 5
    for number, batch in enumerate(data[5:], 5):
        resumed(*batch, number // 4, number % 4)
    assert told == [5] and torch.equal(again[0].weight, saved["0.weight"])
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_lookahead_leaves_a_part_that_has_ended_alone():
    model = network()
    step, _ = ending(model, 3, lookahead=Lookahead(model.parameters(), 4, 0.5))
    images, labels = batches(1)[0]
    weights = []
    for number in range(8):
        step(images, labels, number // 4, number % 4)
        weights.append([layer.weight.detach().clone() for layer in (model[0], model[3])])
    assert all(torch.equal(weights[2][0], later) for later, _ in weights[3:])
    slow = step.lookahead.state_dict()["slow"]
    assert torch.equal(slow[2], model[3].weight) and not torch.equal(slow[0], model[0].weight)


def test_counting_starts_anew_after_reset():
    step = make(network())
    step(*batches(1)[0], 0, 0)
    step.reset_counts()
    loss, top1, images = step.totals()
    assert math.isnan(loss) and math.isnan(top1) and images == 0


class Pooled(torch.nn.Module):
    """Answers for images of any size; remembers what it was given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.given = torch.nn.Linear(3, 5), []

    def forward(self, images):
        self.given.append(images)
        return self.fc(images.mean((2, 3)))


@pytest.mark.parametrize("size_px", [3, 4, 8, 12])
def test_resizing_is_torchvisions(size_px):
    images = plain_input(batches(1)[0][0])
    theirs = v2.functional.resize(images, [size_px, size_px], antialias=True)
    torch.testing.assert_close(resize(images, size_px), theirs)


def test_halving_averages_and_a_flat_image_stays_flat():
    images = torch.full((2, 3, 8, 8), 0.7)
    torch.testing.assert_close(resize(images, 5), torch.full((2, 3, 5, 5), 0.7))
    images[:, :, :, 4:] = 0.1
    halves = resize(images, 2)
    torch.testing.assert_close(halves[..., 0] + halves[..., 1], torch.full((2, 3, 2), 0.8))
    assert (halves[..., 0] > halves[..., 1]).all()


def test_images_are_as_large_as_their_epoch_says_and_mixed_at_that_size():
    asked, mix = [], mixing.Mix("cutmix", 0.75, (0, 3, 3, 6))

    def draw(epoch, step, height, width):
        asked.append((epoch, step, height, width))
        return mix if epoch == 1 else None

    model, data = Pooled(), batches(3)
    step = make(model, size_of=lambda epoch, step: {0: 4, 1: 6}.get(epoch), draw_mix=draw)
    for epoch, (images, labels) in enumerate(data):
        step(images, labels, epoch, epoch + 5)
    assert asked == [(0, 5, 4, 4), (1, 6, 6, 6), (2, 7, 8, 8)]
    small = resize(plain_input(data[1][0]), 6)
    torch.testing.assert_close(model.given[0], resize(plain_input(data[0][0]), 4))
    torch.testing.assert_close(model.given[1], mixing.apply_mix(small, data[1][1], mix)[0])
    torch.testing.assert_close(model.given[2], plain_input(data[2][0]))


class Follower:
    """Notes what it hears, and the network's first weight at that moment."""

    def __init__(self, name, heard, model):
        self.name, self.heard, self.model = name, heard, model

    def update(self, updates_done):
        self.heard.append((self.name, updates_done, next(self.model.parameters()).flatten()[0].item()))

    def reset(self):
        self.heard.append((self.name, "reset"))


def test_lookahead_then_ema_follow_each_update_and_nothing_else():
    model, heard, weights = network(), [], []
    step = make(model, accumulate=2, steps_per_epoch=3, images_of=lambda step: 6, ema=Follower("ema", heard, model),
                lookahead=Follower("lookahead", heard, model))
    for epoch in range(2):
        for number, batch in enumerate(batches(3)):
            step(*batch, epoch, number)
            weights.append(next(model.parameters()).flatten()[0].item())
    # Three batches are two updates: the second closes a pair, the third stands alone at the epoch's end.
    after = [weights[1], weights[2], weights[4], weights[5]]
    updates = [(name, number, weight) for number, weight in enumerate(after, 1) for name in ("lookahead", "ema")]
    assert heard == [("lookahead", "reset"), *updates], "its stage starts from the weights as they are"
    assert step.updates == step.updates_done == 4


def test_an_update_that_fp16_skipped_is_followed_by_nobody_and_its_rate_comes_again(monkeypatch):
    model, heard = network(), []
    step = make(model, OneCycle(0.1, 4), ema=Follower("ema", heard, model))
    monkeypatch.setattr(step.precision, "update", lambda *_: False)
    step(*batches(1)[0], 0, 0)
    assert (heard, step.updates, step.updates_done, step.rate) == ([], 0, 0, OneCycle(0.1, 4).at(0)[0])
    assert all(p.grad is None for p in model.parameters())
    monkeypatch.undo()
    step(*batches(1)[0], 0, 1)
    assert step.rate == OneCycle(0.1, 4).at(0)[0] and [number for _, number, _ in heard] == [1]


def test_a_stage_begins_its_schedule_anew_while_the_updates_of_the_run_count_on():
    model, heard = network(), []
    step = make(model, Exponential(0.1, 0.4, 3), ema=Follower("ema", heard, model))
    first = step.optimizer
    for number, batch in enumerate(batches(2)):
        step(*batch, 0, number)
    assert first.param_groups[0]["lr"] == pytest.approx(0.2)
    for p in model[0].parameters():
        p.requires_grad_(False)
    second = build_optimizer("sgd", split_decay(by_pattern(model, {"3": 0.5}), 0.0, True))
    step.start_stage(second, Exponential(0.5, 0.6, 3))
    assert (step.updates, step.updates_done, step.rate) == (0, 2, 0.5)
    before = [p.clone() for p in model.parameters()]
    step(*batches(1)[0], 0, 2)
    assert [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)] == [True, True, False, False]
    assert second.param_groups[0]["lr"] == 0.5 and first.param_groups[0]["lr"] == pytest.approx(0.2)
    assert (step.updates, step.updates_done) == (1, 3) and [number for _, number, _ in heard] == [1, 2, 3]


def test_restarting_forgets_the_updates_and_resets_the_followers():
    model, heard = network(), []
    step = make(model, ema=Follower("ema", heard, model), lookahead=Follower("lookahead", heard, model))
    step(*batches(1)[0], 0, 0)
    heard.clear()
    step.skipped = 3
    step.reset(None)
    assert step.updates_done == step.skipped == 0 and heard == [("lookahead", "reset"), ("ema", "reset")]


@pytest.mark.parametrize(("schedule", "expected"), [(Constant(0.1), 0.8), (OneCycle(0.1, 4), 0.8),
                                                    (OneCycle(0.1, 4, momentum_low=0.5, momentum_high=0.6), 0.6)])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_schedule_moves_momentum_or_leaves_the_optimisers_own(name, schedule, expected):
    model = network()
    settings = {"momentum": 0.8} if name == "sgd" else {"beta1": 0.8, "beta2": 0.99}
    step = make(model)
    step.start_stage(build_optimizer(name, split_decay(by_pattern(model, {"*": 0.1}), 0.0, True), **settings), schedule)
    step(*batches(1)[0], 0, 0)
    (group,) = step.optimizer.param_groups
    assert group["momentum"] == expected if name == "sgd" else group["betas"] == (expected, 0.99)


@pytest.mark.parametrize("momentum", [{}, {"momentum_low": 0.5, "momentum_high": 0.6}])
def test_each_group_has_its_own_share_of_the_rate(momentum):
    model, schedule = network(), OneCycle(0.4, 4, **momentum)
    step = make(model)
    groups = split_decay(by_pattern(model, {"0": 0.1, "3": 0.4}), 0.0, True)
    step.start_stage(build_optimizer("sgd", groups, momentum=0.9), schedule)
    for number, batch in enumerate(batches(2)):
        step(*batch, 0, number)
        rate, expected = schedule.at(number)
        for group, share in zip(step.optimizer.param_groups, (0.25, 1.0), strict=True):
            assert (group["lr"], group["momentum"]) == (pytest.approx(rate * share), expected or 0.9)


@pytest.mark.skipif(not cpu_has_native_bf16(), reason="bf16 is emulated on this processor")
def test_bf16_follows_fp32_to_its_tolerance():
    data, losses = batches(4), []
    for name in ("fp32", "bf16"):
        model = network()
        step = make(model)
        step.precision = Precision(name, CPU)
        for number, batch in enumerate(data):
            step(*batch, 0, number)
        losses.append(step.totals()[0])
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
