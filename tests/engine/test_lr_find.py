"""The command: a search on the embedded data set, what it writes and shows, and what it refuses before any work."""

import io
import json
import subprocess
import sys
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine import lr_find
from engine.build.model import starting_model
from engine.common.errors import EngineError
from recipes.settings.load import RecipeError, load

trains = pytest.mark.slow("trains for some dozen steps")

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"data.train_count": 300, "data.test_count": 100, "data.resolution": 16, "train.batch": 60, "model.width": 16,
         "model.dropout": 0, "train.label_smoothing": 0, "train.precision": "fp32", "train.device": "cpu",
         "train.threads": 1, "data.feed": "resident"}
STAGES = [{"name": "head", "epochs": 1, "lrs": {"head": 0.2, "features.1?.*": 0.1, "features.[4-9].*": 0.05},
           "frozen": ["features.0", "features.1"]},
          {"name": "all", "epochs": 1, "lrs": {"*": 0.01}}]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def words(cache):
    """The small recipe's words, `more` at their end."""
    return lambda *more: ["--recipe", "quickstart", f"--data.cache={cache}",
                          *(f"--{path}={value}" for path, value in SMALL.items()), *map(str, more)]


@contextmanager
def networks_seen():
    """The networks that searches are given, as they are after them."""
    networks = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.build.run.starting_model",
                      lambda *of, **how: networks.append(starting_model(*of, **how)) or networks[-1])
        yield networks


def found_in(folder):
    return json.loads((folder / "lr_find.json").read_text())


@pytest.fixture(scope="module")
def searched(words, tmp_path_factory):
    """(folder, second JSON file, what was shown, network after it) of a search."""
    folder = tmp_path_factory.mktemp("searched")
    with networks_seen() as networks, redirect_stdout(io.StringIO()) as shown:
        assert lr_find.main(words("--steps", 80, "--low", 1e-4, "--out", folder / "out", "--json",
                                  folder / "extra.json")) == 0
    return folder / "out", folder / "extra.json", shown.getvalue(), networks[0]


@trains
def test_the_command_writes_a_picture_and_a_result_and_says_where(searched):
    out, extra, shown, _ = searched
    assert sorted(path.name for path in out.iterdir()) == ["lr_find.json", "lr_find.png"]
    found = found_in(out)
    assert found == json.loads(extra.read_text())
    assert len(found["rates"]) == len(found["losses"]) == len(found["smoothed"]) <= 80
    assert found["rates"] == pytest.approx(np.geomspace(1e-4, 10, 80)[:len(found["rates"])])
    assert found["suggestion"] in found["rates"] and 1e-5 < found["suggestion"] < 10
    assert (found["own_lr"], found["stage"], found["lrs"]) == (0.1, "all", {"*": found["suggestion"]})
    assert f"{found['suggestion']:.2g}" in shown and f"{found['careful']:.2g}" in shown
    assert "lr_find.png" in shown and "the recipe's own" in shown
    assert np.asarray(Image.open(out / "lr_find.png").convert("RGB")).std() > 5
    assert found["command"].startswith("python -m engine.lr_find --recipe quickstart")
    assert found["command"].endswith("--steps 80 --low 0.0001 --high 10")


@trains
def test_a_search_starts_where_the_recipe_does_and_repeats_bit_for_bit(searched, words, cache, tmp_path):
    lr_find.main(words("--steps", 80, "--low", 1e-4, "--out", tmp_path))
    one, two = found_in(searched[0]), found_in(tmp_path)
    assert (one["losses"], one["suggestion"]) == (two["losses"], two["suggestion"])

    from engine.build.run import build

    run = build(load("quickstart", settings={**SMALL, "data.cache": str(cache)}))
    with run.feeds.train.epoch(0) as batches:
        batch = next(iter(batches))
        logits = run.model.train()(run.step.to_input(batch.images_bhwc))
        loss = torch.nn.functional.cross_entropy(logits, batch.labels)
    run.close()
    assert one["losses"][0] == pytest.approx(loss.item(), rel=1e-5)
    moved = [not torch.equal(a, b) for a, b in zip(searched[3].parameters(), run.model.parameters(), strict=True)]
    assert all(moved)


