"""The range test: curves with a known answer, noise that must be refused, and a test against plain torch."""

import itertools
import math
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.common.errors import EngineError
from engine.optim.param_groups import build_optimizer, by_pattern, split_decay
from engine.optim.schedule import Exponential
from engine.training.forward import ForwardPass, ToInput
from engine.training.precision import Precision
from engine.training.step import TrainStep
from engine.tuning.lr_range import RangeTest, noise_of, smooth, steps_kept, suggest, train_rising, window_of

CPU = torch.device("cpu")


def range_test(loss_at, steps=200, low=1e-6, high=10.0):
    """A range test whose loss is a function of log10(rate), ended where a real one would end."""
    rates = np.geomspace(low, high, steps)
    losses = [float(loss_at(math.log10(rate))) for rate in rates]
    kept = steps_kept(losses, window_of(steps))
    return RangeTest(steps, tuple(rates[:kept]), tuple(losses[:kept]))


def fall(middle, width=0.25, high=2.3, low=1.0):
    """An S-shaped fall, steepest at 10**middle."""
    return lambda x: low + (high - low) / (1 + math.exp((x - middle) / width))


def test_smoothing_is_the_mean_weighted_by_age():
    losses = np.random.default_rng(0).normal(2, 1, 40)
    averages = smooth(losses, 8)
    for last in range(40):
        weights = (1 - 1 / 8) ** np.arange(last, -1, -1)
        assert averages[last] == pytest.approx((weights * losses[: last + 1]).sum() / weights.sum(), rel=1e-12)


def test_the_end_is_where_the_smoothed_loss_is_four_times_the_best_or_not_finite():
    assert steps_kept([1.0] * 30, 5) == 30
    assert steps_kept([1.0] * 10 + [4.1] * 30, 1) == 11
    assert steps_kept([1.0] * 10 + [3.9] * 30, 1) == 40
    assert steps_kept([2.0, 1.0, 4.1], 1) == 3
    averages = smooth([1.0] * 10 + [8.0] * 30, 5)
    assert steps_kept([1.0] * 10 + [8.0] * 30, 5) == int(np.argmax(averages > 4)) + 1 < 20
    assert steps_kept([1.0] * 10 + [math.nan] + [1.0] * 10, 5) == 10
    assert steps_kept([1.0] * 10 + [math.inf], 5) == 10
    assert steps_kept([math.nan], 5) == 0


@pytest.mark.parametrize("steps", [60, 100, 200, 1000])
@pytest.mark.parametrize("middle", [-3.5, -2.0, -1.0])
def test_the_steepest_fall_is_found_where_it_is(middle, steps):
    found = suggest(range_test(fall(middle), steps))
    # The exponential average leans: on so narrow a fall the point comes out a tenth of a decade early.
    assert math.log10(found.steepest) == pytest.approx(middle - 0.1, abs=0.05 + 7 / (steps - 1))


def test_the_careful_rate_is_a_tenth_of_the_rate_with_the_lowest_loss():
    test = range_test(lambda x: fall(-2)(x) + math.exp(6 * (x - 0.5)))
    found = suggest(test)
    assert len(test.losses) < 200 and found.edge == ""
    assert found.careful == test.rates[int(np.argmin(test.smoothed))] / 10
    assert -1.2 < math.log10(10 * found.careful) < 0.2


def test_a_loss_that_explodes_right_after_its_minimum_is_not_still_falling():
    test = range_test(lambda x: fall(-0.5, width=0.5)(x) if x < 0.5 else 1e6)
    assert np.argmin(test.smoothed) == len(test.losses) - 2
    assert suggest(test).edge == ""


def test_noise_moves_the_suggestion_little():
    random = np.random.default_rng(1)
    found = [suggest(range_test(lambda x: fall(-2)(x) + random.normal(0, 0.1))) for _ in range(20)]
    assert all(-2.5 < math.log10(each.steepest) < -1.5 for each in found)


def test_recovering_from_a_rise_is_no_fall():
    def loss_at(x):
        return fall(-1, width=0.4, low=1.8)(x) + (1.5 if -4 < x < -3 else 0)

    assert math.log10(suggest(range_test(loss_at)).steepest) == pytest.approx(-1, abs=0.3)


def test_a_curve_that_is_steepest_or_lowest_at_an_end_says_so():
    assert suggest(range_test(fall(-2))).edge == "high"
    assert suggest(range_test(lambda x: 2 - 0.2 * (x + 6))).edge == "high"
    assert suggest(range_test(lambda x: 1 + 3 * math.exp(-(x + 6)) + math.exp(8 * (x + 0.5)))).edge == "low"


@pytest.mark.parametrize("loss_at", [lambda x: 2.3, lambda x: 2.3 + 0.1 * (x + 6)], ids=["flat", "rising"])
def test_a_loss_that_never_falls_is_refused(loss_at):
    with pytest.raises(EngineError, match=r"did not fall between the rates 1e-06 and .* widen --low") as error:
        suggest(range_test(loss_at))
    assert "\n" not in str(error.value)


def test_noise_alone_is_refused_or_called_faint():
    random, refused, faint = np.random.default_rng(0), 0, 0
    for _ in range(100):
        try:
            faint += suggest(range_test(lambda x: 2.3 + random.normal(0, 0.2))).faint
        except EngineError:
            refused += 1
    assert refused >= 60 and refused + faint >= 93


