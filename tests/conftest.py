"""What tests of several folders share."""

import os
import subprocess

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


@pytest.fixture(scope="session")
def reported_run(tmp_path_factory):
    """The folder of a finished run of 2 epochs on shapes, with its report; tests only read it."""
    import torch

    from engine.reporting.run_report import write_report
    from engine.session.launch import start
    from recipes.settings.load import load

    folder, threads = tmp_path_factory.mktemp("private"), torch.get_num_threads()
    settings = {"data.train_count": 300, "data.test_count": 200, "data.resolution": 16, "train.batch": 60,
                "model.width": 4, "model.depth": 3, "train.epochs": 2, "average.ema": 0.5, "train.device": "cpu",
                "train.threads": 1, "run.report": False, "data.cache": f"{folder}/cache", "run.folder": f"{folder}/run"}
    assert start(load("quickstart", settings=settings)) == 0
    write_report(folder / "run")
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    return folder / "run"
