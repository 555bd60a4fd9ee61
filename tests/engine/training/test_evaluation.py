"""Evaluation: every sample of the feed once, without gradients, the model left in the mode it was in."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from engine.training.evaluation import LOGITS, evaluate
from engine.training.forward import ToInput
from engine.training.precision import Precision

CPU = torch.device("cpu")


class Feed:
    """Three batches of 4, 4 and 2 images whose red value is their label."""

    def __init__(self, fail=False):
        self.fail, self.asked = fail, []

    @contextmanager
    def epoch(self, epoch, start=0):
        self.asked.append((epoch, start))
        yield self._batches()

    def _batches(self):
        for labels in torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3, 4]).split(4):
            images = torch.zeros(len(labels), 2, 2, 3, dtype=torch.uint8)
            images[..., 0] = labels[:, None, None] * 50
            yield SimpleNamespace(images_bhwc=images, labels=labels)
            if self.fail:
                raise RuntimeError("planted")


class ByRed(nn.Module):
    """Right about every label but 4, which it takes for 3; notes its mode and whether gradients are on."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.ones(())), []

    def forward(self, images):
        self.seen.append((self.training, torch.is_grad_enabled()))
        return 10 * nn.functional.one_hot((images[:, 0, 0, 0] * 255 / 50).round().long().clamp(max=3), 5).float()


def run(model, feed):
    return evaluate(model, feed, 5, ToInput((0, 0, 0), (1, 1, 1), CPU), Precision("fp32", CPU))


class LeftHalf(nn.Module):
    """Says 0 or 1 by which half of the image is brighter: an image and its mirror image cancel."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images):
        left = images[..., 0].mean((1, 2)) - images[..., 1].mean((1, 2))
        return torch.stack([left, -left], 1)


def test_flip_averages_the_logits_of_an_image_and_its_mirror_image():
    images = torch.randint(0, 256, (6, 2, 2, 3), dtype=torch.uint8)
    feed = Feed()
    feed._batches = lambda: iter([SimpleNamespace(images_bhwc=images, labels=torch.zeros(6, dtype=torch.int64))])
    measured = [evaluate(LeftHalf(), feed, 2, ToInput((0, 0, 0), (1, 1, 1), CPU), Precision("fp32", CPU), tta=tta)
                for tta in ("none", "flip")]
    assert measured[1].loss == pytest.approx(0.693147, abs=1e-5)
    assert measured[0].loss != pytest.approx(0.693147, abs=1e-3)


def moved_pixel_by_pixel(images, down_px, right_px):
    """Images (B, C, H, W) moved by whole px; what comes in at an edge is mirrored about the edge's own pixels."""
    _, _, height, width = images.shape
    rows = [abs(y - down_px) if y - down_px < height else 2 * (height - 1) - (y - down_px) for y in range(height)]
    columns = [abs(x - right_px) if x - right_px < width else 2 * (width - 1) - (x - right_px) for x in range(width)]
    made = torch.empty_like(images)
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            made[:, :, y, x] = images[:, :, row, column]
    return made


def mirrored_pixel_by_pixel(images):
    return torch.stack([images[..., x] for x in reversed(range(images.shape[3]))], 3)


@pytest.mark.parametrize("tta", ["none", "flip", "shifts"])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_answers_are_the_weighted_mean_over_the_views(tta, layout):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5)).eval()
    images = torch.randn(6, 3, 5, 7).contiguous(memory_format=layout)
    plain, turned = images, mirrored_pixel_by_pixel(images)
    views = {
        "none": [(1, plain)],
        "flip": [(1 / 2, plain), (1 / 2, turned)],
        "shifts": [(1 / 4, plain), (1 / 4, turned)] + [
            (1 / 8, view) for px in (1, -1) for moved in [moved_pixel_by_pixel(images, px, px)]
            for view in (moved, mirrored_pixel_by_pixel(moved))],
    }
    with torch.inference_mode():
        expected = sum(weight * model(view) for weight, view in views[tta])
        answer = LOGITS[tta](model, images)
        one_view = LOGITS["none"](model, images)
    torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-6)
    assert tta == "none" or not torch.allclose(answer, one_view, atol=1e-3)


def test_shifts_are_measured_on_a_feed():
    images, labels = torch.randint(0, 256, (6, 4, 4, 3), dtype=torch.uint8), torch.arange(6) % 2
    feed = Feed()
    feed._batches = lambda: iter([SimpleNamespace(images_bhwc=images, labels=labels)])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    result = evaluate(model, feed, 2, ToInput((0, 0, 0), (1, 1, 1), CPU), Precision("fp32", CPU), tta="shifts")
    logits = LOGITS["shifts"](model, images.permute(0, 3, 1, 2) / 255)
    assert result.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_all_samples_count_once_and_the_mode_is_restored(training):
    model = ByRed().train(training)
    result = run(model, Feed())
    assert (result.count, result.top1) == (10, 0.8)
    assert result.per_class.tolist() == [1, 1, 1, 1, 0]
    assert model.seen == [(False, False)] * 3 and model.training is training


def test_the_mode_is_restored_after_an_error_too():
    model = ByRed().train()
    with pytest.raises(RuntimeError, match="planted"):
        run(model, Feed(fail=True))
    assert model.training


def test_it_is_the_feeds_first_epoch_and_between_its_batches_one_may_leave():
    feed, met = Feed(), []
    evaluate(ByRed(), feed, 5, ToInput((0, 0, 0), (1, 1, 1), CPU), Precision("fp32", CPU),
             between=lambda: met.append(None))
    assert feed.asked == [(0, 0)] and len(met) == 3

    def leave():
        met.append(None)
        raise KeyboardInterrupt

    model = ByRed().train()
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, feed, 5, ToInput((0, 0, 0), (1, 1, 1), CPU), Precision("fp32", CPU), between=leave)
    assert len(met) == 4 and model.training


def test_the_counters_lie_on_the_networks_device_and_others_may_be_added():
    """On the meta device there are no values; of counters on another device the sums would be refused."""
    class Left(Exception):
        pass

    def add(tensors):
        assert {tensor.device.type for tensor in tensors} == {"meta"}
        raise Left

    def batches():
        for count in (4, 2):
            images = torch.empty(count, 2, 2, 3, dtype=torch.uint8, device="meta")
            yield SimpleNamespace(images_bhwc=images, labels=torch.empty(count, dtype=torch.int64, device="meta"))

    feed, meta = Feed(), torch.device("meta")
    feed._batches = batches
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5, device=meta))
    with pytest.raises(Left):
        evaluate(model, feed, 5, ToInput((0, 0, 0), (1, 1, 1), meta), Precision("fp32", meta), add=add)
    twice = evaluate(ByRed(), Feed(), 5, ToInput((0, 0, 0), (1, 1, 1), CPU), Precision("fp32", CPU),
                     add=lambda tensors: [tensor.mul_(2) for tensor in tensors])
    assert (twice.count, twice.top1) == (20, 0.8)
