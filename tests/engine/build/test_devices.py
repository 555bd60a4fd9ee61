"""How CPUs treat denormal numbers: in this thread, and in torch's workers whenever they were started."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.build import devices
from engine.build.devices import flush_denormals, keeps_denormals

COUNT = 1 << 20


def kept():
    """The shares of 2**-140, times one, that two threads keep in the halves of a tensor."""
    bits = np.full(COUNT, 1 << 9, np.int32)
    assert bits.view(np.float32)[0] == 2.0**-140
    made = (torch.from_numpy(bits.view(np.float32)) * 1.0).numpy().view(np.int32)
    return (made[:COUNT // 2] != 0).mean(), (made[COUNT // 2:] != 0).mean()


@pytest.fixture(autouse=True)
def two_workers():
    """Two threads that have worked for torch before, and keep denormals."""
    torch.set_num_threads(2)
    assert kept() == (1, 1)


def test_workers_that_were_there_before_flush_denormals_too_and_keep_them_again():
    assert flush_denormals(True) and kept() == (0, 0) and not keeps_denormals()
    assert torch.get_num_threads() == 2
    assert flush_denormals(False) and kept() == (1, 1) and keeps_denormals()


def test_of_torchs_own_function_the_workers_know_nothing():
    torch.set_flush_denormal(True)
    assert kept() == (0, 1) and keeps_denormals()


def test_a_thread_and_its_workers_flush_them_and_leave_others_alone():
    found = []
    thread = threading.Thread(target=lambda: (torch.set_num_threads(2), kept(),
                                              found.extend([flush_denormals(True), kept()])))
    thread.start()
    thread.join()
    assert found == [True, (0, 0)] and kept() == (1, 1)


def test_where_workers_cannot_be_ended_it_is_known(monkeypatch):
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert not flush_denormals(True) and kept() == (0, 1)
    torch.set_num_threads(1)
    assert flush_denormals(True)
