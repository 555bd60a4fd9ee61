"""The hooks: which files have failpoints, and that a split write writes the same bytes."""

import pytest

from benchmarks.drills.hooks import SplitWriter, kind_of
from benchmarks.drills.processes import Failpoints


@pytest.mark.parametrize(("path", "kind"), [
    ("r/checkpoints/last.pt", "checkpoint"), ("r/checkpoints/.last.pt.12.part", "checkpoint"),
    ("r/checkpoints/last.previous.pt", "checkpoint"), ("c/cache/.a.beton.0a.part", "beton"),
    ("c/cache/a.json", "beton"),
    ("r/config.yaml", ""), ("r/summary.json", ""), ("r/checkpoints", "")])
def test_the_kind_of_a_file_follows_from_its_name(path, kind):
    assert kind_of(path) == kind


def test_a_write_in_two_halves_writes_the_same_bytes(tmp_path):
    failpoints = Failpoints(trail=tmp_path / "trail")
    with SplitWriter(open(tmp_path / "a", "wb"), "checkpoint", failpoints) as file:
        assert file.write(b"abcde") == 5 and file.write(memoryview(b"f")) == 1
    assert (tmp_path / "a").read_bytes() == b"abcdef"
    assert (tmp_path / "trail").read_text().splitlines() == ["starting", "checkpoint, half", "checkpoint, half"]
