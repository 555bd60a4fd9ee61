"""What tests of several rooms share."""

import pytest


@pytest.fixture
def process_as_it_was():
    """Building a run sets torch's threads and how denormals are treated, for the whole process: they are put back."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def reported_run(tmp_path_factory):
    """The folder of a finished run of 2 epochs on shapes, with its report; tests only read it."""
    import torch

    from engine.reporting.run_report import write_report
    from engine.session.session import start
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
