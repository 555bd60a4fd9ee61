"""A small part of the fuzz, and that its watch sees what a file might make a reader do."""

import random
import subprocess
import sys

import pytest

from benchmarks.drills.fuzz_files import PARTS
from benchmarks.drills.fuzz_recipes import mutate, watched
from benchmarks.drills.table import title, try_row


@pytest.mark.parametrize("part", PARTS, ids=title)
def test_mutated_files_are_read_or_refused_in_one_line(part, tmp_path):
    tries = try_row(part, tmp_path / "part", 60)
    assert not tries.lost
    assert tries.tried >= 61 and tries.refused > 10 and tries.survived > 1


def test_what_code_in_a_file_would_do_is_seen(tmp_path):
    assert watched(lambda: (tmp_path / "made").mkdir()) == ["os.mkdir"]
    assert "subprocess.Popen" in watched(lambda: subprocess.run([sys.executable, "-c", ""], check=True))
    assert watched(lambda: (tmp_path / "made").exists()) == []


def test_mutations_change_and_repeat():
    content = bytes(range(200))
    made = [mutate(content, random.Random(seed)) for seed in range(50)]
    assert made == [mutate(content, random.Random(seed)) for seed in range(50)]
    assert sum(each != content for each in made) > 45 and len(set(made)) > 40
    assert any(len(each) < 150 for each in made) and any(len(each) > 200 for each in made)
    assert isinstance(mutate(b"", random.Random(0)), bytes)
