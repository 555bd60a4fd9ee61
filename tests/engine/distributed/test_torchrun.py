"""torchrun's environment, read without torch."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import TCPStore

from engine.distributed.torchrun import Ranks, agree_on_round, ranks_of, speaks_for_all

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "job",
            "TORCHELASTIC_RESTART_COUNT": "2"}


def test_without_torchrun_there_are_no_ranks(monkeypatch):
    assert ranks_of({}) is None
    assert ranks_of({"RANK": "0"}) is None
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    assert speaks_for_all()


def test_the_environment_that_torchrun_sets():
    assert ranks_of(TORCHRUN) == Ranks(5, 8, 1, 4, "job", 2)
    assert ranks_of({**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"}).launch == ""
    assert ranks_of({"RANK": "1", "WORLD_SIZE": "2"}) == Ranks(1, 2, 0, 1)


@pytest.mark.slow("starts a process, which has not imported torch")
def test_reading_it_imports_no_torch():
    code = "import sys, engine.distributed.torchrun as d; d.ranks_of({}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_each_round_has_its_own_name_whatever_earlier_rounds_left_in_the_store():
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def join(rank):
        return agree_on_round(TCPStore("127.0.0.1", store.port, is_master=False), rank, 3, 20)

    names = []
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            # A process that is killed while it waits leaves a greeting without an answer.
            store.set("greeting of 2", f"dead {len(names)}")
            joined = set(pool.map(join, range(3)))
            assert len(joined) == 1
            names += joined
    assert len(set(names)) == 3


@pytest.mark.parametrize("rank", [0, 1])
def test_waiting_too_long_for_the_others_is_an_error(rank):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with pytest.raises(RuntimeError, match="(?i)time"):
        agree_on_round(store, rank, 2, 0.2)
