"""What the command prints for class folders: names unchanged, worst first, classes without test images last."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from engine import evaluate
from engine.common.errors import EngineError
from tests.engine.colours import COLOURS, colours_run

pytestmark = pytest.mark.filterwarnings("error:.*NaN")
# In the order of COLOURS; blue has no test images, and the images labelled grey are black.
NAMES = ("1 [dog]", "2 :cat:", "3 empty", "4 [bold]", "5", "6")


def test_names_are_shown_unchanged_the_worst_first_and_those_without_images_last(tmp_path, capsys):
    for name, rgb in zip(NAMES, COLOURS.values(), strict=True):
        shown = (0, 0, 0) if name == "6" else rgb
        for split in ("train", "test"):
            if split == "train" or name != "3 empty":
                (tmp_path / "[data]" / split / name).mkdir(parents=True)
                image = Image.fromarray(np.full((16, 16, 3), np.multiply(shown, 255), np.uint8))
                image.save(tmp_path / "[data]" / split / name / "a.png")
    run = colours_run(tmp_path / "[run]", NAMES, **{"data.name": "folder", "data.root": str(tmp_path / "[data]"),
                                                   "data.cache": str(tmp_path / "cache"), "train.device": "cpu",
                                                   # The other feed compiles FFCV's kernels first.
                                                   "data.feed": "resident"})
    assert evaluate.main([str(run), "--json", str(tmp_path / "new" / "e.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line][:len(NAMES)]
    assert rows[0] == ["6", "0.00%"] and rows[-1] == ["3 empty", "no images"]
    assert rows[1:-1] == [[name, "100.00%"] for name in ("1 [dog]", "2 :cat:", "4 [bold]", "5")]
    assert any("[run]" in line for line in lines)
    summary = json.loads((tmp_path / "new" / "e.json").read_text())["per_class"]
    assert summary["3 empty"] is None and summary["6"] == 0


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_classes_are_found_by_name_in_a_copy_whose_names_have_another_unicode_form_and_order(tmp_path, form, capsys):
    # Decomposed, as a Mac writes it, the name comes before "cafz"; composed, after it.
    names = ("1", "2", "3", "4", unicodedata.normalize("NFD", "café"), "cafz")
    for name, rgb in zip(names, COLOURS.values(), strict=True):
        for split in ("train", "val"):
            folder = tmp_path / "data" / split / unicodedata.normalize(form, name)
            folder.mkdir(parents=True)
            Image.fromarray(np.full((16, 16, 3), np.multiply(rgb, 255), np.uint8)).save(folder / "a.png")
    run = colours_run(tmp_path / "run", names, **{"data.name": "folder", "data.root": str(tmp_path / "data"),
                                                 "data.cache": str(tmp_path / "cache"), "train.device": "cpu",
                                                 "data.feed": "resident"})
    assert evaluate.main([str(run), "--json", str(tmp_path / "e.json")]) == 0
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["per_class"] == dict.fromkeys(names, 1.0) and found["split"] == "validation"


def test_other_classes_are_refused(tmp_path):
    for name in "ab":
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "data" / "train" / name / "a.png")
    run = colours_run(tmp_path / "run", **{"data.name": "folder", "data.root": str(tmp_path / "data")})
    with pytest.raises(EngineError, match=r"knows 6 classes \(red, ...\), folder has 2 \(a, ...\): name the data set"):
        evaluate.main([str(run)])
