"""Files of settings: nested or flat, YAML or JSON; what is not one is refused in one line, and at once."""

import json

import pytest

from recipes.settings.files import read_file
from recipes.settings.load import load
from recipes.settings.messages import RecipeError


@pytest.mark.parametrize("content", ["- 1\n- 2\n", "{", "a: [1", "\x00", "train: 3", "!!python/object:os.system {}",
                                     "[" * 5000, "&a [*a]", "train: {epochs: 3, epochs: 4}",
                                     "? [a]\n: 1"])
def test_a_bad_file_is_one_line(tmp_path, content):
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(RecipeError) as caught:
        load("baseline", str(file))
    assert "\n" not in str(caught.value)


def test_a_repeated_key_is_refused(tmp_path):
    twice = {"a.yaml": "train: {epochs: 3, epochs: 4}", "b.json": '{"train.epochs": 3, "train.epochs": 4}'}
    for name, text in twice.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(RecipeError, match="is given twice"):
            read_file(str(tmp_path / name))


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_file(str(tmp_path / "none.yaml"))


def test_json_and_yaml_give_the_same_nested_or_flat(tmp_path):
    nested, flat = tmp_path / "a.yaml", tmp_path / "b.json"
    nested.write_text("train: {epochs: 3, channels_last: false}\ndata: {mean: [0.1, 0.2, 0.3]}\n")
    flat.write_text(json.dumps({"train.epochs": 3, "train.channels_last": False, "data.mean": [0.1, 0.2, 0.3]}))
    assert read_file(str(nested)) == read_file(str(flat))
    assert load("baseline", str(nested)).values == load("baseline", str(flat)).values


@pytest.mark.parametrize(("text", "said"), [
    ("a: &a [x, x]\nb: &b [*a, *a]\ntrain: {epochs: *b}\n", "is an alias, and settings are plain values"),
    ("train:\n  epochs: " + ":".join(["59"] * 200_000), "too long for a number"),
    ("train:\n  epochs: 0x" + "f" * 900_000, "too long for a number")], ids=["alias", "sexagesimal", "digits"])
def test_a_file_that_would_take_for_ever_is_refused_at_once(tmp_path, text, said):
    file = tmp_path / "bomb.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=said) as caught:
        load("quickstart", str(file))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
