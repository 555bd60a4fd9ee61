"""The plan of a recipe: parameters, stages and rates are those of the projects that the recipes reproduce."""

import pytest

from engine.build.plan import make_plan
from loaders.kernels import plan
from recipes.settings.load import load

PLANS = {"baseline": 2_520_676, "cnn4": 2_553_994, "resnet34": 30_032_292, "resnet50": 23_712_932,
         "best50": 23_712_932, "fast34": 30_032_292, "best34": 30_032_292}


@pytest.mark.parametrize("name", PLANS)
def test_each_plan_has_the_seeds_parameters_and_a_rate_for_each_epoch(name):
    plan = make_plan(load(name))
    assert plan["parameters"] == PLANS[name]
    assert len(plan["lr_after_epoch"]) == plan["epochs"] == sum(stage["epochs"] for stage in plan["stages"])
    for stage in plan["stages"]:
        assert stage["trainable"] == sum(group["parameters"] for group in stage["groups"])
        assert stage["trainable"] + stage["frozen"] == plan["parameters"]


def test_a_plan_says_how_a_resident_feed_augments(monkeypatch):
    resident = {"data.feed": "resident"}
    assert make_plan(load("cnn4"))["kernels"] == []
    without = ["no kernels (they need a GPU): batched torch, slower"]
    assert make_plan(load("cnn4", settings=resident))["kernels"] == without
    monkeypatch.setattr(plan, "obstacle", lambda device_type: None)
    assert make_plan(load("cnn4", settings=resident))["kernels"] == ["kernel 1: crop, flip, jitter, erase"]


def test_the_plan_of_resnet50_has_its_authors_stages():
    stages = make_plan(load("resnet50"))["stages"]
    assert [(s["name"], s["epochs"], s["trainable"]) for s in stages] == [
        ("head", 10, 204_900), ("upper", 15, 22_268_004), ("all", 75, 23_703_396)]
    assert {g["pattern"]: g["lr_max"] for g in stages[1]["groups"]} == {"layer3": 5e-4, "layer4": 1e-3, "fc": 5e-3}
    for stage in stages:
        for group in stage["groups"]:
            # 45,000 images in batches of 32; the highest rate lies within an epoch, so that no epoch ends above it.
            assert len(group["lr_after_epoch"]) == stage["epochs"]
            assert 0.98 * group["lr_max"] < max(group["lr_after_epoch"]) <= group["lr_max"]
