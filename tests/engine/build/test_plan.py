"""The plan of a recipe: parameters, stages and rates are those of the projects that the recipes reproduce."""

import pytest

from engine.build.plan import make_plan, show_plan
from loaders.kernels import plan as kernel_plan
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


@pytest.mark.parametrize(("name", "settings", "by", "patience"), [
    ("resnet50", {}, "validation_loss", 10), ("quickstart", {"eval.best_by": "ece"}, "validation_ece", 0),
    ("resnet34", {}, "test_top1", 0), ("baseline", {}, None, 0), ("quickstart", {"eval.select": "none"}, None, 0)])
def test_the_plan_names_what_chooses_the_best_epoch(name, settings, by, patience, capsys):
    plan = make_plan(load(name, settings=settings))
    assert (plan["best_by"], plan["patience"]) == (by, patience)
    show_plan(plan, None)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ("best epoch" in shown) == (by is not None)
    if name == "resnet50":
        assert "by validation loss; ends after 10 epochs without a better one" in shown


def test_a_plan_says_how_a_resident_feed_augments(monkeypatch):
    resident = {"data.feed": "resident"}
    assert make_plan(load("cnn4"))["kernels"] == []
    without = ["no kernels (they need a GPU): batched torch, slower"]
    assert make_plan(load("cnn4", settings=resident))["kernels"] == without
    monkeypatch.setattr(kernel_plan, "obstacle", lambda device_type: None)
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


def test_a_plan_shows_what_follows_other_epochs_and_what_does_not(capsys):
    plan = make_plan(load("resnet50", settings={"train.epochs": 50, "train.device": "cpu"}))
    assert [stage["epochs"] for stage in plan["stages"]] == [5, 8, 37] and len(plan["lr_after_epoch"]) == 50
    assert (plan["scaled"], plan["unscaled"]) == (["train.stages"], ["train.patience=10"])
    show_plan(plan, None)
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "scaled to these epochs train.stages (train.patience=10 as it was)" in shown
    assert "stage upper 8 epochs" in shown and "50 epochs" in shown
    assert make_plan(load("resnet50"))["scaled"] == make_plan(load("resnet50"))["unscaled"] == []


def test_a_plan_shows_the_sizes_of_images(capsys):
    for name, sizes in (("pocket10", "epoch 0: 20 px epoch 4: 24 px epoch 5: 32 px"),
                        ("sprint100", "0%: 20 px 15%: 24 px 50%: 32 px")):
        show_plan(make_plan(load(name, settings={"train.epochs": 7, "train.device": "cpu"})), None)
        assert f"image sizes from {sizes}" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    show_plan(make_plan(load("sprint10", settings={"train.device": "cpu"})), None)
    assert "image sizes" not in capsys.readouterr().out


def test_a_plan_of_a_part_that_ends_early_and_of_an_epoch_that_is_cut():
    (stage,) = make_plan(load("sprint10"))["stages"]
    groups = {group["pattern"]: group for group in stage["groups"]}
    assert [round(rate, 6) for rate in groups["stem.bias"]["lr_after_epoch"]] == [
        round(106 * max(0, 1 - epoch / 3), 6) for epoch in range(1, 9)]
    assert groups["stem.bias"]["epochs"] == 3 and groups["head"]["epochs"] == stage["epochs"] == 8
    plan = make_plan(load("sprint100"))
    assert (plan["epochs"], plan["steps_per_epoch"], plan["stages"][0]["steps"]) == (8.75, 49, 429)
    assert len(plan["lr_after_epoch"]) == 9 and plan["lr_after_epoch"][-1] == 0
    assert round(plan["flops_per_image"] / 2e6) == 175
