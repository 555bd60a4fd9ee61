"""What a step frees stays with the process: the next one waits for no page of memory."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from engine.build import devices
from engine.build.devices import keep_memory

ROOT = Path(__file__).resolve().parents[3]
# The faults of ten steps that each fill 100 MB in two tensors, after two that did the same.
COUNTED = """
import resource, sys, torch
from engine.build.devices import keep_memory
if sys.argv[1] == "kept":
    assert keep_memory()
def step():
    made = torch.ones(50_000_000, dtype=torch.uint8), torch.ones(50_000_000, dtype=torch.uint8)
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(way):
    command = [sys.executable, "-c", COUNTED, way]
    return int(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
@pytest.mark.slow("starts two processes, whose memory is counted")
def test_steps_ask_for_no_new_pages():
    kept, returned = faults("kept"), faults("returned")
    assert kept < 50 < 200 < returned


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: object())
    assert keep_memory() is False
