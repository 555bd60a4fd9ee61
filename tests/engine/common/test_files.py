"""Files that are complete or absent, and the folders they go into."""

import json

import pytest

from engine.common.errors import EngineError
from engine.common.files import refuse_unwritable, write_json


def test_a_json_file_that_passes_the_early_check_can_be_written(tmp_path):
    path = tmp_path / "no" / "such" / "folder" / "x.json"
    refuse_unwritable(path)
    write_json(path, {"share": float("nan"), "rows": (1, [float("inf")])})
    assert json.loads(path.read_text()) == {"share": None, "rows": [1, [None]]}
    assert [one.name for one in path.parent.iterdir()] == ["x.json"]


def test_a_json_file_below_a_file_is_refused_early_and_late(tmp_path):
    (tmp_path / "file").write_text("")
    for refuse in (refuse_unwritable, lambda path: write_json(path, {})):
        with pytest.raises(EngineError, match="cannot be written") as caught:
            refuse(tmp_path / "file" / "x.json")
        assert "\n" not in str(caught.value)
