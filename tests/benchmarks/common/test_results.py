"""Results files: complete rows, merged by name, without the folders of the machine."""

import json

import pytest

from benchmarks.common.results import device_name, environment, label_of, read_rows, save_rows, shareable, write_rows
from engine.common.errors import EngineError
from recipes.settings.load import load

HERE = {"commit": "abc", "hardware": {"cores": 2}}
THERE = {"commit": "def", "hardware": {"cores": 16}}


def test_every_row_is_complete(tmp_path):
    path = tmp_path / "new" / "results.json"
    write_rows(path, [{"name": "a", "seconds": 1.5}, {"name": "b"}], HERE, "python -m benchmarks.x")
    assert read_rows(path) == [
        {"name": "a", "seconds": 1.5, "command": "python -m benchmarks.x", "environment": HERE},
        {"name": "b", "command": "python -m benchmarks.x", "environment": HERE}]
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_without_merge_the_file_is_replaced(tmp_path):
    path = tmp_path / "results.json"
    write_rows(path, [{"name": "a"}], HERE, "one")
    write_rows(path, [{"name": "b"}], THERE, "two")
    assert [row["name"] for row in read_rows(path)] == ["b"]


def test_merging_replaces_by_name_and_keeps_where_each_was_measured(tmp_path):
    path = tmp_path / "results.json"
    write_rows(path, [{"name": "a", "v": 1}, {"name": "b", "v": 1}], HERE, "one", merge=True)
    write_rows(path, [{"name": "c", "v": 2}, {"name": "a", "v": 2}], THERE, "two", merge=True)
    rows = read_rows(path)
    assert [(row["name"], row["v"], row["environment"]["commit"]) for row in rows] == [
        ("a", 2, "def"), ("b", 1, "abc"), ("c", 2, "def")]


def test_a_name_used_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unique names: a, a"):
        write_rows(tmp_path / "r.json", [{"name": "a"}, {"name": "a"}], HERE, "one")
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize("text", ["{", '{"name": "a"}', '[{"nam": "a"}]', "[1]"])
def test_merging_into_something_else_is_refused_and_leaves_it(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(EngineError, match=r"r\.json"):
        write_rows(path, [{"name": "a"}], HERE, "one", merge=True)
    assert path.read_text() == text


def test_an_absent_file_is_one_line(tmp_path):
    with pytest.raises(EngineError, match="cannot be read"):
        read_rows(tmp_path / "absent.json")


def test_a_device_is_named_by_its_gpu_or_by_its_processor_and_what_that_multiplies_with():
    assert device_name({"processor": "P"}) == device_name({"processor": "P", "matrix_instructions": []}) == "P"
    assert device_name({"processor": "P", "matrix_instructions": ["A", "B"]}) == "P with A, B"
    assert device_name({"processor": "P", "matrix_instructions": ["A"], "gpu": "G"}) == "G"


def test_rows_are_plain_json(tmp_path):
    write_rows(tmp_path / "r.json", [{"name": "a"}], HERE, "one")
    assert json.loads((tmp_path / "r.json").read_text())[0]["name"] == "a"


def test_a_rows_command_names_no_folder_of_the_machine():
    words = ["python", "-m", "x", "--json", "/a", "--runs=/b", "--data.root=/c", "--seconds", "1", "--data.cache", "/d"]
    assert shareable(words) == "python -m x --data.root=DIR --seconds 1"
    assert shareable(["x", "--data.root", "/c", "--json"]) == "x --data.root=DIR"


def test_rows_record_where_and_how_they_were_measured(tmp_path):
    save_rows(None, [{"name": "a"}], "benchmarks.x", [])
    save_rows(str(tmp_path / "r.json"), [{"name": "a"}], "benchmarks.x", ["--seed", "7", "--json", "r"])
    (row,) = read_rows(tmp_path / "r.json")
    assert row["command"] == "python -m benchmarks.x --seed 7"
    assert row["environment"]["versions"]["torch"] and row["environment"]["hardware"]["cores"] >= 1
    assert row["environment"]["commit"] and set(row["environment"]) == set(environment())


def test_a_recipes_label_has_the_given_settings_but_no_folders():
    recipe = load("baseline", settings={"train.epochs": 3, "data.root": "/x", "data.workers": 1, "run.folder": "y"})
    assert label_of(recipe) == "baseline data.workers=1 train.epochs=3"
    assert label_of(recipe, "data.workers") == "baseline train.epochs=3"
