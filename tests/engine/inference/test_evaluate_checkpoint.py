"""Whose the files of an evaluation are: the run's own, or, by their name, those of other data or another checkpoint."""

import json
import shutil
from fnmatch import fnmatch

import pytest
from PIL import Image

from engine import evaluate
from engine.common.errors import EngineError
from engine.plots import confusion
from engine.storage import checkpoint
from tests.engine.colours import COLOURS, colours_run

# Classes are sorted by name.
NAMES = tuple(f"{number} {colour}" for number, colour in enumerate(COLOURS))


def images(folder, tested):
    """Class folders with an image of each colour for training, and the first `tested` for the test."""
    for split, names in (("train", NAMES), ("test", NAMES[:tested])):
        for name in names:
            (folder / split / name).mkdir(parents=True)
            rgb = tuple(int(255 * part) for part in COLOURS[name[2:]])
            Image.new("RGB", (16, 16), rgb).save(folder / split / name / "a.png")


@pytest.fixture(autouse=True)
def pictures_are_not_drawn(monkeypatch):
    monkeypatch.setattr(confusion, "confusion_figure", lambda *_: None)
    monkeypatch.setattr(confusion, "write_png", lambda _, path: path.write_bytes(b"") or path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run on the data in `own`, which knows their checksums, and other data in `other`."""
    place = tmp_path_factory.mktemp("made")
    images(place / "own", 6)
    images(place / "other", 2)
    run = colours_run(place / "run", NAMES, **{"data.name": "folder", "data.root": str(place / "own"),
                                               "data.cache": str(place / "cache"), "train.device": "cpu",
                                               # The other feed compiles FFCV's kernels first.
                                               "data.feed": "resident"})
    digest = measured(run, place / "a.json", "--out", str(place / "first"))["data_sha256"]
    saved = checkpoint.load(run / "checkpoints/last.pt") | {"data": {"test": digest}}
    for name in ("last", "best"):
        checkpoint.save(run / f"checkpoints/{name}.pt", saved)
    return place


@pytest.fixture
def place(made, tmp_path):
    """The same, with a copy of the run."""
    shutil.copytree(made / "run", tmp_path / "run")
    for name in ("own", "other"):
        (tmp_path / name).symlink_to(made / name)
    return tmp_path


def measured(run, file, *words):
    assert evaluate.main([str(run), "--json", str(file), *words]) == 0
    return json.loads(file.read_text())


def confusions(run):
    return sorted(path.name for path in run.glob("confusion*"))


def test_other_data_do_not_overwrite_the_runs_own_files(place, capsys):
    measured(place / "run", place / "a.json")
    assert confusions(place / "run") == ["confusion.csv", "confusion.png"]
    own = (place / "run/confusion.csv").read_bytes()
    other = measured(place / "run", place / "b.json", f"--data.root={place}/other")
    assert other["images"] == 2 and (place / "run/confusion.csv").read_bytes() == own
    name = f"confusion_folder-{other['data_sha256'][:8]}"
    assert confusions(place / "run") == ["confusion.csv", "confusion.png", f"{name}.csv", f"{name}.png"]
    # A long path is continued on the following lines of the table.
    assert f"{name}.csv" in "".join(line.strip("│ ") for line in capsys.readouterr().out.splitlines())
    # The same images at another place are the run's own.
    (place / "run/confusion.csv").unlink()
    shutil.copytree(place / "own", place / "moved")
    measured(place / "run", place / "c.json", f"--data.root={place}/moved")
    assert (place / "run/confusion.csv").read_bytes() == own


@pytest.mark.parametrize(("words", "stem"), [
    (["--best"], "confusion_best"), (["--eval.tta=flip"], "confusion_flip"),
    (["--train.precision=bf16"], "confusion_bf16"), (["--data.mean=.5,.4,.3"], "confusion_normalised-*"),
    (["--eval.batch=1"], "confusion")], ids=str)
def test_another_checkpoint_and_another_way_to_predict_are_named_too(place, words, stem):
    measured(place / "run", place / "a.json", *words)
    assert [fnmatch(name, f"{stem}.{suffix}") for name, suffix in
            zip(confusions(place / "run"), ("csv", "png"), strict=True)] == [True, True]


def test_lone_checkpoints_in_a_folder_keep_apart(place):
    for name in ("a", "b"):
        shutil.copy(place / "run/checkpoints/last.pt", place / f"{name}.pt")
        measured(place / f"{name}.pt", place / "a.json")
    assert confusions(place) == ["confusion_a.csv", "confusion_a.png", "confusion_b.csv", "confusion_b.png"]


@pytest.mark.parametrize("setting", ["eval.best_by=loss", "eval.watch=none", "eval.select=none", "train.epochs=3"])
def test_settings_of_training_are_refused(setting):
    with pytest.raises(EngineError, match=f"--{setting.partition('=')[0]} has no effect on an evaluation"):
        evaluate.main(["run", f"--{setting}"])
