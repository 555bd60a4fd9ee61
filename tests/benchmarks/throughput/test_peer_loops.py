"""The peers train on every image with its label, as a plain loop does, and leave nothing running."""

import gc
import itertools
import threading
from contextlib import closing
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.throughput import plain_step
from benchmarks.throughput.peer_loops import author, stock, tuned
from benchmarks.throughput.plain_step import PlainStep, make_mixing, make_optimizer, setup_of
from engine.build.run import build
from recipes.settings.load import load

pytestmark = pytest.mark.slow("trains with loaders that start processes or compile pipelines")

SMALL = {"data.train_count": 210, "data.test_count": 100, "data.resolution": 16, "data.validation": 0,
         "data.feed": "stream", "train.batch": 20, "train.label_smoothing": 0, "train.precision": "fp32",
         "train.device": "cpu", "train.threads": 1, "model.width": 8, "model.depth": 3, "model.dropout": 0,
         "augment.policy": "none", "schedule.name": "constant", "schedule.lr": 0.05}
PEERS = {"author": author, "tuned": lambda setup: tuned(setup, compiled=False), "stock": stock}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def make_setup(cache):
    """The setup of a small run, with `changes` to its settings."""
    def make(**changes):
        settings = SMALL | {"data.cache": cache} | {path.replace("__", "."): value for path, value in changes.items()}
        with closing(build(load("quickstart", settings=settings))) as run:
            return setup_of(run)

    return make


def as_bytes(images, data):
    """A peer's batch -> uint8 (B, H, W, 3), normalising undone."""
    if images.dtype == torch.uint8:
        return images.permute(0, 2, 3, 1).numpy()
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (data.mean, data.std))
    return (255 * (images * std + mean)).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def test_the_setup_is_what_the_run_trains(make_setup):
    made = make_setup(data__validation=0.2)
    assert len(made.indices) == len(made.labels) == len(made.images_nhwc) == 168
    assert made.images_nhwc.dtype == np.uint8 and made.dtype is None and made.classes == 10
    assert make_setup(train__precision="bf16").dtype == torch.bfloat16
    kept = PlainStep(made, None, channels_last=True, fused=True)
    assert all(torch.equal(a, b) for a, b in zip(kept.model.parameters(), made.model.parameters(), strict=True))


@pytest.mark.parametrize("name", PEERS)
def test_an_epoch_has_every_image_with_its_label(name, make_setup):
    made = make_setup(data__validation=0.1)
    label_of = {image.tobytes(): label for image, label in zip(made.images_nhwc, made.labels, strict=True)}
    peer, found = PEERS[name](made), []
    with peer.open_epoch(0) as batches:
        for images, labels in batches:
            assert images.shape[1:] == (3, 16, 16)
            pixels = as_bytes(images, made.recipe.section("data"))
            found += [(image.tobytes(), label) for image, label in zip(pixels, labels.flatten().tolist(), strict=True)]
    assert all(label_of[image] == label for image, label in found)
    # 189 images: their author's loop takes the last 9 as a smaller batch, the others leave them for another epoch.
    assert len(found) == len(set(found)) == peer.images == (189 if name == "author" else 180)
    assert peer.whole_batches == 9 and peer.batch == 20


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_learns(name, make_setup):
    made = make_setup()
    peer = PEERS[name](made)
    model, data = peer.step.model, made.recipe.section("data")
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (data.mean, data.std))
    images = (torch.from_numpy(made.images_nhwc).permute(0, 3, 1, 2) / 255 - mean) / std

    def loss():
        # In training mode: after so few steps the statistics of its norms are not yet those of the images.
        with torch.no_grad():
            return F.cross_entropy(model(images), torch.tensor(made.labels)).item()

    torch.manual_seed(0)
    before, weights = loss(), [p.clone() for p in model.parameters()]
    for epoch in range(6):
        with peer.open_epoch(epoch) as batches:
            for index, batch in enumerate(batches):
                peer.step(batch, epoch, index)
    assert loss() < 0.8 * before
    assert not any(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    read = (peer.step.loss, peer.step.correct)
    assert (read[0] > 0 and 0 < read[1] <= 6 * 210) if name == "author" else read == (0.0, 0.0)


@pytest.mark.parametrize(("settings", "optimizer"), [
    ({}, lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True)),
    ({"optim__weight_decay": 1e-2, "optim__momentum": 0.5, "optim__nesterov": False},
     lambda p: torch.optim.SGD(p, 0.05, momentum=0.5, weight_decay=1e-2)),
    ({"optim__name": "adam", "schedule__lr": 1e-3, "optim__eps": 1e-2}, lambda p: torch.optim.Adam(p, 1e-3, eps=1e-2)),
    ({"optim__name": "adamw", "schedule__lr": 1e-3, "optim__beta2": 0.9, "optim__weight_decay": 0.1,
      "optim__eps": 1e-2}, lambda p: torch.optim.AdamW(p, 1e-3, betas=(0.9, 0.9), eps=1e-2, weight_decay=0.1)),
])
def test_steps_equal_a_plain_loop(settings, optimizer, make_setup):
    made = make_setup(**settings, train__clip_norm=0.5, train__label_smoothing=0.1)
    data = made.recipe.section("data")
    plain = PlainStep(made, None, channels_last=False, fused=False).model
    steps = [PlainStep(made, None, channels_last=each, fused=each) for each in (False, True)]
    chosen, torch_seed = optimizer(plain.parameters()), torch.Generator().manual_seed(0)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (data.mean, data.std))
    for index in range(3):
        images = torch.randint(0, 256, (20, 3, 16, 16), dtype=torch.uint8, generator=torch_seed)
        labels = torch.randint(0, 10, (20,), generator=torch_seed)
        for step in steps:
            step((images, labels[:, None]), 0, index)
        chosen.zero_grad()
        F.cross_entropy(plain((images / 255 - mean) / std), labels, label_smoothing=0.1).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        chosen.step()
    for step in steps:
        for ours, theirs in zip(step.parameters, plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
    assert steps[1].model(images.float()).shape == (20, 10)
    weight = next(p for p in steps[1].parameters if p.ndim == 4)
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def test_the_rate_is_the_schedules_first_and_muon_is_the_engines(make_setup):
    made = make_setup(schedule__name="onecycle", schedule__lr=0.5, schedule__div=10)
    step = PlainStep(made, None, channels_last=True, fused=True)
    assert step.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert step.optimizer.defaults["fused"] is True
    assert PlainStep(made, None, channels_last=False, fused=False).optimizer.defaults["fused"] is None
    made = make_setup(optim__name="muon", schedule__name="onecycle", schedule__lr=0.5, schedule__div=10)
    optimizer = make_optimizer(made, made.model, list(made.model.parameters()), fused=True)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05] * len(optimizer.param_groups))


