"""The process group (in three real processes, see process_group_checks.py), and how a lost one is recognised."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from engine.distributed import process_group, reducer

HERE = Path(__file__).parent
starts_processes = pytest.mark.slow("starts three processes, which talk to each other")


@pytest.fixture(scope="module")
def checked():
    """What process_group_checks.py shows: the exit statuses of three processes, check by check."""
    done = subprocess.run([sys.executable, HERE / "process_group_checks.py"], capture_output=True, text=True,
                          timeout=120, env={**os.environ, "PYTHONPATH": str(HERE.parents[2]), "OMP_NUM_THREADS": "1"})
    return done.stdout.splitlines(), done.stderr


@starts_processes
def test_three_processes_sum_copy_exchange_and_agree(checked):
    assert checked[0][0] == "[0, 0, 0]", checked[1]


@starts_processes
def test_a_slow_process_ends_no_run_and_a_dead_one_does_wherever_the_others_wait(checked):
    shown, said = checked
    # Where a connection closes the others see it at once.
    assert shown[1:] == ["be_slow sum [0, 0, 0]", "be_killed sum [2, 2, -9]", "be_killed data [2, 2, -9]",
                         "be_stopped sum [2, 2, -9]"], said
    assert said.count("error: another process of the run ended, so process") == 1, said
    assert said.count("error: another process of the run gave no sign of life for 2.5 s, so process") == 2, said


def test_the_code_of_a_step_falls_as_the_step_rises():
    wishes = [process_group.encode_step(step) for step in (0, 1, 5, -1)]
    assert wishes == sorted(wishes, reverse=True)
    assert [process_group.decode_step(wish) for wish in wishes] == [0, 1, 5, -1]


@pytest.mark.parametrize("text, lost", [
    ("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1", True),
    ("NCCL communicator was aborted on rank 1", True), ("mat1 and mat2 shapes cannot be multiplied", False),
])
def test_a_lost_process_is_distinguished_from_a_bug(text, lost):
    assert process_group.is_loss(RuntimeError(text)) is lost


def test_buckets_hold_every_parameter_once_from_last_to_first(monkeypatch):
    monkeypatch.setattr(reducer, "FIRST_BYTES", 40)
    monkeypatch.setattr(reducer, "BUCKET_BYTES", 100)
    parameters = [nn.Parameter(nn.Linear(1, size).bias.detach()) for size in (3, 30, 9, 2, 8, 1)]
    parameters.append(nn.Parameter(parameters[0].detach().double()))
    sizes = [[p.numel() for p in group] for group in reducer.grouped(parameters)]
    assert sizes == [[3], [1, 8, 2, 9, 30], [3]]
    assert reducer.grouped([]) == []