@pytest.mark.parametrize(("times", "expected"), [(2, "refused"), (4, "faint"), (7, "clear")])
def test_a_fall_is_measured_by_the_noise_of_the_smoothed_loss(times, expected):
    flips = itertools.cycle((0.1, -0.1))
    noise = noise_of([0.1, -0.1] * 100, 10)
    test = range_test(lambda x: fall(-2, high=2.3, low=2.3 - times * noise)(x) + next(flips))
    if expected == "refused":
        with pytest.raises(EngineError, match="did not fall"):
            suggest(test)
    else:
        assert suggest(test).faint is (expected == "faint")


def test_a_loss_that_explodes_at_once_is_refused():
    with pytest.raises(EngineError, match=r"grew out of bounds after \d+ of 200 steps at rate .*: lower --low"):
        suggest(range_test(lambda x: 2.3 if x < -5 else 1e6))
    with pytest.raises(EngineError, match="after 0 of 200 steps: lower --low"):
        suggest(RangeTest(200, (), ()))


@pytest.mark.parametrize("window_steps", [5, 10, 50])
def test_the_noise_of_a_smoothed_loss_around_a_slow_course(window_steps):
    losses = np.random.default_rng(0).normal(0, 0.3, 40_000) - np.linspace(0, 5, 40_000)
    course = smooth(-np.linspace(0, 5, 40_000), window_steps)
    deviation = (smooth(losses, window_steps) - course)[10 * window_steps:].std()
    assert noise_of(losses, window_steps) == pytest.approx(deviation, rel=0.1)


class Feed:
    """Five batches per epoch, other ones in each; records the epochs asked for and whether one is open."""

    def __init__(self):
        self.epochs, self.open = [], 0

    def __len__(self):
        return 5

    @contextmanager
    def epoch(self, epoch):
        self.epochs.append(epoch)
        self.open += 1
        try:
            yield (SimpleNamespace(images_bhwc=images, labels=labels) for images, labels in self.batches(epoch))
        finally:
            self.open -= 1

    @staticmethod
    def batches(epoch):
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(5):
            images = torch.randint(0, 256, (6, 4, 4, 3), dtype=torch.uint8, generator=generator)
            yield images, torch.randint(0, 5, (6,), generator=generator)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5))


def ignore(*_):
    """Hears the losses."""


def rising(model, steps, **options):
    """A step over `model` whose rate goes from 1e-4 to 1 in `steps` updates."""
    to_input = ToInput((0.5,) * 3, (0.25,) * 3, CPU, channels_last=False)
    step = TrainStep(ForwardPass(model, to_input, Precision("fp32", CPU)), steps_per_epoch=5, images_of=lambda step: 6,
                     **options)
    groups = split_decay(by_pattern(model, {"1.bias": 0.02, "*": 0.1}), 0.0, True)
    step.start_stage(build_optimizer("sgd", groups, momentum=0.9), Exponential(1e-4, 1.0, steps))
    return step


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_equals_plain_torch(accumulate):
    mine, plain, feed, heard = network(), network(), Feed(), []
    test = train_rising(rising(mine, 23, accumulate=accumulate), feed, 23, lambda *said: heard.append(said))
    updates, losses = [(epoch, group) for epoch in range(10)
                       for group in ([[0], [1], [2], [3], [4]] if accumulate == 1 else [[0, 1], [2, 3], [4]])][:23], []
    optimizer = torch.optim.SGD([{"params": [plain[1].weight]}, {"params": [plain[1].bias]}], 1.0, momentum=0.9)
    for number, (epoch, group) in enumerate(updates):
        batches = list(Feed.batches(epoch))
        images = torch.cat([batches[index][0] for index in group]).permute(0, 3, 1, 2).float() / 255 * 4 - 2
        loss = F.cross_entropy(plain(images), torch.cat([batches[index][1] for index in group]))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        for own, share in zip(optimizer.param_groups, (1, 0.2), strict=True):
            own["lr"] = share * 1e-4 * 1e4 ** (number / 22)
        optimizer.step()
    assert test.losses == pytest.approx(losses, rel=1e-4)
    assert test.rates == pytest.approx(np.geomspace(1e-4, 1, 23), rel=1e-9)
    torch.testing.assert_close(mine[1].weight, plain[1].weight, rtol=1e-4, atol=1e-5)
    assert feed.epochs == list(range(updates[-1][0] + 1)) and feed.open == 0
    assert [done for done, _, _ in heard] == [20, 23]
    assert heard[-1][1:] == (test.rates[-1], test.losses[-1])


def test_losses_are_read_every_twenty_updates_only(monkeypatch):
    reads, read = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(len(self)) or read(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("the loop waits for the device"))
    train_rising(rising(network(), 50), Feed(), 50, ignore)
    assert reads == [20, 20, 10]


def test_it_ends_early_where_the_loss_explodes():
    model, feed = network(), Feed()
    step = rising(model, 400)
    step.schedule = Exponential(1e-2, 1e8, 400)
    test = train_rising(step, feed, 400, ignore)
    averages = test.smoothed
    assert len(test.rates) == len(test.losses) < 400
    assert averages[-1] > 4 * averages[:-1].min() and (averages[:-1] <= 4 * np.minimum.accumulate(averages[:-1])).all()
    assert 5 * len(feed.epochs) <= len(test.losses) + 20 + 5 and feed.open == 0
