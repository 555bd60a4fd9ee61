"""Files of settings: nested or flat, YAML, JSON or TOML; what is not one is refused in one line, and at once."""

import json
import sys

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


@pytest.mark.parametrize(("name", "text", "said"), [
    ("a.yaml", "train: {epochs: 3, epochs: 4}", "epochs is given twice: keep one of 3 and 4"),
    ("a.json", '{"train.epochs": 3, "train.epochs": 4}', "train.epochs is given twice: keep one of 3 and 4"),
    ("a.json", '{"train": {"epochs": 3}, "train": {"batch": 4}}',
     "train is given twice: keep one of epochs:3 and batch:4"),
    ("a.yaml", "train.epochs: 4\ntrain: {epochs: 5}", "train.epochs is given twice: keep one of 4 and 5"),
    ("a.yaml", "train: {epochs: 5}\n'train.epochs': 4", "train.epochs is given twice: keep one of 5 and 4"),
    ("a.json", '{"train.epochs": 4, "train": {"epochs": 5}}', "train.epochs is given twice: keep one of 4 and 5"),
    ("a.toml", '"train.epochs" = 4\n[train]\nepochs = 5', "train.epochs is given twice: keep one of 4 and 5"),
    ("a.toml", "[train]\nepochs = 4\nepochs = 5", "not valid TOML: Cannot overwrite a value"),
    ("a.toml", "train.epochs = 4\n[train]\nepochs = 5", r"not valid TOML: Cannot declare .*\(at line 2"),
    # Two keys to YAML, one to a setting.
    ("a.yaml", "1: 4\n'1': 5", "1 is given twice: keep one of 4 and 5"),
])
def test_a_setting_given_twice_is_refused_naming_both(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError, match=said) as caught:
        read_file(str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_file(str(tmp_path / "none.yaml"))


def test_json_and_yaml_give_the_same_nested_or_flat(tmp_path):
    nested, flat = tmp_path / "a.yaml", tmp_path / "b.json"
    nested.write_text("train: {epochs: 3, channels_last: false}\ndata: {mean: [0.1, 0.2, 0.3]}\n")
    flat.write_text(json.dumps({"train.epochs": 3, "train.channels_last": False, "data.mean": [0.1, 0.2, 0.3]}))
    assert read_file(str(nested)) == read_file(str(flat))
    assert load("baseline", str(nested)).values == load("baseline", str(flat)).values


@pytest.mark.parametrize(("text", "value"), [
    # Numbers, truths and null, in all forms that YAML 1.1 and 1.2 share.
    ("12", 12), ("-3", -3), ("+4", 4), ("0", 0), ("0x1F", 31), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0),
    ("1.0e-05", 1e-5), ("-.inf", -float("inf")), ("true", True), ("False", False), ("null", None), ("~", None),
    ("", None),
    # YAML 1.1 has 84, 8, 6, 1000, false, true and a date here.
    ("1:24", "1:24"), ("010", "010"), ("0b110", "0b110"), ("1_000", "1_000"), ("off", "off"), ("Yes", "Yes"),
    ("2026-11-28", "2026-11-28"), ("1:30.5", "1:30.5"), ("=", "="), ("1e-3", "1e-3"), ("0o10", "0o10"),
])
def test_a_plain_value_in_yaml_is_read_as_yaml_1_2_has_it_or_as_text(tmp_path, text, value):
    file = tmp_path / "own.yaml"
    file.write_text(f"run: {{folder: {text}}}\n")
    found = read_file(str(file))["run.folder"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(("setting", "text", "value"), [
    ("train.sizes", "1:24", {1: 24}), ("train.batch", "010", 10), ("schedule.lr", "1e-3", 1e-3),
    ("run.folder", "2026-11-28", "2026-11-28"), ("run.folder", "on", "on"), ("run.folder", "1_000", "1_000"),
])
def test_such_text_reaches_its_setting_as_on_the_command_line(tmp_path, setting, text, value):
    file = tmp_path / "own.yaml"
    file.write_text(f"{setting}: {text}\n")
    assert load("quickstart", str(file)).values[setting] == value
    assert load("quickstart", settings={setting: text}).values[setting] == value


@pytest.mark.parametrize(("text", "said"), [
    ("train.channels_last: off", "train.channels_last=off must be true or false"),
    ("train.channels_last: yes", "train.channels_last=yes must be true or false"),
    ("train.batch: 0b110", "train.batch=0b110 must be a whole number"),
    ("run.folder: 2026", "run.folder=2026 must be text, in quotes"),
    ("run.folder: true", "run.folder=true must be text, in quotes"),
    ("data.mean: [0.1, 1:30.5, 0.3]", "data.mean=0.1,1:30.5,0.3 must be 3 values"),
    ("train.batch: !!int 1:24", "is not valid YAML"), ("train.batch: !!float 1:24", "is not valid YAML"),
])
def test_what_no_setting_takes_is_refused_with_what_to_write(tmp_path, text, said):
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=said) as caught:
        load("quickstart", str(file))
    assert "\n" not in str(caught.value)


toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib comes with Python 3.11")


@toml
def test_toml_is_read_in_tables_dotted_or_quoted(tmp_path):
    forms = ['[train]\nepochs = 7\n[train.sizes]\n0 = 16\n3 = 24\n[schedule]\nlr = 1e-1\n',
             'train.epochs = 7\ntrain.sizes = "0:16,3:24"\nschedule.lr = 0.1\n',
             '"train.epochs" = 7\n"train.sizes" = {0 = 16, 3 = "24"}\n"schedule.lr" = 0.1\n']
    expected = {"train.epochs": 7, "train.sizes": {0: 16, 3: 24}, "schedule.lr": 0.1}
    for text in forms:
        file = tmp_path / "own.TOML"
        file.write_text(text)
        assert load("quickstart", str(file)).values == load("quickstart", settings=expected).values
    file.write_text("[[train.stages]]\nname = 'a'\nepochs = 2\nlrs = {'*' = 0.1}\n")
    assert load("quickstart", str(file)).epochs == 2
    file.write_text("run.folder = 2026-11-28")
    with pytest.raises(RecipeError, match="run.folder=2026-11-28 must be text, in quotes"):
        load("quickstart", str(file))


@pytest.mark.parametrize(("name", "text"), [
    ("own.yaml", "train.epochs: 7"), ("own.json", '{"train.epochs": 7}'),
    pytest.param("own.toml", "train.epochs = 7", marks=toml)])
def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path, name, text):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_file(str(tmp_path / name)) == {"train.epochs": 7}


def test_without_tomllib_a_toml_file_is_told_what_else_to_give(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tomllib", None)
    (tmp_path / "own.toml").write_text("train.epochs = 7")
    with pytest.raises(RecipeError, match=r"TOML is read from Python 3.11 on: write it as .yaml or .json"):
        read_file(str(tmp_path / "own.toml"))


@pytest.mark.parametrize(("name", "text", "form"), [
    ("a.json", "{'a': 1}", "JSON"), ("a.JSON", "a: 1", "JSON"), ("a.yml", "train: [1", "YAML"), ("a", "{", "YAML"),
    ("a.txt", "[", "YAML"), pytest.param("a.toml", "train: {epochs: 3}", "TOML", marks=toml)])
def test_a_broken_file_is_told_the_format_it_was_read_as(tmp_path, name, text, form):
    (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError, match=f"{name} is not valid {form}: ") as caught:
        read_file(str(tmp_path / name))
    assert "\n" not in str(caught.value)


@toml
@pytest.mark.parametrize("text", ["a." * 300_000 + "a = 1", '"a".' * 200_000 + "a = 1", "[" + "a . " * 200_000 + "a]",
                                  "x = {" + "a." * 300_000 + "a = 1}", "a = " + "[" * 400_000,
                                  "a = " + "9" * 900_000, "a" * 900_000 + " = 1", '"' * 900_000])
def test_a_toml_file_that_would_take_for_ever_is_refused_at_once(tmp_path, text):
    (tmp_path / "bomb.toml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load("quickstart", str(tmp_path / "bomb.toml"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(("text", "said"), [
    ("a: &a [x, x]\nb: &b [*a, *a]\ntrain: {epochs: *b}\n", "is an alias, and settings are plain values"),
    ("train:\n  epochs: " + ":".join(["59"] * 200_000), "must be a number"),
    ("train:\n  epochs: !!float " + ":".join(["59"] * 200_000), "too long for a number"),
    ("train:\n  epochs: 0x" + "f" * 900_000, "too long for a number"),
], ids=["alias", "sexagesimal", "tagged", "digits"])
def test_a_file_that_would_take_for_ever_is_refused_at_once(tmp_path, text, said):
    file = tmp_path / "bomb.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=said) as caught:
        load("quickstart", str(file))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
