import pytest

from engine.reporting.model_card import model_card, public_command
from recipes.settings.load import load

pytest.importorskip("huggingface_hub")


def card_of(**changes):
    values = {"repo_id": "me/x", "class_names": ["a", "b"], "side_px": 32, "env": {}, "files": ["config.json"],
              "recipe": load("baseline", settings={"data.root": "/secret/place"}), **changes}
    summary = {"model": "baseline", "parameters": 10, "epochs": 2, "train_top1": 0.5, "val_top1": None,
               "test_top1": 0.25, "test_top5": None, "test_loss": 1.5, "stopped": None, "seed": 3,
               "train_seconds": 60.0, "images_per_second": 100.0, "precision": "bf16", "commit": "abc",
               "command": "python -m engine.train --recipe baseline --data.root=/secret/place",
               "versions": {"torch": "2"},
               "hardware": {"processor": "CPU", "cores": 2}, **values.pop("summary", {})}
    return model_card(summary=summary, **values)


def test_the_card_of_cifar_names_the_data_set_and_how_the_test_set_was_used():
    card = card_of(licence="mit")
    assert "uoft-cs/cifar100" in card and "license: mit" in card and "50,000 images for training, 10,000" in card
    assert "decided nothing" in card and "/secret" not in card and "--data.root=DIR" in card
    chosen = card_of(recipe=load("baseline", settings={"eval.select": "test"}))
    assert "read its results as an upper bound" in chosen
    held_out = card_of(recipe=load("baseline", settings={"data.validation": 0.1}), summary={"val_top1": 0.3})
    assert "5,000 held out" in held_out and "| validation | 30.00% |" in held_out
    assert "upper bound" not in held_out and "decided nothing" not in held_out
    folder = card_of(recipe=load("baseline", settings={"data.name": "folder"}), summary={"val_top1": 0.3},
                     env={"data": {"train": "a1", "validation": "b2", "test": "c3"}})
    assert "| validation | 30.00% |" in folder and "validation images' beton, SHA-256: `b2`" in folder
    assert "upper bound" not in folder and "decided nothing" not in folder


def test_a_run_without_test_images_has_a_card_without_their_figures():
    card = card_of(summary={"test_top1": None, "test_loss": None})
    assert "model-index" not in card and "metrics" not in card and "| test |" not in card
    assert "its accuracy on new images is not known" in card


def test_names_from_a_user_are_shown_and_not_obeyed():
    card = card_of(class_names=["<script>x</script>", "a|b", "*bold*\n# Title", "back`tick"])
    assert "<script" not in card and "&lt;script&gt;" in card and r"\*bold\* # Title" in card and r"back\`tick" in card


def test_the_command_is_given_without_the_machines_folders():
    command = ("python -m engine.train --recipe x --data.root=/a/b '--run.folder=/c d' --data.cache=/e "
               "--model.weights=/home/me/w.pt '--augment.policy=flip(), crop(pad_px=2)' --log.to=wandb")
    assert public_command(command) == ("python -m engine.train --recipe x --data.root=DIR --model.weights=w.pt "
                                       "'--augment.policy=flip(), crop(pad_px=2)'")