@trains
def test_of_several_stages_the_first_is_tried_with_its_parts_and_its_frozen_layers(words, tmp_path, capsys):
    with networks_seen() as started:
        lr_find.main(words("--steps", 100, "--low", 1e-3, f"--out={tmp_path}",
                           f"--train.stages={json.dumps(STAGES)}"))
    found, said = found_in(tmp_path), capsys.readouterr().out
    assert (found["stage"], found["stages"], found["own_lr"]) == ("head", 2, 0.2)
    assert found["lrs"] == pytest.approx(
        {part: found["suggestion"] / share for part, share in zip(STAGES[0]["lrs"], (1, 2, 4), strict=True)})
    assert "only stage head, the first of 2, is tried" in said and "head, the first of 2" in said
    frozen = [name for name, p in started[0].named_parameters() if not p.requires_grad]
    assert frozen == ["features.0.weight", "features.1.weight", "features.1.bias"]
    assert started[0].features[5].training and not started[0].features[1].training


@trains
def test_a_loss_that_does_not_fall_leaves_nothing_behind(words, tmp_path):
    with pytest.raises(EngineError, match="did not fall between the rates 1e-12 and 1e-11"):
        lr_find.main(words("--steps", 30, "--low", 1e-12, "--high", 1e-11, "--out", tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("asked", "message"), [
    (["--steps=19"], "--steps=19 must be 20 or more"),
    (["--low=1", "--high=1"], "--low=1 and --high=1 must be rates above 0, the low one below"),
    (["--low=0"], "--low=0 and --high=10"),
    (["--low=nan"], "--low=nan and --high=10"),
    (["--high=inf"], "--low=1e-06 and --high=inf"),
    (["--low=small"], "--low: invalid float value: 'small'"),
    (["--steps=2.5"], "--steps: invalid int value: '2.5'"),
    (["--schedule.lr=0.1"], "--schedule.lr has no effect on the search for a rate"),
    (["--train.epochs=3"], "--train.epochs has no effect"),
    (["--average.ema=0.9"], "--average.ema has no effect"),
    (["--stepz=30"], "--stepz=30 is unknown; did you mean --steps"),
])
def test_what_cannot_be_searched_is_refused_in_one_line_before_any_work(asked, message, tmp_path):
    with pytest.raises(EngineError) as error:
        lr_find.main(["--recipe", "quickstart", f"--out={tmp_path / 'out'}", *asked])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_recipe_must_be_named_and_known():
    with pytest.raises(EngineError, match="--recipe is missing: python -m engine.train --list"):
        lr_find.main([])
    with pytest.raises(RecipeError, match="did you mean quickstart"):
        lr_find.main(["--recipe", "quickstar"])


def test_rates_of_parts_may_be_given(tmp_path):
    with pytest.raises(EngineError, match="nowhere is not a folder"):
        lr_find.main(["--recipe", "cnn4", "--schedule.lrs=*:0.1", "--data.root=nowhere", f"--out={tmp_path}"])


@pytest.mark.slow("starts a process that has not imported torch")
def test_help_and_refusals_do_without_torch_and_end_with_status_2():
    script = ("import sys; from engine import lr_find; from engine.cli.parser import run_command\n"
              "for words, status in ((['--help'], 0), (['--recipe', 'quickstart', '--low', '5', '--high', '1'], 2)):\n"
              "    try: run_command(lambda: lr_find.main(words))\n"
              "    except SystemExit as end: assert end.code == status\n"
              "assert not {'torch', 'matplotlib', 'ffcv'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--steps N" in done.stdout, done.stderr
    assert done.stderr.startswith("error: --low=5 and --high=1 must") and done.stderr.count("\n") == 1
