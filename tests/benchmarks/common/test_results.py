import json

import pytest

from benchmarks.common.results import read_rows, shareable, write_rows
from engine.common.errors import EngineError

HERE = {"commit": "abc", "hardware": {"cores": 2}}
THERE = {"commit": "def", "hardware": {"cores": 16}}


def test_every_row_is_complete(tmp_path):
    path = tmp_path / "new" / "results.json"
    written = write_rows(path, [{"name": "a", "seconds": 1.5}, {"name": "b"}], HERE, "python -m benchmarks.x")
    assert written == read_rows(path) == [
        {"name": "a", "seconds": 1.5, "command": "python -m benchmarks.x", "environment": HERE},
        {"name": "b", "command": "python -m benchmarks.x", "environment": HERE}]
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_without_merge_the_file_is_written_anew(tmp_path):
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
    with pytest.raises(ValueError, match="names of their own: a, a"):
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


def test_rows_are_plain_json(tmp_path):
    write_rows(tmp_path / "r.json", [{"name": "a"}], HERE, "one")
    assert json.loads((tmp_path / "r.json").read_text())[0]["name"] == "a"


def test_a_rows_command_names_no_folder_of_the_machine():
    words = ["python", "-m", "x", "--json", "/a", "--runs=/b", "--data.root=/c", "--seconds", "1", "--data.cache", "/d"]
    assert shareable(words) == "python -m x --data.root=DIR --seconds 1"
    assert shareable(["x", "--data.root", "/c", "--json"]) == "x --data.root=DIR"
