"""What a run's folder says of its start."""

import os
import shlex

import torch

from engine.storage.run_folder import write_start
from engine.storage.run_lookup import read_recipe
from engine.storage.run_record import read_record
from recipes.settings.load import load

NO_TEXT = os.fsdecode(b"/data/caf\xe9")


def test_a_folder_whose_name_is_no_text_stays_in_command_and_settings(tmp_path):
    recipe = load("quickstart", settings={"data.name": "folder", "data.root": NO_TEXT})
    command = shlex.join(["python", "-m", "engine.train", f"--data.root={NO_TEXT}", "--run.folder=taken"])
    write_start(tmp_path, "quickstart", recipe.nested(), command, torch.device("cpu"), {}, {})
    assert b"/data/caf\xe9" in (tmp_path / "command.txt").read_bytes()
    assert read_recipe(tmp_path).get("data.root") == NO_TEXT
    assert shlex.split(read_record(tmp_path).command)[3:] == [f"--data.root={NO_TEXT}"]
