"""What is known of the machine behind a result."""

import pytest

from engine.common import environment
from engine.common.environment import cpuinfo, matrix_instructions

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2 GHz: fast
flags\t\t: fpu avx512f amx_tile amx_bf16 avx512_bf16x

processor\t: 1
model name\t: Other
"""


def test_an_entry_is_that_of_the_first_processor(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text(CPUINFO)
    assert cpuinfo("model name", file) == "Some CPU @ 2 GHz: fast"
    assert cpuinfo("model", file) == cpuinfo("flags", tmp_path / "absent") == ""


@pytest.mark.parametrize(("entry", "flags", "found"), [
    ("flags", "fpu amx_tile avx512_bf16 amx_bf16", ["AMX bf16", "AVX-512 bf16"]),
    ("Features", "fp asimd bf16", ["bf16"]), ("flags", "fpu avx2 avx512_bf16x", [])])
def test_matrix_instructions_are_whole_flags_of_the_processor(monkeypatch, entry, flags, found):
    monkeypatch.setattr(environment, "cpuinfo", lambda asked: flags if asked == entry else "")
    assert matrix_instructions() == found
