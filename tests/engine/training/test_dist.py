"""torchrun's environment, read without torch."""

import subprocess
import sys

from engine.training.dist import Ranks, ranks_of, speaks_for_all

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "job",
            "TORCHELASTIC_RESTART_COUNT": "2"}


def test_without_torchrun_there_are_no_ranks(monkeypatch):
    assert ranks_of({}) is None
    assert ranks_of({"RANK": "0"}) is None
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    assert speaks_for_all()


def test_what_torchrun_says():
    assert ranks_of(TORCHRUN) == Ranks(5, 8, 1, 4, "job", 2)
    assert ranks_of({**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"}).launch == ""
    assert ranks_of({"RANK": "1", "WORLD_SIZE": "2"}) == Ranks(1, 2, 0, 1)


def test_reading_it_imports_no_torch():
    code = "import sys, engine.training.dist as d; d.ranks_of({}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
