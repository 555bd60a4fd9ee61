"""Exploring data: planted duplicates are found, counts and channels are those of the files, the command shows them."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from engine import data
from engine.build.datasets import open_betons, open_data
from engine.cli.console import Screen
from engine.common.errors import EngineError
from engine.data_tools.explore import explore, spread
from engine.data_tools.explore_report import counts_text, show
from loaders.beton.images import read_images
from recipes.settings.load import load

PATTERNS = np.random.default_rng(0).integers(30, 200, (40, 8, 8, 3), dtype=np.uint8)


def picture(number):
    return PATTERNS[number].repeat(4, axis=0).repeat(4, axis=1)


def fill(root, content):
    """Class folders of PNG files: {"train/cat": [image, ...]}."""
    for folder, images in content.items():
        (root / folder).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(root / folder / f"{number:03d}.png")
    return root


@pytest.fixture
def planted(tmp_path):
    """train: 12 cats, of which two are equal, and 6 dogs, one of them equal to a cat; test: a cat that is a training
    cat, a dog that is a training cat made brighter, and two of their own."""
    cats, dogs = [picture(number) for number in range(11)], [picture(number) for number in range(20, 25)]
    brighter = np.clip(picture(7) * 1.15 + 8, 0, 255).astype(np.uint8)
    return fill(tmp_path / "data", {
        "train/cat": [*cats, cats[3]], "train/dog": [*dogs, cats[5]],
        "test/cat": [cats[2], picture(30)], "test/dog": [brighter, picture(31)]})


def recipe_of(root, tmp_path, **more):
    return load("quickstart", settings={"data.name": "folder", "data.root": str(root), "data.cache": str(tmp_path),
                                        "data.resolution": 32, **more})


def look(recipe, folder):
    """What explore found, and what is shown of it."""
    folder.mkdir(exist_ok=True)
    stream = io.StringIO()
    with Screen(stream) as screen:
        found = explore(recipe, folder, screen)
        show(found, screen)
    return found, stream.getvalue()


def test_planted_duplicates_are_found_and_shown(planted, tmp_path):
    recipe = recipe_of(planted, tmp_path)
    found, shown = look(recipe, tmp_path / "out")
    within, across, near = found["copies"]["within"], found["copies"]["test_in_train"], found["near"]
    assert (within["train"]["images"], within["train"]["of_other_classes"]) == (2, 1)
    assert (within["test"]["images"], across["images"], across["of_other_classes"]) == (0, 1, 0)
    assert (near["images"], near["compared"], near["of_other_classes"]) == (1, 4, 1)
    betons = open_betons(recipe, open_data(recipe))

    def image(split, position):
        return read_images(betons[split], np.array([position]))[0]

    assert sorted(map(len, within["train"]["groups"])) == [2, 2]
    for first, second in within["train"]["groups"]:
        assert np.array_equal(image("train", first), image("train", second))
    (test, train), = across["pairs"]
    assert np.array_equal(image("test", test), picture(2)) and np.array_equal(image("train", train), picture(2))
    (test, train, alike), = near["pairs"]
    assert np.array_equal(image("train", train), picture(7)) and image("test", test).mean() > picture(7).mean() + 8
    assert 0.98 <= alike <= 1
    for line in ("2 equal an earlier one, 1 with another label", "1 (25.00%)", "1 (25.00%), 1 with another label"):
        assert line in shown
    assert [path.rpartition("/")[2] for path in found["pictures"]] == ["overview.png", "samples.png", "copies.png"]
    assert all((tmp_path / "out" / name).stat().st_size for name in ("overview.png", "samples.png", "copies.png"))


def test_counts_and_channels_are_those_of_the_files(planted, tmp_path):
    found, shown = look(recipe_of(planted, tmp_path), tmp_path / "out")
    train = found["splits"]["train"]
    assert train["class_counts"] == {"cat": 12, "dog": 6} and train["images"] == 18
    assert "12 cat, 6 dog" in shown and "2 of each class" in shown
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(planted.glob("train/*/*.png"))]) / 255
    mean, std = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))
    assert train["channel_mean"] == pytest.approx(mean.tolist()) and train["channel_std"] == pytest.approx(std.tolist())
    assert found["normalised"]["mean"] == pytest.approx(((mean - 0.5) / 0.25).tolist())
    assert found["normalised"]["std"] == pytest.approx((std / 0.25).tolist())
    fitting = ",".join(f"{value:.4f}" for value in mean)
    assert f"--data.mean={fitting}" in shown
    again, shown = look(recipe_of(planted, tmp_path, **{"data.mean": tuple(mean), "data.std": tuple(std)}),
                        tmp_path / "out")
    assert again["normalised"]["mean"] == pytest.approx([0, 0, 0], abs=1e-9) and "--data.mean" not in shown


def test_without_a_test_split_and_without_duplicates_there_is_less_to_show(tmp_path):
    root = fill(tmp_path / "data", {"train/a": [picture(1), picture(2)], "train/b": [picture(3)]})
    out = tmp_path / "out"
    out.mkdir()
    (out / "copies.png").write_text("of another data set")
    found, shown = look(recipe_of(root, tmp_path), out)
    assert found["near"] is None and "test_in_train" not in found["copies"]
    assert sorted(path.name for path in out.iterdir()) == ["overview.png", "samples.png"]
    assert "within train" in shown and "test" not in shown.replace(str(tmp_path), "")


def test_validation_images_are_compared_with_the_others_and_each_split_has_its_folder(tmp_path):
    brighter = np.clip(picture(2) * 1.15 + 8, 0, 255).astype(np.uint8)
    root = fill(tmp_path / "data", {
        "train/cat": [picture(1), picture(2)], "train/dog": [picture(3)], "Val/cat": [picture(1), picture(4)],
        "Val/dog": [brighter, picture(5)], "test/cat": [picture(4), picture(6), picture(7)], "test/dog": [picture(8)]})
    found, shown = look(recipe_of(root, tmp_path), tmp_path / "out")
    assert list(found["splits"]) == ["train", "validation", "test"]
    assert [split["folder"] for split in found["splits"].values()] == [f"{root}/{name}" for name in
                                                                       ("train", "Val", "test")]
    copies, near = found["copies"], found["near_validation"]
    assert (copies["validation_in_train"]["pairs"], copies["validation_in_train"]["of_other_classes"]) == ([(0, 0)], 0)
    assert copies["test_in_validation"]["pairs"] == [(0, 1)] and copies["test_in_train"]["images"] == 0
    (held, trained, alike), = near["pairs"]
    assert (held, trained, near["of_other_classes"]) == (2, 1, 1) and alike >= 0.98 and found["near"]["images"] == 0
    lines = {" ".join(line.replace("│", " ").split()) for line in shown.splitlines()}
    assert {"validation images in train 1 (25.00%)", "validation nearly in train 1 (25.00%), 1 with another label",
            "test images in validation 1 (25.00%)", "test images in train 0 (0.00%)"} <= lines
    assert f"{root}/Val: 4 images of 32 x 32 px" in " ".join(shown.replace("│", " ").split())


def test_the_command_writes_what_it_found(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["explore", "--data.train_count=200", "--data.test_count=100", "--data.resolution=16",
             f"--data.cache={tmp_path}/cache", "--json", "found.json"]
    assert data.main(words) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    shown = capsys.readouterr().out
    assert found["dataset"] == "shapes" and sum(found["splits"]["test"]["class_counts"].values()) == 100
    assert found["copies"]["within"]["train"]["images"] == found["near"]["images"] == 0
    assert "20 of each class" in shown and "runs/explore/shapes/overview.png" in shown
    assert (tmp_path / "runs" / "explore" / "shapes" / "samples.png").is_file()
    assert found["command"].startswith("python -m engine.data explore --recipe quickstart --data.train_count=200")


@pytest.mark.slow("draws every policy twice")
def test_a_sheet_goes_below_runs_or_where_it_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["sheet", "--data.train_count=200", "--data.test_count=100", "--data.resolution=16"]
    assert data.main(words) == 0 and capsys.readouterr().out == "runs/sheet/quickstart/policies.png\n"
    assert data.main([*words, "--out", "new/mine.png"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "runs"]
    assert (tmp_path / "new/mine.png").read_bytes() == (tmp_path / "runs/sheet/quickstart/policies.png").read_bytes()


@pytest.mark.parametrize(("words", "said"), [
    (["explore", "--train.epochs=3"], "--train.epochs has no effect on data sets"),
    (["explore", "--data.feed=stream"], "--data.feed has no effect"),
    (["explore", "--epoch", "1"], "--epoch has no effect on explore: it is for digest and sheet"),
    (["convert", "--json", "x"], "--json has no effect on convert: it is for explore"),
    (["sheet", "--threads", "1"], "--threads has no effect on sheet"),
    (["explore", "--out", "file/folder"], "cannot be written"),
    (["sheet", "--out", "file/policies.png"], "file/policies.png cannot be written"),
    (["sheet", "--out", "."], ". cannot be written: give the name of a file"),
    (["sheet", "--epoch", "-1"], "--epoch and --start count from 0"),
    (["digest", "--processes", "0"], "--processes from 1"),
])
def test_a_refusal_is_one_line(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    own = ["--data.resolution=16", "--data.test_count=100", f"--data.cache={tmp_path}"]
    with pytest.raises(EngineError) as caught:
        data.main([*words, *own])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_data_folder_is_refused():
    with pytest.raises(EngineError, match="data.root=/nowhere is not a folder"):
        data.main(["explore", "--data.name=cifar10", "--data.root=/nowhere"])


def test_many_classes_are_summed_up_by_their_ends():
    images = {f"class {number}": 100 + number for number in range(30)}
    assert counts_text(images) == "from 100 of a class (class 0) to 129 (class 29)"
    assert counts_text(dict.fromkeys(images, 7)) == "7 of each class"


@pytest.mark.parametrize(("length", "count", "places"), [(5, 12, [0, 1, 2, 3, 4]), (100, 3, [0, 50, 99]), (1, 4, [0])])
def test_samples_are_spread_evenly(length, count, places):
    assert spread(length, count).tolist() == places
