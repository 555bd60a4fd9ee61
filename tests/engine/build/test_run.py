"""Building a run: what a later stage would raise is raised before anything is trained."""

import re
from contextlib import closing

import pytest
from PIL import Image

from engine.build.run import build
from engine.common.errors import EngineError
from recipes.settings.load import load
from tests.engine.small_runs import SMALL


@pytest.mark.parametrize(("stage", "said"), [
    ({"lrs": {"nope": 1, "*": 1}}, "stage late: pattern nope matches no parameter"),
    ({"lrs": {"head": 1}}, "stage late: features.0.weight matches neither its lrs (head) nor its frozen patterns")])
def test_a_mistake_in_a_late_stage_is_found_before_anything_is_trained(stage, said, tmp_path):
    stages = [{"name": "early", "epochs": 1, "lrs": {"*": 0.01}}, {"name": "late", "epochs": 1, **stage}]
    settings = {name: value for name, value in SMALL.items() if "epochs" not in name}
    recipe = load("quickstart", settings={**settings, "train.stages": stages, "data.cache": str(tmp_path)})
    with pytest.raises(EngineError, match=re.escape(said)):
        build(recipe)


@pytest.mark.parametrize(("classes", "refused"), [(5, True), (6, False)])
def test_top5_of_five_classes_chooses_nothing(classes, refused, tmp_path):
    for name in map(str, range(classes)):
        (tmp_path / "data/train" / name).mkdir(parents=True)
        for image in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / f"data/train/{name}/{image}.png")
    recipe = load("quickstart", settings={
        "data.name": "folder", "data.root": str(tmp_path / "data"), "data.cache": str(tmp_path / "cache"),
        "data.resolution": 8, "data.validation": 0.25, "data.feed": "resident", "train.batch": 4, "train.device": "cpu",
        "train.threads": 1, "model.width": 4, "model.depth": 2, "eval.best_by": "top5"})
    if refused:
        with pytest.raises(EngineError, match="eval.best_by=top5: with 5 classes every epoch reaches 100 %: choose"):
            build(recipe)
    else:
        with closing(build(recipe)) as run:
            assert run.loop.criterion.name == "top5" and run.loop.select
