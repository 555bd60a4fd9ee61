"""A small part of the fuzz, and that its audit hook sees what a file might make a reader do."""

import random
import subprocess
import sys

import pytest

from benchmarks.drills.damage import mutated
from benchmarks.drills.fuzz_files import PARTS
from benchmarks.drills.fuzz_recipes import audited
from benchmarks.drills.table import check_row, title


@pytest.mark.slow("the readers run in a process of their own, and some of the checkpoints are resumed")
@pytest.mark.parametrize("part", PARTS, ids=title)
def test_mutated_files_are_read_or_refused_in_one_line(part, tmp_path):
    checks = check_row(part, tmp_path / "part", 60)
    assert not checks.lost
    assert checks.tried >= 61 and checks.refused > 10 and checks.survived > 1


@pytest.mark.slow("starts a process, which the audit must see")
def test_the_audit_sees_what_code_in_a_file_would_do(tmp_path):
    assert audited(lambda: (tmp_path / "made").mkdir()) == ["os.mkdir"]
    assert "subprocess.Popen" in audited(lambda: subprocess.run([sys.executable, "-c", ""], check=True))
    assert audited(lambda: (tmp_path / "made").exists()) == []


def test_mutations_change_and_repeat():
    content = bytes(range(200))
    made = [mutated(content, random.Random(seed)) for seed in range(50)]
    assert made == [mutated(content, random.Random(seed)) for seed in range(50)]
    assert sum(each != content for each in made) > 45 and len(set(made)) > 40
    assert any(len(each) < 150 for each in made) and any(len(each) > 200 for each in made)
    assert isinstance(mutated(b"", random.Random(0)), bytes)
