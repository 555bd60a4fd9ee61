import pytest

from engine.common.errors import EngineError
from engine.reporting.comparison import differing, names_of, write_comparison


def test_settings_that_differ_are_listed_by_section():
    assert differing({"a": {"x.a": "1", "y.b": "2"}, "b": {"x.a": "1", "y.b": "3", "x.c": ""}}) == [
        ("x.c", "-", '""'), ("y.b", "2", "3")]


def test_names_tell_runs_apart(tmp_path):
    assert names_of([tmp_path / "a" / "x", tmp_path / "b" / "x"]) == ["a/x", "b/x"]
    assert names_of([tmp_path / "a" / "x", tmp_path / "b" / "y"]) == ["x", "y"]
    with pytest.raises(EngineError, match="given twice"):
        write_comparison([tmp_path / "a", tmp_path / "a"])
