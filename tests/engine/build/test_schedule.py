"""Where a recipe's milestones fall: the rate of each epoch's updates against torch's MultiStepLR, stepped by epochs."""

import math

import pytest
import torch

from engine.build.run import build
from engine.build.schedule import build_schedule, build_stages
from recipes.settings.load import load
from tests.engine.small_runs import SMALL

STEPS = {"schedule.name": "step", "schedule.lr": 0.4, "schedule.gamma": 0.5}


def rates_by_epoch(epochs, milestones, lr=0.4):
    """torch's rate in each epoch, its scheduler stepped after each."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.5)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("updates_per_epoch", [1, 7])
@pytest.mark.parametrize("milestones", [(1,), (3,), (2, 5), (4, 5, 7)])
def test_each_update_of_an_epoch_has_the_epochs_rate(updates_per_epoch, milestones):
    recipe = load("quickstart", settings=STEPS | {"train.epochs": 8, "schedule.milestones": milestones})
    [stage] = build_stages(recipe)
    schedule = build_schedule(recipe, stage, updates_per_epoch)
    expected = rates_by_epoch(8, milestones)
    for epoch, rate in enumerate(expected):
        rates = [schedule.at(epoch * updates_per_epoch + update)[0] for update in range(updates_per_epoch)]
        assert rates == pytest.approx([rate] * updates_per_epoch, rel=1e-12), epoch


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.slow("trains")
def test_a_run_has_them_in_its_epochs_and_counts_them_from_the_start_of_each_stage(accumulate, tmp_path):
    stages = [{"name": "first", "epochs": 3, "lrs": {"*": 0.4}}, {"name": "second", "epochs": 4, "lrs": {"*": 0.1}}]
    settings = {name: value for name, value in SMALL.items() if name != "train.epochs"} | STEPS
    del settings["schedule.lr"]
    run = build(load("quickstart", settings=settings | {
        "data.cache": str(tmp_path), "train.stages": stages, "schedule.milestones": (1, 2), "data.feed": "resident",
        "data.validation": 0, "train.accumulate": accumulate}))
    seen = {}
    run.loop.between_steps = lambda loop: seen.setdefault(loop.progress.epoch, []).append(run.step.rate)
    records = list(run.loop.run())
    expected = rates_by_epoch(3, (1, 2)) + rates_by_epoch(4, (1, 2), lr=0.1)
    assert len(seen) == 7 and {len(rates) for rates in seen.values()} == {4}
    for epoch, rate in enumerate(expected):
        # Before an epoch's first update is complete the rate is still that of the update before.
        assert seen[epoch][accumulate - 1:] == [pytest.approx(rate)] * (5 - accumulate), epoch
    assert [record.lr for record in records] == pytest.approx(expected[1:] + [0.1 * 0.5**2])
    assert math.isfinite(records[-1].train_loss)
