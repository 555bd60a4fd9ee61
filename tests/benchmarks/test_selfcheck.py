"""The self-check of the fast code: a row for each check, status 1 if one of them fails."""

import json
from functools import partial

import pytest
import torch

from benchmarks import selfcheck
from benchmarks.common.step_check import Deviation
from engine.common.errors import EngineError
from engine.data_tools.digest import sample_digests
from loaders.policy.named_policies import POLICIES
from recipes.settings.load import RecipeError

COMPARES_PIXELS = pytest.mark.slow("converts data and compiles the host's augmentation")

SHAPES = {"data.train_count": "300", "data.test_count": "100", "data.resolution": "16"}
POLICY = "crop(pad_px=2), flip(), maybe(.5, affine(rotate_deg=15)), jitter(hue=.1)"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return {**SHAPES, "data.cache": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture
def words(shapes):
    return [f"--{path}={value}" for path, value in shapes.items()]


@pytest.fixture
def one_policy(monkeypatch):
    monkeypatch.setattr(selfcheck, "POLICIES", {"cnn4": POLICIES["cnn4"]})


@pytest.fixture
def asked(monkeypatch):
    """Replaces the comparisons of steps and records each (recipe, mode, steps); graph fails."""
    calls = []

    def check(recipe, mode, steps):
        calls.append((recipe.name, mode, steps))
        if mode == "graph":
            raise EngineError("train.step=graph does not compute what eager does")
        return Deviation(mode, "fp32", steps, 1e-4, 1e-5, 2e-3)

    monkeypatch.setattr(selfcheck, "check_mode", check)
    return calls


@pytest.mark.slow("trains by a compiled step")
def test_the_compiled_step_and_the_devices_pixels_pass(words, one_policy, tmp_path, capsys, monkeypatch):
    # Without inductor's C++ compiler, which takes most of a minute; its own tests use it.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    file = tmp_path / "rows.json"
    small = ["--model.width=4", "--model.depth=2", "--train.batch=50", "--train.threads=1", "--train.precision=fp32"]
    assert selfcheck.main([*words, *small, "--modes=compile", "--steps", "3", "--json", str(file)]) == 0
    step, pixels = json.loads(file.read_text())
    assert (step["name"], step["ok"], step["allowed"]) == ("quickstart, step compile against eager", True, 2e-3)
    assert 0 <= step["mean"] <= step["largest"] < 2e-3
    assert pixels["name"].startswith("policy cnn4, ") and pixels["ok"]
    # 270 images are left for training: the last four batches of six are compared, the last one of 20.
    assert pixels["said"] == "170 images, every bit equal"
    assert step["command"].startswith("python -m benchmarks.selfcheck --data.train_count=300")
    assert "cache" not in step["command"] and step["environment"]["commit"]
    shown = capsys.readouterr().out
    assert shown.count("ok     ") == 2 and "losses of 3 steps within" in shown


@COMPARES_PIXELS
def test_every_recipe_is_checked_in_every_mode_and_one_failure_decides(words, asked, one_policy, tmp_path, capsys):
    file = tmp_path / "rows.json"
    named = ["--recipes=quickstart,cnn,quickstart", "--modes=compile,graph,compile", "--steps=7", "--json", str(file)]
    assert selfcheck.main([*words, "--data.name=shapes", *named]) == 1
    assert asked == [(name, mode, 7) for name in ("quickstart", "cnn") for mode in ("compile", "graph")]
    rows = json.loads(file.read_text())
    assert [row["ok"] for row in rows] == [True, False, True, False, True]
    assert rows[1]["said"] == "train.step=graph does not compute what eager does" and "largest" not in rows[1]
    shown = capsys.readouterr().out
    assert "FAILED quickstart, step graph against eager: train.step=graph does not" in shown and "FAILED cnn," in shown


@COMPARES_PIXELS
def test_rows_of_earlier_checks_stay(words, asked, one_policy, tmp_path):
    file = tmp_path / "rows.json"
    for name in ("quickstart", "cnn"):
        selfcheck.main([*words, "--data.name=shapes", f"--recipes={name}", "--modes=compile", "--json", str(file)])
    assert [row["name"].split(",")[0] for row in json.loads(file.read_text())] == ["quickstart", "policy cnn4", "cnn"]


def test_by_default_all_modes_of_the_machine_are_checked(asked, words, one_policy, monkeypatch):
    monkeypatch.setattr(selfcheck, "pixel_row", lambda policy, settings: {"name": policy, "ok": True, "said": ""})
    assert selfcheck.main(words) == (1 if torch.cuda.is_available() else 0)
    assert [mode for _, mode, _ in asked] == (["compile", "graph"] if torch.cuda.is_available() else ["compile"])


def test_every_named_policy_is_compared(asked, words, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(selfcheck, "pixel_row", lambda policy, settings: seen.append(policy) or {
        "name": policy, "ok": policy != "cnn", "said": "they differ"})
    assert selfcheck.main([*words, "--modes=compile"]) == 1
    assert seen == list(POLICIES) and "FAILED cnn: they differ" in capsys.readouterr().out


@COMPARES_PIXELS
@pytest.mark.parametrize(("more", "images"), [
    ({}, 170), ({"data.workers": "2"}, 170), ({"data.feed": "resident"}, 170), ({"data.batches_ahead": "1"}, 170),
    ({"data.validation": "0.2", "data.split_seed": "3"}, 190), ({"data.validation": "0"}, 200)], ids=str)
def test_pixels_are_compared_under_any_setting_of_the_data(shapes, more, images):
    row = selfcheck.pixel_row(POLICY, {**shapes, **more, "train.batch": "7"})
    assert row["ok"] and row["said"] == f"{images} images, every bit equal"


@COMPARES_PIXELS
def test_recipes_of_data_in_files_are_checked_there_and_policies_on_shapes(words, asked, one_policy, capsys):
    cache = [word for word in words if word.startswith("--data.cache=")]
    status = selfcheck.main(["--recipes=baseline,sprint10", "--modes=compile", *cache, "--data.root=/nowhere"])
    assert status == 0 and [name for name, _, _ in asked] == ["baseline", "sprint10"]
    assert "policy cnn4" in capsys.readouterr().out


@COMPARES_PIXELS
def test_fewer_images_than_are_compared_are_all_compared(shapes):
    row = selfcheck.pixel_row("flip()", {**shapes, "data.train_count": "100"})
    assert row["ok"] and row["said"] == "90 images, every bit equal"


@COMPARES_PIXELS
def test_one_pixel_that_differs_is_found(shapes, monkeypatch):
    from loaders.feeds.resident import Resident

    def one_off(feed, epoch, start):
        if isinstance(feed, Resident):
            feed.images_nhwc[:, 3, 5, 1] ^= 1
        return sample_digests(feed, epoch, start)

    monkeypatch.setattr(selfcheck, "sample_digests", one_off)
    row = selfcheck.pixel_row("flip()", shapes)
    assert not row["ok"] and row["said"] == "170 images, they differ"


@pytest.mark.parametrize(("words", "said"), [
    (["--steps=0"], "--steps=0 must be 1 or more"),
    (["--modes=compiled"], "--modes=compiled must be one or more of compile,graph"),
    (["--modes=compile,eager"], "--modes=compile,eager must be one or more of compile,graph"),
    (["--stepz=1"], "did you mean --steps"),
])
def test_impossible_checks_are_refused_in_one_line(words, said, asked):
    with pytest.raises(EngineError) as caught:
        selfcheck.main(words)
    assert said in str(caught.value) and "\n" not in str(caught.value) and not asked


def test_every_recipe_is_known_before_the_first_is_checked(asked):
    with pytest.raises(RecipeError, match="recipe basline is unknown"):
        selfcheck.main(["--recipes=quickstart,basline"])
    assert not asked
