"""The rates and decays of the sprint recipes at every step, and the sizes of their images, by the cited rules.

cifar10-airbench's airbench94_muon, of which `sprint10` has the numbers: 200 updates; a loss summed over 2,000 images;
rate s of head, norms' shifts and filters r (1 - s / 200), of the first layer's bias r (1 - s / 75). NAVIER-STOKED's of
the CIFAR-100 speedrun, for `sprint100`: a linear rise over a quarter of the updates, then a straight line to 0.
"""

import math

import pytest
import torch

from engine.build.mixing import build_sizes
from engine.build.model import build_model
from engine.build.optimizer import build_optimizer
from engine.build.schedule import build_part_schedules, build_schedule, build_stages
from engine.optim.muon import Muon
from engine.training.stages import always_frozen, freeze, updates_in
from recipes.settings.load import load


def parts_of(recipe, classes, updates_per_epoch):
    """(names, optimiser's class, rate at each update, decay) of each group, as a run builds them."""
    with torch.device("meta"):
        model = build_model(recipe, classes)
    (stage,) = build_stages(recipe)
    freeze(model, stage, always_frozen(model))
    schedule = build_schedule(recipe, stage, updates_per_epoch)
    own = build_part_schedules(recipe, stage, updates_per_epoch)
    both = build_optimizer(recipe, model, stage)
    found = {}
    for optimizer in both.optimizers:
        for group in optimizer.param_groups:
            its, scale = (own[group["pattern"]], 1.0) if group["pattern"] in own else (schedule, group["lr_scale"])
            rates = [its.at(step)[0] * scale for step in range(its.total_steps)]
            found |= {name: (type(optimizer), rates, group["weight_decay"]) for name in group["param_names"]}
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    return found


def test_sprint10_has_the_rates_and_decays_of_airbench94_muon_at_every_step():
    found = parts_of(load("sprint10"), 10, 25)
    for name, (kind, rates, decay) in found.items():
        if name == "stem.bias":
            steps, rate, by = 75, 0.053 * 2000, torch.optim.SGD
        elif name == "head.weight":
            steps, rate, by = 200, 0.67 * 2000, torch.optim.SGD
        elif name.endswith("bias"):
            steps, rate, by = 200, 0.053 * 2000, torch.optim.SGD
        else:
            steps, rate, by = 200, 0.24, Muon
        assert kind is by and rates == pytest.approx([rate * (1 - step / steps) for step in range(steps)]), name
        # Their decay is 2e-6 times the batch over the rate: each step at it takes 0.4 % off.
        assert rate * decay == pytest.approx(0 if by is Muon else 2e-6 * 2000), name
    muon, rest = build_optimizers("sprint10", 10)
    assert (muon["momentum"], muon["nesterov"], muon["scale"], muon["iterations"]) == (0.6, True, "unit", 3)
    assert (rest["momentum"], rest["nesterov"]) == (0.85, True)


def build_optimizers(name, classes):
    recipe = load(name)
    with torch.device("meta"):
        model = build_model(recipe, classes)
    (stage,) = build_stages(recipe)
    freeze(model, stage, always_frozen(model))
    return [optimizer.param_groups[0] for optimizer in build_optimizer(recipe, model, stage).optimizers]


def test_sprint10s_part_follows_the_length_of_the_run():
    recipe = load("sprint10", settings={"train.epochs": 4})
    (stage,) = build_stages(recipe)
    assert build_part_schedules(recipe, stage, 25)["stem.bias"].total_steps == math.ceil(1.5 * 25)


def test_sprint100_has_the_speedruns_rates_and_decays():
    found = parts_of(load("sprint100"), 100, 49)
    updates, rise = 429, 107
    assert updates == math.ceil(8.75 * 49) and rise == int(0.25 * updates)
    shape = [(step + 1) / (rise + 1) if step < rise else (updates - step) / (updates - rise)
             for step in range(updates)]
    for name, (kind, rates, decay) in found.items():
        by_muon = name.startswith("groups.") and ".conv" in name
        rate = 0.18 if by_muon else 1.38
        assert kind is (Muon if by_muon else torch.optim.SGD), name
        assert rates == pytest.approx([rate * share for share in shape]), name
        assert decay == (5e-4 if name == "head.weight" else 0), name
    muon, rest = build_optimizers("sprint100", 100)
    assert (muon["momentum"], muon["nesterov"], muon["scale"], muon["iterations"]) == (0.6, True, "unit", 3)
    assert (rest["momentum"], rest["nesterov"]) == (0.9, True)


def test_sprint100s_images_grow_at_shares_of_the_steps():
    size_of = build_sizes(load("sprint100"), 49)
    sides_px = [size_of(step // 49, step % 49) for step in range(429)]
    share = [step / 428.75 for step in range(429)]
    assert sides_px == [20 if at < 0.15 else 24 if at < 0.5 else 32 for at in share]
    assert [sides_px.count(px) for px in (20, 24, 32)] == [65, 150, 214]


def test_sizes_by_epoch_and_by_share():
    size_of = build_sizes(load("quickstart", settings={"train.epochs": 4, "train.sizes": "1:16,50%:24,75%:32"}), 10)
    assert [size_of(epoch, step) for epoch in range(4) for step in (0, 9)] == [None, None, 16, 16, 24, 24, 32, 32]
    assert build_sizes(load("quickstart"), 10)(3, 3) is None


@pytest.mark.parametrize(("epochs", "per_epoch", "updates"), [
    (8, 25, 200), (7.6, 25, 190), (8.2, 25, 205), (8.75, 49, 429), (0.001, 10, 1), (1.1, 50, 55), (3, 1, 3)])
def test_a_fraction_of_an_epoch_is_rounded_up_to_updates(epochs, per_epoch, updates):
    assert updates_in(epochs, per_epoch) == updates
