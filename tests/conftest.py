"""What tests of several folders share."""

import os
import subprocess
import sys

import pytest


@pytest.fixture(autouse=True)
def process_as_it_was():
    """Restores torch's threads and treatment of denormals, which building a run sets for the whole process."""
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads or torch.get_num_threads())
    if devices := sys.modules.get("engine.build.devices"):
        devices.flush_denormals(False)


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
