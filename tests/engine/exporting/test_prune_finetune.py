"""A run pruned, fine-tuned by the engine and exported."""

import json

import pytest
import torch

from engine import export
from engine.build.schedule import build_stages
from engine.exporting import prune_finetune
from engine.inference import sample_images
from engine.inference.trained import open_trained
from recipes.settings.load import load

pytest.importorskip("safetensors")


def share_of_zeros(weights):
    covered = [tensor for tensor in weights.values() if tensor.dim() > 1]
    return sum(int((tensor == 0).sum()) for tensor in covered) / sum(tensor.numel() for tensor in covered)


def test_pruned_weights_are_zero_in_the_file_and_fine_tuning_regains_accuracy(trained_run, tmp_path, capsys):
    export.main([str(trained_run), "--format", "safetensors", "--prune", "0.6", "--prune-epochs", "2", "--out",
                 str(tmp_path), "--json", f"{tmp_path}/summary.json", "--images", "400"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    pruned = summary["pruned"]
    assert pruned["top1_before"] == json.loads((trained_run / "summary.json").read_text())["test_top1"]
    assert pruned["top1_at_once"] < pruned["top1_before"] and pruned["top1"] > pruned["top1_at_once"]
    assert summary["top1"] == pruned["top1"]
    loaded = export.load(str(tmp_path / "model.safetensors"))
    assert loaded.metadata["pruned"] == pruned
    assert share_of_zeros(loaded.network.state_dict()) == pruned["zeros"] / pruned["weights"]
    assert pruned["zeros"] / pruned["weights"] == pytest.approx(0.6, abs=0.01)
    shown = capsys.readouterr().out
    assert "fine-tuning, epoch 2 of 2" in shown and "pruned 0.6 of the weights" in shown


def test_without_epochs_the_network_is_only_pruned(trained_run):
    trained = open_trained(str(trained_run), device="cpu")
    before = {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}
    recipe, test, _ = sample_images.open_sample_images(trained, {}, 100)
    pruned, done = prune_finetune.prune_and_tune(trained, recipe, test, kind="channels", share=0.5, epochs=0)
    after = pruned.model.state_dict()
    assert done["top1"] == done["top1_at_once"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.model.state_dict().items())
    for name, tensor in after.items():
        if tensor.dim() == 4:
            gone = tensor.flatten(1).eq(0).all(1)
            assert int(gone.sum()) == len(tensor) // 2
            assert torch.equal(tensor[~gone], before[name][~gone])
        else:
            assert torch.equal(tensor, before[name])


def test_fine_tuning_is_the_last_stage_at_a_tenth_of_its_rates():
    stages = [{"name": "head", "epochs": 3, "lrs": {"head": 0.5}, "frozen": ["*"]},
              {"name": "all", "epochs": 2, "lrs": {"head": 0.2, "*": 0.1}}]
    recipe = load("quickstart", settings={"train.stages": stages, "average.ema": 0.9, "train.sizes": {0: 16}})
    tuning = prune_finetune.tuning_recipe(recipe, 4)
    (stage,) = build_stages(tuning)
    assert (stage.name, stage.first_epoch, stage.epochs) == ("all", 0, 4)
    assert dict(stage.lrs) == pytest.approx({"head": 0.02, "*": 0.01})
    assert tuning.epochs == 4 and tuning.get("average.ema") == 0 and tuning.get("train.sizes") == {}
    (plain,) = build_stages(prune_finetune.tuning_recipe(load("quickstart"), 1))
    assert dict(plain.lrs) == pytest.approx({"*": 0.01})
    for name, share in (("sprint10", 0.1), ("quickstart", 1)):
        before, after = load(name), prune_finetune.tuning_recipe(load(name), 2)
        assert after.get("optim.weight_decay") == pytest.approx(share * before.get("optim.weight_decay"))
    # Choosing on the test set and milestones would not go together with a short stage that nothing watches.
    for other in (load("resnet34"), load("quickstart", settings={"schedule.name": "step", "schedule.milestones": "3"})):
        assert prune_finetune.tuning_recipe(other, 1).epochs == 1
