"""The step against plain torch: the same batches, the same weights, bit for bit or to the precision's tolerance."""

import pytest
import torch
import torch.nn.functional as F

from engine.optim.groups import build_optimizer, by_pattern, split_decay
from engine.optim.schedule import Constant, OneCycle
from engine.training import mixing
from engine.training.precision import Precision, cpu_has_native_bf16, resolve
from engine.training.step import ToInput, TrainStep

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
    return TrainStep(model, optimizer, schedule or Constant(0.1), ToInput(MEAN, STD, CPU), Precision("fp32", CPU),
                     **options)


def plain_input(images):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std


def test_input_is_normalised_and_channels_last_without_moving_bytes():
    images, _ = batches(1)[0]
    made = ToInput(MEAN, STD, CPU)(images)
    torch.testing.assert_close(made, plain_input(images))
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert ToInput(MEAN, STD, CPU, channels_last=False)(images).is_contiguous()


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
    step = make(mine, accumulate=2, steps_per_epoch=3)
    for number, (images, labels) in enumerate(data):
        step(images, labels, 0, number)
    other = make(plain, steps_per_epoch=2)
    other(torch.cat([data[0][0], data[1][0]]), torch.cat([data[0][1], data[1][1]]), 0, 0)
    other(*data[2], 0, 1)
    assert step.updates == 2
    for ours, theirs in zip(mine.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_mixed_batches_are_drawn_by_epoch_and_step_and_counted_by_share():
    asked = []

    def draw(epoch, step):
        asked.append((epoch, step))
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
    assert asked == [(2, 3)]
    mean_loss, top1, count = step.totals()
    assert count == 6 and mean_loss == pytest.approx(loss.item(), rel=1e-5) and top1 == pytest.approx(right.item())


def test_counting_starts_anew_after_reset():
    step = make(network())
    step(*batches(1)[0], 0, 0)
    step.reset()
    assert step.totals() == (0.0, 0.0, 0)


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


def test_precision_is_resolved_or_refused_by_device():
    from engine.errors import EngineError

    assert resolve("fp32", CPU) == "fp32"
    assert resolve("auto", CPU) in ("fp32", "bf16")
    with pytest.raises(EngineError, match="fp16 needs a GPU"):
        resolve("fp16", CPU)