@pytest.mark.parametrize(("kind", "smooth"), [("cutmix", True), ("mixup", False), ("both", False)])
def test_batches_are_mixed_as_often_and_smoothed_as_the_recipe_says(kind, smooth, make_setup, monkeypatch):
    made = make_setup(mix__p=0.5, mix__kind=kind, mix__smooth=smooth, train__label_smoothing=0.1)
    seen, real = [], F.cross_entropy

    def noted(logits, targets, label_smoothing):
        seen.append((targets.ndim, label_smoothing))
        return real(logits, targets, label_smoothing=label_smoothing)

    monkeypatch.setattr(plain_step.F, "cross_entropy", noted)
    step = PlainStep(made, None, channels_last=True, fused=True)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (20, 3, 16, 16), dtype=torch.uint8)
    for index in range(60):
        step((images, torch.arange(20) % 10), 0, index)
    assert set(seen) == {(1, 0.1), (2, 0.1 if smooth else 0.0)}
    assert 15 <= sum(ndim == 2 for ndim, _ in seen) <= 45
    assert make_mixing(make_setup()) is None


def test_a_mixed_batch_keeps_its_shares(make_setup):
    made = make_setup(mix__p=1.0, mix__kind="cutmix")
    images, targets = make_mixing(made)(torch.arange(10.0).view(10, 1, 1, 1).expand(10, 3, 16, 16), torch.arange(10))
    for number in range(10):
        own = (images[number] == number).float().mean()
        torch.testing.assert_close(targets[number, number], own)
        assert ((images[number] == number) | (images[number] == (number - 1) % 10)).all()


def test_precision_workers_and_left_out_operations_are_reported(make_setup):
    made = make_setup(augment__policy="cnn4")
    peers = {name: make(made) for name, make in PEERS.items()}
    facts = {name: peer.facts for name, peer in peers.items()}
    assert facts["author"] == {"precision": "fp32", "workers": 2, "left_out": ""}
    assert facts["tuned"]["left_out"] == "" and facts["stock"]["left_out"].startswith("jitter(")
    assert "; erase(" in facts["stock"]["left_out"]
    faster = replace(made, dtype=torch.bfloat16)
    assert tuned(faster, compiled=False).facts["precision"] == "bf16"
    assert author(faster).facts["precision"] == "fp32", "their authors' own"


def test_the_author_of_resnet34_trained_in_mixed_precision(make_setup):
    made = make_setup()
    recipe = made.recipe.changed({"model.name": "resnet34"})
    peer = author(replace(made, recipe=recipe))
    assert peer.facts["precision"] == "bf16" and peer.step.layout == torch.channels_last


@pytest.mark.parametrize("name", PEERS)
def test_an_epoch_may_be_left_early_and_nothing_stays_behind(name, make_setup):
    made = make_setup()
    gc.collect()
    children, threads = set(psutil.Process().children()), threading.active_count()
    peer = PEERS[name](made)
    for number in range(2):
        with peer.open_epoch(number) as batches:
            for batch in itertools.islice(batches, 2):
                peer.step(batch, number, 0)
        # torch's iterator lives while something refers to it.
        del batches
    del peer
    gc.collect()
    assert set(psutil.Process().children()) <= children and threading.active_count() <= threads
