"""What tests of several folders share."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def process_as_it_was():
    """Restore torch's threads and treatment of denormals, which building a run sets for the whole process."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(autouse=True)
def drawn_floats_may_be_denormal(request):
    """Hypothesis refuses to draw floats in a process that an earlier test left flushing denormals."""
    if hasattr(request.function, "hypothesis") and "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(autouse=True)
def fast_tests_start_no_process(request, monkeypatch):
    """A test that starts a process must say so: `@pytest.mark.slow("why")`. Short programs are allowed."""
    if request.node.get_closest_marker("slow"):
        return
    start = subprocess.Popen.__init__

    def refuse(self, args, *more, **options):
        reason = f"{request.node.nodeid} starts {args[0]}: mark it slow, and say why it must be"
        assert args[0] in ("git", "uname", "/sbin/ldconfig"), reason
        start(self, args, *more, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forks: mark it slow, and say why it must be"))
